"""Settings of `shared_core.testing.tiny_run`, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shared_core.config import setting
from shared_core.training.config import TrainSettings

UNDEFINED = -1000.0
"""Stands for an undefined score in `TinyConfig.scores`."""


@dataclass(frozen=True, kw_only=True)
class TinyConfig(TrainSettings):
    """Settings of every run, and faults to provoke."""

    epochs: int = 4
    """Passes over the 24 items."""
    batch_size: int = 8
    """Items in an update: 3 updates an epoch."""
    trackers: tuple[Literal["tensorboard", "trackio", "wandb"], ...] = setting(
        (), changes_numbers=False
    )
    """Services that follow the run besides its own events file."""
    dropout: float = 0.25
    """Part of the hidden units that is dropped."""
    learning_rate: float = 0.05
    """Learning rate of Adam."""
    scores: tuple[float, ...] | None = None
    """What the evaluations give in turn, the last for ever, instead of measuring."""
    nan_at: int | None = setting(None, changes_numbers=False)
    """Update, from 1, whose loss is NaN on the last process."""
    skip_at: int | None = None
    """Update, from 1, in which nothing counts."""
    stall_at: int | None = setting(None, changes_numbers=False)
    """Update, from 1, that never ends."""
    pause: float = setting(0.0, changes_numbers=False)
    """Seconds that each update waits."""
