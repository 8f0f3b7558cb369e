"""VGGish: 128 numbers from about a second of sound around each frame (Hershey et al., 2017).

`vggish` gives the network 16-bit amplitudes, as the authors did by mistake, and fits their
checkpoints; `vggish_norm` scales them to [-1, 1), on which it was trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor, nn

from abaw_va.features.base import SoundExtractor, read_state
from abaw_va.features.mapping import Times, fit_length, frame_spans
from abaw_va.features.spectrum import RATE, log_mel, windows
from shared_core.data.audio import Audio
from shared_core.errors import CheckpointError

STEP = RATE // 30
"""Samples of a frame at 30 frames per second: 533."""
CONTEXT = (15_680 - STEP) // 2
"""Samples before and after it: 7573."""
WINDOW = STEP + 2 * CONTEXT
"""Samples of a window, 15 679: exactly 96 analysis frames."""

BATCH = 64
"""Windows that are computed together."""

_PLAN = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool")


class Vggish(nn.Module):
    """The network, without the PCA that follows it in the release; 72 141 184 parameters.

    Names of the weights are those of torchvggish: `features.{0,3,6,8,11,13}`, `embeddings.{0,2,4}`.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 1
        for item in _PLAN:
            if isinstance(item, int):
                layers += [nn.Conv2d(width, item, 3, padding=1), nn.ReLU(inplace=True)]
                width = item
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        sizes = (6 * 4 * width, 4096, 4096, 128)
        self.embeddings = nn.Sequential(
            *(
                layer
                for inside, outside in pairwise(sizes)
                for layer in (nn.Linear(inside, outside), nn.ReLU(inplace=True))
            )
        )

    def forward(self, spectra: Float32[Tensor, "windows 96 64"]) -> Float32[Tensor, "windows 128"]:
        """Embeddings of log-mel spectra (time, band), not negative."""
        maps = self.features(spectra[:, None])
        rows: Tensor = self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))  # channels last
        return rows


def window_starts(starts_s: Times, ends_s: Times) -> Int64[np.ndarray, " frames"]:
    """First sample of the window around each frame, the frame's middle in its middle."""
    begin = ((starts_s + ends_s) / 2 - 1 / 60) * RATE
    return np.asarray(np.floor(begin + 1e-6).astype(np.int64) - CONTEXT)


def upstream_starts(samples: int) -> Int64[np.ndarray, " windows"]:
    """First samples of the authors' windows: one for each whole thirtieth of a second."""
    count = int(samples / RATE / (1 / 30))
    return (np.arange(count) / 30 * RATE).astype(np.int64) - CONTEXT


def spectra(
    samples: Float[np.ndarray, " samples"], starts: Int64[np.ndarray, " windows"]
) -> Iterator[Float64[Tensor, "batch 96 64"]]:
    """Log-mel spectra of the windows, in batches."""
    signal = torch.as_tensor(samples, dtype=torch.float64)
    for first in range(0, len(starts), BATCH):
        batch = torch.as_tensor(starts[first : first + BATCH])
        yield log_mel(windows(signal, batch, WINDOW))


class VggishExtractor(SoundExtractor):
    """VGGish around each frame.

    Args:
        weights: torchvggish's `.pth`, or the same as safetensors.
        scaled: amplitudes in [-1, 1) instead of 16-bit values.
        compat: windows at 30 per second whatever the video's rate, cut or the last one repeated.
        device: where the network runs.

    Raises:
        CheckpointError: the file is not one of VGGish's weights.
    """

    width = 128

    def __init__(
        self,
        weights: Path | str,
        *,
        name: str = "vggish",
        scaled: bool = False,
        compat: bool = False,
        device: str = "cpu",
    ) -> None:
        self.name = name
        self._gain = 1 if scaled else 32_768
        self._compat = compat
        self._device = device
        with torch.device("meta"):  # 289 MB that the file fills: not worth initialising
            self.network = Vggish()
        state = {
            key: value for key, value in read_state(weights).items() if not key.startswith("pproc.")
        }
        try:
            self.network.load_state_dict(state, assign=True)
        except RuntimeError as error:
            raise CheckpointError(
                weights, "weights of another network", expected="VGGish"
            ) from error
        self.network.float().to(device).eval()

    @torch.inference_mode()
    def __call__(
        self, audio: Audio, times_s: Float[np.ndarray, " frames"]
    ) -> Float32[Tensor, "frames 128"]:
        """Rows for the frames; beyond the sound, silence (compat: the last window again)."""
        starts_s, ends_s = frame_spans(times_s)
        if self._compat:
            starts = fit_length(upstream_starts(len(audio.samples)), len(times_s))
        else:
            audio = audio.covering(starts_s[0], ends_s[-1])
            starts = window_starts(starts_s - audio.start_s, ends_s - audio.start_s)
        return torch.cat(
            [
                self.network(batch.float().to(self._device)).float().cpu()
                for batch in spectra(audio.samples * self._gain, starts)
            ]
        )
