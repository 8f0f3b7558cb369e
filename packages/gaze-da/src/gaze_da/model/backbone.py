"""The branches: ResNet-50 with a fifth stage (He et al., 2016)."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

EXPANSION = 4
"""Channels that leave a bottleneck, for each channel inside it."""

STAGES = ((1, 1), (2, 2), (4, 2), (8, 2), (4, 1))
"""Of each stage: channels inside its bottlenecks, as a multiple of the width, and its stride."""


class Bottleneck(nn.Module):
    """1x1, 3x3 (which carries the stride) and 1x1 convolution around a shortcut."""

    def __init__(self, channels: int, inside: int, stride: int, *, first: bool) -> None:
        super().__init__()
        out = EXPANSION * inside
        if first:  # before conv1, as the order of the authors' optimiser states has it
            self.downsample: nn.Module = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )
        else:
            self.downsample = nn.Identity()
        self.conv1 = nn.Conv2d(channels, inside, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv2 = nn.Conv2d(inside, inside, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inside)
        self.conv3 = nn.Conv2d(inside, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """The block."""
        inside = functional.relu(self.bn1(self.conv1(x)))
        inside = functional.relu(self.bn2(self.conv2(inside)))
        return functional.relu(self.bn3(self.conv3(inside)) + self.downsample(x))


class Backbone(nn.Module):
    """Stem and five stages; [B, channels, S, S] becomes [B, 16 width, S / 32, S / 32].

    Args:
        channels: of the input.
        width: of the stem.
        layers: blocks of each stage.
    """

    def __init__(self, channels: int, width: int, layers: Sequence[int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        entering = width
        stages = []
        for (multiple, stride), blocks in zip(STAGES, layers, strict=True):
            stages.append(_stage(entering, multiple * width, stride, blocks))
            entering = EXPANSION * multiple * width
        self.layer1, self.layer2, self.layer3, self.layer4, self.layer5 = stages

    def forward(self, x: Float[Tensor, "B C S S"]) -> Float[Tensor, "B D g g"]:
        """Features of a picture."""
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4, self.layer5):
            x = stage(x)
        return x


def _stage(channels: int, inside: int, stride: int, blocks: int) -> nn.Sequential:
    """The first block changes size and channels; the others keep them."""
    first = Bottleneck(channels, inside, stride, first=True)
    others = (Bottleneck(EXPANSION * inside, inside, 1, first=False) for _ in range(blocks - 1))
    return nn.Sequential(first, *others)
