"""Log-mel spectra as VGGish takes them (Hershey et al., 2017)."""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

RATE = 16_000
"""Samples per second."""
FRAME = 400
"""Samples of an analysis frame: 25 ms."""
HOP = 160
"""Samples from one analysis frame to the next: 10 ms."""
BANDS = 64
"""Mel bands, from 125 to 7500 Hz."""

_FFT = 512
_OFFSET = 0.01


@cache
def mel_weights() -> Float64[Tensor, "bins bands"]:
    """Triangles of unit height, linear in mel (not in Hz), over the 257 bins of the spectrum.

    mel = 1127 ln(1 + f / 700); 66 edges lie equally spaced in mel; the bin of 0 Hz counts nowhere.
    """
    hertz = torch.linspace(0, RATE / 2, _FFT // 2 + 1, dtype=torch.float64)
    lowest, highest = _mel(torch.tensor([125.0, 7500.0], dtype=torch.float64)).tolist()
    edges = torch.linspace(lowest, highest, BANDS + 2, dtype=torch.float64)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    mel = _mel(hertz)[:, None]
    rising, falling = (mel - lower) / (centre - lower), (upper - mel) / (upper - centre)
    weights = torch.minimum(rising, falling).clamp(min=0)
    weights[0] = 0
    return weights


def _mel(hertz: Tensor) -> Tensor:
    return 1127 * torch.log1p(hertz / 700)


def log_mel(samples: Float64[Tensor, "... samples"]) -> Float64[Tensor, "... frames bands"]:
    """ln(mel + 0.01) of the magnitude spectra of all whole analysis frames (periodic Hann window).

    In float64: where the sound is constant, the bands hold rounding errors only, and those of
    float32 would reach the offset of 0.01 at 16-bit amplitudes.
    """
    window = torch.hann_window(FRAME, dtype=torch.float64)
    spectrum = torch.fft.rfft(samples.unfold(-1, FRAME, HOP) * window, _FFT).abs()
    return torch.log(spectrum @ mel_weights() + _OFFSET)


def windows(
    samples: Float64[Tensor, " samples"], starts: Int64[Tensor, " windows"], length: int
) -> Float64[Tensor, "windows length"]:
    """Pieces of a signal; one that reaches beyond it repeats its first or last sample."""
    places = starts[:, None] + torch.arange(length)
    return samples[places.clamp(0, len(samples) - 1)]
