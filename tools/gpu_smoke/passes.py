"""One pass of a package over one device: it is timed, and its operations are counted."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

from shared_core.errors import NonFiniteError
from shared_core.reporting.events import read
from tools.gpu_smoke.subject import Found, Place, Subject, Use

WARM_UP = 5
"""Updates that are not timed: libraries choose and compile their kernels there."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One short training, its evaluation and its prediction on one device.

    Attributes:
        losses: of every update.
        updates: a second, without the first five.
        train: items a second, likewise.
        evaluate: items a second.
        predict: items a second.
        peak_memory_mb: MiB that tensors held at once, by the GPU's allocator; None on the CPU.
    """

    losses: tuple[float, ...]
    updates: float
    train: float
    evaluate: float
    predict: float
    peak_memory_mb: float | None


def measured(subject: Subject, place: Place) -> Pass:
    """Train, evaluate and predict; the subject is prepared.

    Raises:
        NonFiniteError: a loss, a measure or a prediction is not finite.
        RuntimeError: the training was asked onto the GPU, and ran elsewhere.
    """
    on_gpu = place.device == "cuda"
    before = 0
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = _allocations()
    subject.train(place)
    if on_gpu and _allocations() == before:
        raise RuntimeError("The training put nothing on the GPU: it ran on the CPU.")
    evaluate, predict = (_items_per_second(use, place.device) for use in subject.uses(place))
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else None
    losses = tuple(subject.losses(place))
    _require_finite(Found(len(losses), losses), place.device)
    updates = _updates_per_second(place.run)
    return Pass(
        losses=losses,
        updates=updates,
        train=updates * subject.items(place),
        evaluate=evaluate,
        predict=predict,
        peak_memory_mb=peak,
    )


def _allocations() -> int:
    """Tensors that were put on the GPU since the process began."""
    return int(torch.cuda.memory_stats().get("allocation.all.allocated", 0))


class _NoModules(ModuleTracker):
    """Follows no modules: the total is enough, and tensordict's cannot be told apart."""

    def __enter__(self) -> _NoModules:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@contextmanager
def counting(owner: type, method: str) -> Iterator[list[int]]:
    """FLOPs of each call of a method so far: products, convolutions and attention, forward and backward.

    A multiplication and an addition are two. What is computed again in the backward pass is counted
    again, so gradient checkpointing must be off.
    """
    usual = getattr(owner, method)
    found: list[int] = []

    @functools.wraps(usual)
    def counted(*given: Any, **named: Any) -> Any:
        counter = FlopCounterMode(display=False)
        counter.mod_tracker = _NoModules()
        with counter:
            outcome = usual(*given, **named)
        found.append(counter.get_total_flops())
        return outcome

    with mock.patch.object(owner, method, counted):
        yield found


def flops_of_an_update(counts: list[int]) -> float:
    """The mean over the updates that are timed."""
    return statistics.fmean(counts[WARM_UP:])


def _updates_per_second(run: Path) -> float:
    times = [event["time"] for event in read(run) if event["kind"] == "train"]
    seconds = float(times[-1] - times[WARM_UP - 1])
    return (len(times) - WARM_UP) / max(seconds, 1e-3)  # the clock counts milliseconds


def _items_per_second(use: Use, device: str) -> float:
    """Until the device has done it; the second call counts."""
    use()
    _finish(device)
    start = time.perf_counter()
    found = use()
    _finish(device)
    seconds = time.perf_counter() - start
    _require_finite(found, device)
    return found.items / seconds


def _require_finite(found: Found, device: str) -> None:
    if not all(np.isfinite(values).all() for values in found.values):
        raise NonFiniteError(f"A loss, a measure or a prediction is not finite on {device}.")


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
