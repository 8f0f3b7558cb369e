"""Metrics against scipy and torchmetrics, on the same random pairs."""

from __future__ import annotations

import torch
from scipy.stats import spearmanr
from torch import Tensor
from torchmetrics.functional import concordance_corrcoef

from shared_core.metrics import ccc, srcc
from tools.bench.timing import Row, interleaved

_LARGEST_ERROR = 1e-9


def measure() -> list[Row]:
    """SRCC at 1e5; CCC at 1e3, 1e5 and 1e6, with its error."""
    rows = [_srcc_row(100_000)]
    for size, calls in ((1_000, 20), (100_000, 1), (1_000_000, 1)):
        rows += _ccc_rows(size, calls)
    return rows


def _pairs(size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(size)
    target = torch.randn(size, generator=generator)
    return 0.6 * target + 0.3 * torch.randn(size, generator=generator), target


def _srcc_row(size: int) -> Row:
    prediction, target = _pairs(size)
    arrays = prediction.numpy(), target.numpy()
    times = interleaved(
        {"ours": lambda: srcc(prediction, target), "scipy": lambda: spearmanr(*arrays)}
    )
    return Row.faster(f"SRCC of {size:.0e} pairs, scipy", times["ours"], times["scipy"], at_least=2)


def _ccc_rows(size: int, calls: int) -> list[Row]:
    prediction, target = _pairs(size)
    times = interleaved(
        {
            "ours": lambda: ccc(prediction, target),
            "torchmetrics": lambda: concordance_corrcoef(prediction, target),
        },
        calls=calls,
    )
    error = abs(float(ccc(prediction, target)) - _ccc_in_float64(prediction, target))
    name = f"CCC of {size:.0e} pairs"
    return [
        Row.faster(f"{name}, torchmetrics", times["ours"], times["torchmetrics"], at_least=2),
        Row.within(f"{name}, error", error, _LARGEST_ERROR, unit=""),
    ]


def _ccc_in_float64(prediction: Tensor, target: Tensor) -> float:
    p, t = prediction.double(), target.double()
    gap = (p.mean() - t.mean()) ** 2
    covariance = ((p - p.mean()) * (t - t.mean())).mean()
    return float(2 * covariance / (p.var(correction=0) + t.var(correction=0) + gap))
