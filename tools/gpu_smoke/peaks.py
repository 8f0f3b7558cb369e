"""How many operations a second a device can do at most: what the utilisation is a share of."""

from __future__ import annotations

import re
import time

import torch

_DENSE_BF16 = {
    r"H100 80GB HBM3$": 989e12,  # the SXM module; the PCIe card is slower, and called otherwise
    r"H200$": 989e12,
    r"A100\b": 312e12,
    r"L4$": 121e12,
    r"L40S$": 362e12,
    r"RTX 4090$": 165e12,
}
"""FLOP/s in bf16 without sparsity, from the makers' data sheets, by what the name that torch gives holds."""

_SIDE, _REPEATS = 384, 3


def peak_of_gpu(name: str) -> float | None:
    """FLOP/s in bf16 of a GPU by the name that torch gives; None where it is not known."""
    return next((peak for end, peak in _DENSE_BF16.items() if re.search(end, name)), None)


def peak_of_cpu() -> float:
    """FLOP/s of a square product on this CPU: the better of fp32 and bf16, measured here and now.

    bf16 is far slower than fp32 on a CPU without instructions for it.
    """
    return max(_of_product(dtype) for dtype in (torch.float32, torch.bfloat16))


def _of_product(dtype: torch.dtype) -> float:
    factor = torch.randn(_SIDE, _SIDE).to(dtype)
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        factor @ factor
        seconds.append(time.perf_counter() - start)
    return float(2 * _SIDE**3 / min(seconds))
