"""Features that need no weights: enough for a demonstration, and a baseline for the others."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from abaw_va.features.base import FrameExtractor, SoundExtractor
from abaw_va.features.mapping import average_rows, frame_spans
from abaw_va.features.spectrum import BANDS, FRAME, HOP, RATE, log_mel
from shared_core.data.audio import Audio


def grey(crops: UInt8[Tensor, "faces 3 height width"]) -> Float32[Tensor, "faces 1 height width"]:
    """Luma of RGB pictures, 0..255, rounded as by OpenCV (0.299, 0.587, 0.114 in 15 bits)."""
    weights = torch.tensor([9798, 19235, 3735], dtype=torch.int32, device=crops.device)
    luma = (crops.to(torch.int32) * weights[:, None, None]).sum(dim=1, keepdim=True) + (
        1 << 14
    ) >> 15
    return luma.float()


class Pixels(FrameExtractor):
    """The crop itself: 16 x 16 grey values, of zero mean and unit variance in each crop."""

    name = "pixels"
    width = 256
    size = 64

    def __call__(self, crops: UInt8[Tensor, "faces 3 64 64"]) -> Float32[Tensor, "faces 256"]:
        """Rows of RGB crops; a crop of one colour is all zeros."""
        small = interpolate(grey(crops), (16, 16), mode="area").flatten(1)
        centred = small - small.mean(dim=1, keepdim=True)
        return (centred / centred.std(dim=1, keepdim=True, correction=0).clamp(min=1e-3)).cpu()


class LogMel(SoundExtractor):
    """Mean log-mel spectrum of the 0.1 s around each frame's middle, amplitudes in [-1, 1)."""

    name = "logmel"
    width = BANDS
    reach_s = 0.05
    """Seconds to each side of a frame's middle."""

    def __call__(
        self, audio: Audio, times_s: Float[np.ndarray, " frames"]
    ) -> Float32[Tensor, "frames 64"]:
        """Rows for the frames; silence, ln(0.01) in every band, where there is no sound."""
        starts_s, ends_s = frame_spans(times_s)
        middle_s = (starts_s + ends_s) / 2
        audio = audio.covering(middle_s[0] - 1, middle_s[-1] + 1)
        rows = torch.cat(
            [
                log_mel(part.double())
                for part in _overlapping(torch.as_tensor(audio.samples), RATE * 60)
            ]
        )
        centre_s = audio.start_s + FRAME / 2 / RATE - HOP / 2 / RATE  # of row 0, less half a row
        from_row_0 = middle_s - centre_s
        return torch.from_numpy(
            average_rows(
                rows.numpy(), HOP / RATE, from_row_0 - self.reach_s, from_row_0 + self.reach_s
            )
        )


def _overlapping(samples: Tensor, length: int) -> list[Tensor]:
    """Pieces that share what an analysis frame needs, so that their rows join without a seam."""
    rows = (len(samples) - FRAME) // HOP + 1
    step = length // HOP
    return [
        samples[first * HOP : (min(first + step, rows) - 1) * HOP + FRAME]
        for first in range(0, rows, step)
    ]
