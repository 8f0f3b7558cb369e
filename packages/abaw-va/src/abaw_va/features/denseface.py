"""DenseFace: 342 numbers from a grey 64 x 64 face, by a DenseNet-BC (Huang et al., 2017).

The authors trained it on FER+ (`denseface`), and on FER+ and AffectNet (`affectnet`).
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, relu

from abaw_va.features.base import FrameExtractor, read_state
from abaw_va.features.light import grey
from shared_core.errors import CheckpointError

MEAN, DEVIATION = 101.63449, 59.74126
"""Of the grey values 0..255 that the network was trained on."""

EMOTIONS = ("neutral", "happy", "surprise", "sad", "anger", "disgust", "fear", "contempt")
"""What the classifier's outputs stand for."""

_GROWTH, _BOTTLENECK, _LAYERS, _BLOCKS = 12, 48, 16, 3


class _DenseLayer(nn.Module):
    """Adds `_GROWTH` channels to those it is given."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, _BOTTLENECK, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(_BOTTLENECK)
        self.conv2 = nn.Conv2d(_BOTTLENECK, _GROWTH, 3, padding=1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        new = self.conv2(relu(self.norm2(self.conv1(relu(self.norm1(maps))))))
        return torch.cat([maps, new], dim=1)


class _Transition(nn.Module):
    """Halves the channels and the sides."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels // 2, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        return avg_pool2d(self.conv(relu(self.norm(maps))), 2)


class DenseFace(nn.Module):
    """DenseNet-BC, 3 blocks of 16 layers, growth 12; 768 044 parameters with the classifier.

    Channels: 24, block 216, transition 108, block 300, transition 150, block 342.
    """

    width = 342

    def __init__(self) -> None:
        super().__init__()
        channels = 24
        self.features = nn.Sequential()
        self.features.add_module(
            "conv0", nn.Conv2d(1, channels, 3, stride=2, padding=1, bias=False)
        )
        for block in range(1, _BLOCKS + 1):
            dense = nn.Sequential()
            for layer in range(1, _LAYERS + 1):
                dense.add_module(f"denselayer{layer}", _DenseLayer(channels))
                channels += _GROWTH
            self.features.add_module(f"denseblock{block}", dense)
            if block < _BLOCKS:
                self.features.add_module(f"transition{block}", _Transition(channels))
                channels //= 2
        self.features.add_module(f"norm{_BLOCKS}", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, len(EMOTIONS))

    def embed(self, faces: Float32[Tensor, "faces 1 64 64"]) -> Float32[Tensor, "faces 342"]:
        """Features of normalised grey faces, not negative."""
        return avg_pool2d(relu(self.features(faces)), 8).flatten(1)

    def forward(self, faces: Float32[Tensor, "faces 1 64 64"]) -> Float32[Tensor, "faces 8"]:
        """Logits of `EMOTIONS`."""
        logits: Tensor = self.classifier(self.embed(faces))
        return logits


class DenseFaceExtractor(FrameExtractor):
    """DenseFace on face crops.

    Args:
        weights: the authors' `.pth`, or the same as safetensors; the classifier may be missing.
        name: `denseface` or `affectnet`.
        device: where the network runs.

    Raises:
        CheckpointError: the file is not one of this network's weights.
    """

    width = DenseFace.width
    size = 112
    """As the aligned faces of the challenge; they are shrunk to 64 after they were turned grey."""

    def __init__(
        self, weights: Path | str, *, name: str = "denseface", device: str = "cpu"
    ) -> None:
        self.name = name
        self._device = device
        self.network = DenseFace()
        state = {**_classifier_of(self.network), **read_state(weights)}
        try:
            self.network.load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(
                weights, "weights of another network", expected="DenseFace"
            ) from error
        self.network.float().to(device).eval()

    @torch.inference_mode()
    def __call__(self, crops: UInt8[Tensor, "faces 3 112 112"]) -> Float32[Tensor, "faces 342"]:
        """Rows of RGB crops of any size."""
        faces = interpolate(grey(crops.to(self._device)), (64, 64), mode="bilinear")
        return self.network.embed((faces - MEAN) / DEVIATION).cpu()


def _classifier_of(network: DenseFace) -> dict[str, Tensor]:
    return {f"classifier.{name}": value for name, value in network.classifier.state_dict().items()}
