"""ResNet-18 (He et al., 2016) on a surface: the sphere's bands, or the flat picture.

The weights have torchvision's names and shapes whatever the surface, so that one file fits all.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from asal_vrvqa.config import Network
from asal_vrvqa.model import sphere
from asal_vrvqa.model.sphere import PopulationBatchNorm

BLOCKS = 2
"""In each of the four stages."""


@runtime_checkable
class Surface(Protocol):
    """What a network is laid on; `width` is that of the map in columns of the plane."""

    def enter(self, frames: Float[Tensor, "N 3 H W"]) -> Tensor:
        """Frames as the surface holds them."""

    def convolved(self, x: Tensor, conv: nn.Conv2d, width: int) -> Tensor:
        """A convolution with its stride and without other padding than the surface's."""

    def normalised(self, x: Tensor, norm: nn.Module) -> Tensor:
        """A batch norm."""

    def max_pooled(self, x: Tensor, width: int) -> Tensor:
        """Maximum over 3x3 cells at every second one."""

    def pooled(self, x: Tensor, width: int) -> Float[Tensor, "N C"]:
        """Mean over the plane."""

    def norm(self, channels: int) -> nn.Module:
        """A batch norm for that many channels."""


class Sphere:
    """Bands of latitude: see `model.geometry`.

    Args:
        parts: bands.
    """

    def __init__(self, parts: int) -> None:
        self.parts = parts

    def enter(self, frames: Float[Tensor, "N 3 H W"]) -> Tensor:
        """A strip [N, H / parts, V, 3]."""
        return sphere.to_strip(frames, self.parts)

    def convolved(self, x: Tensor, conv: nn.Conv2d, width: int) -> Tensor:
        """A convolution over the bands and their neighbours."""
        stride = conv.stride[0]
        return sphere.convolved(
            x, conv.weight, parts=self.parts, width=width, stride=stride, bias=conv.bias
        )

    def normalised(self, x: Tensor, norm: nn.Module) -> Tensor:
        """A batch norm over all columns, which are all valid."""
        return sphere.normalised(x, norm)

    def max_pooled(self, x: Tensor, width: int) -> Tensor:
        """Maximum over the bands and their neighbours."""
        return sphere.max_pooled(x, parts=self.parts, width=width)

    def pooled(self, x: Tensor, width: int) -> Float[Tensor, "N C"]:
        """Mean over the un-sliced plane."""
        return sphere.pooled(x, self.parts, width)

    def norm(self, channels: int) -> nn.Module:
        """With the variance of the population, as the paper's."""
        return PopulationBatchNorm(channels)


class Plane:
    """The flat picture, with zeros around it: torchvision's ResNet-18."""

    def enter(self, frames: Float[Tensor, "N 3 H W"]) -> Tensor:
        """The frames, channels last in memory."""
        return frames.contiguous(memory_format=torch.channels_last)

    def convolved(self, x: Tensor, conv: nn.Conv2d, width: int) -> Tensor:  # noqa: ARG002
        """A convolution with zeros around."""
        pad = conv.kernel_size[0] // 2
        return functional.conv2d(x, conv.weight, conv.bias, stride=conv.stride, padding=pad)

    def normalised(self, x: Tensor, norm: nn.Module) -> Tensor:
        """A batch norm."""
        made: Tensor = norm(x)
        return made

    def max_pooled(self, x: Tensor, width: int) -> Tensor:  # noqa: ARG002
        """Maximum over 3x3 pixels."""
        return functional.max_pool2d(x, 3, stride=2, padding=1)

    def pooled(self, x: Tensor, width: int) -> Float[Tensor, "N C"]:  # noqa: ARG002
        """Mean over all pixels."""
        return x.mean(dim=(2, 3))

    def norm(self, channels: int) -> nn.Module:
        """Torch's."""
        return nn.BatchNorm2d(channels)


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, surface: Surface, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.surface = surface
        self.stride = stride
        self.conv1 = nn.Conv2d(before, channels, 3, stride, bias=False)
        self.bn1 = surface.norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, bias=False)
        self.bn2 = surface.norm(channels)
        self.downsample = None
        if stride > 1 or before != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, channels, 1, stride, bias=False), surface.norm(channels)
            )

    def forward(self, x: Tensor, width: int) -> Tensor:
        """The next map; its width is that of `x` over the stride."""
        on = self.surface
        made = on.normalised(on.convolved(x, self.conv1, width), self.bn1)
        made = functional.relu(made, inplace=True)
        made = on.convolved(made, self.conv2, width // self.stride)
        made = on.normalised(made, self.bn2)
        if self.downsample is not None:
            conv, norm = self.downsample
            assert isinstance(conv, nn.Conv2d)  # noqa: S101 - for the type checker
            x = on.normalised(on.convolved(x, conv, width), norm)
        return functional.relu(made + x, inplace=True)


def _stage(surface: Surface, before: int, channels: int, stride: int) -> nn.Sequential:
    first = Block(surface, before, channels, stride)
    return nn.Sequential(first, *(Block(surface, channels, channels, 1) for _ in range(BLOCKS - 1)))


class ResNet18(nn.Module):
    """Features of frames, 8 x channels for each.

    Args:
        surface: what it is laid on.
        channels: of the stem.
    """

    def __init__(self, surface: Surface, channels: int = 64) -> None:
        super().__init__()
        self.surface = surface
        self.conv1 = nn.Conv2d(3, channels, 7, 2, bias=False)
        self.bn1 = surface.norm(channels)
        self.layer1 = _stage(surface, channels, channels, 1)
        self.layer2 = _stage(surface, channels, 2 * channels, 2)
        self.layer3 = _stage(surface, 2 * channels, 4 * channels, 2)
        self.layer4 = _stage(surface, 4 * channels, 8 * channels, 2)
        self.out_channels = 8 * channels

    def forward(self, frames: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N C"]:
        """Features of normalised frames."""
        on, width = self.surface, frames.shape[-1]
        x = on.normalised(on.convolved(on.enter(frames), self.conv1, width), self.bn1)
        x = functional.relu(x, inplace=True)
        x, width = on.max_pooled(x, width // 2), width // 4
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                assert isinstance(block, Block)  # noqa: S101 - for the type checker
                x = block(x, width)
                width //= block.stride
        return on.pooled(x, width)


def backbone(network: Network) -> ResNet18:
    """The backbone that the settings ask for."""
    surface = Sphere(network.parts) if network.backbone == "sphere" else Plane()
    return ResNet18(surface, network.channels)
