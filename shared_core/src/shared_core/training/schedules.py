"""Learning-rate schedules: pure functions of a run's `Progress`, each a factor on the base rate.

A resumed run asks the same function at the same place and gets the same rate, so no scheduler has a
state to save. Schedules compose by multiplication: `linear_warmup(p, 100) * cosine(p, 30)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is, as seen by the update that comes next."""

    step: int = 0
    """Updates made."""
    epoch: int = 0
    """Epoch of the next batch, from 0."""
    batch: int = 0
    """Place of the next global batch in its epoch, from 0."""
    steps_per_epoch: int
    """Updates in this epoch."""
    epochs: int
    """Epochs planned."""
    scores: tuple[float, ...] = ()
    """One per evaluation, signed so that higher is better; NaN where undefined."""
    best_step: int | None = None
    """Updates made when the best score was measured; none while no score was defined."""
    best_score: float | None = None
    """The best score as the evaluation gave it, without the sign of `scores`."""

    @property
    def evaluations_since_best(self) -> int:
        """Evaluations in a row that brought no better score."""
        best, since = -math.inf, 0
        for score in self.scores:
            best, since = (score, 0) if score > best else (best, since + 1)
        return since


def linear_warmup(progress: Progress, updates: int) -> float:
    """Rise in equal parts to 1 over the first `updates` updates; the first runs at 1/updates."""
    return min(1.0, (progress.step + 1) / updates) if updates else 1.0


def linear_decay(progress: Progress, constant_epochs: int, decay_epochs: int) -> float:
    """1 for `constant_epochs`, then down in equal parts, reaching 1/(decay_epochs + 1), never 0.

    In epoch e, counted from 1: 1 - max(0, e - constant_epochs) / (decay_epochs + 1).
    """
    past = max(0, progress.epoch + 1 - constant_epochs)
    return max(0.0, 1.0 - past / (decay_epochs + 1))


def step_decay(progress: Progress, every_epochs: int, factor: float = 0.1) -> float:
    """Multiply by `factor` after every `every_epochs` epochs."""
    return float(factor ** (progress.epoch // every_epochs))


def cosine(progress: Progress, epochs: int, floor: float = 0.0) -> float:
    """Half a cosine from 1 down to `floor` after `epochs` epochs, and `floor` from there on.

    In epoch e, counted from 0: floor + (1 - floor) (1 + cos(pi e / epochs)) / 2.
    """
    part = min(1.0, progress.epoch / epochs)
    return floor + (1.0 - floor) * (1.0 + math.cos(math.pi * part)) / 2.0


def plateau(
    scores: Sequence[float], *, factor: float = 0.2, patience: int = 5, threshold: float = 0.01
) -> float:
    """Multiply by `factor` when more than `patience` evaluations in a row bring nothing better.

    Args:
        scores: one per evaluation, higher is better; NaN (undefined) is never better.
        factor: what the rate is multiplied by.
        patience: evaluations without gain that are still borne.
        threshold: by how much a score must exceed the best so far to count as better.
    """
    best, waited, rate = -math.inf, 0, 1.0
    for score in scores:
        if score > best + threshold:
            best, waited = score, 0
            continue
        waited += 1
        if waited > patience:
            rate, waited = rate * factor, 0
    return rate
