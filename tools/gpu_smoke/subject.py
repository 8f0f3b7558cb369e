"""What the frame asks of a package, and what it tells it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import ArrayLike

from shared_core.reporting.events import read


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one training runs, and how much it computes.

    Attributes:
        folder: what both devices share, such as the data, and the runs.
        device: of the training and of the model afterwards.
        precision: of the training.
        updates: how many.
        small: tiny networks, to try the tool.
    """

    folder: Path
    device: Literal["cpu", "cuda"]
    precision: Literal["fp32", "bf16"]
    updates: int
    small: bool

    @property
    def run(self) -> Path:
        """Folder of the training."""
        return self.folder / f"{self.device}-{self.precision}"

    @property
    def settings(self) -> dict[str, Any]:
        """Fields that every package's `TrainConfig` has: one checkpoint, after the last update."""
        return {
            "run": self.run,
            "epochs": self.updates,
            "max_steps": self.updates,
            "save_every": self.updates,
            "precision": self.precision,
            "device": self.device,
            "trackers": (),
        }


@dataclass(frozen=True)
class Found:
    """What using a model came to.

    Attributes:
        items: how many were used.
        values: what must be finite: a measure, or predictions.
    """

    items: int
    values: Sequence[ArrayLike]


Use = Callable[[], Found]


def losses(place: Place) -> list[float]:
    """The loss of every update, as the run's record has it."""
    return [event["loss"] for event in read(place.run) if event["kind"] == "train"]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One package: how it is trained and used, on whichever device.

    Attributes:
        unit: what is counted, such as "frames".
        tolerance: largest difference of a loss to the CPU's that passes.
        update: class and name of the method that makes one update.
        items: of an update.
        prepare: write data, and what else trainings begin with; called once, before any.
        train: the whole training.
        uses: of the trained model: its evaluation, and its prediction.
        losses: what is compared between devices, a figure for each update.
    """

    unit: str
    tolerance: float
    update: tuple[type, str]
    items: Callable[[Place], int]
    prepare: Callable[[Place], None]
    train: Callable[[Place], object]
    uses: Callable[[Place], tuple[Use, Use]]
    losses: Callable[[Place], Sequence[float]] = losses
