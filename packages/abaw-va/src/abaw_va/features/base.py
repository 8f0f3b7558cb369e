"""The two kinds of extractors, and the weights they read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from shared_core.checkpoints.weights import load_legacy, load_weights
from shared_core.data.audio import Audio


class FrameExtractor(ABC):
    """Turns crops of a face into one row of numbers each.

    Attributes:
        name: of the feature.
        width: numbers per row.
        size: side of the crops it takes, in pixels.
    """

    name: str
    width: int
    size: int

    @abstractmethod
    def __call__(self, crops: UInt8[Tensor, "faces 3 size size"]) -> Float32[Tensor, "faces width"]:
        """Rows of RGB crops, on the CPU; a crop's row does not depend on the others."""


class SoundExtractor(ABC):
    """Turns sound into one row of numbers for each frame of a video.

    Attributes:
        name: of the feature.
        width: numbers per row.
    """

    name: str
    width: int

    @abstractmethod
    def __call__(
        self, audio: Audio, times_s: Float[np.ndarray, " frames"]
    ) -> Float32[Tensor, "frames width"]:
        """Rows for frames shown at these times (seconds, increasing), on the CPU."""


def read_state(path: Path | str) -> dict[str, Tensor]:
    """Weights by name from .safetensors or, without running code, from the authors' .pth.

    Raises:
        CheckpointError: no such file, or one that is damaged, unsafe or holds no weights.
    """
    path = Path(path)
    state = load_weights(path) if path.suffix == ".safetensors" else load_legacy(path)
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}
