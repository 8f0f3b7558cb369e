"""What one pass of a package over one device comes to, and how it is timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from shared_core.reporting.events import read

T = TypeVar("T")

_WARM_UP = 5


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One short training, its evaluation and its prediction on one device.

    Attributes:
        losses: of every update.
        train: items a second, without the first five updates.
        evaluate: items a second.
        predict: items a second.
        score: the measure that chooses the best model.
        peak_memory_mb: of the GPU's allocator; None on the CPU.
    """

    losses: tuple[float, ...]
    train: float
    evaluate: float
    predict: float
    score: float
    peak_memory_mb: float | None


def losses(run: Path) -> tuple[float, ...]:
    """The loss of every update of a run."""
    return tuple(event["loss"] for event in read(run) if event["kind"] == "train")


def updates_per_second(run: Path) -> float:
    """Updates a second, without the first five: libraries choose and compile their kernels there."""
    times = [event["time"] for event in read(run) if event["kind"] == "train"]
    seconds = float(times[-1] - times[_WARM_UP - 1])
    return (len(times) - _WARM_UP) / max(seconds, 1e-3)  # the clock counts milliseconds


def timed(device: str, action: Callable[[], T]) -> tuple[T, float]:
    """What an action returns, and the seconds until the device has done it; its second call counts."""
    action()
    _finish(device)
    start = time.perf_counter()
    result = action()
    _finish(device)
    return result, time.perf_counter() - start


def peak_memory_mb(device: str) -> float | None:
    """Most memory that tensors held at once since `forget_peak`; None on the CPU."""
    return torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else None


def forget_peak(device: str) -> None:
    """Measure the peak from here on."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
