"""What the rows of the table need of one package: data, commands, and what a run leaves."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from threading import RLock
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from shared_core.config import dump_yaml
from shared_core.testing.media import draw_face
from shared_core.testing.tiny_run import trace
from tools.faults.processes import finish

Words = list[str | Path]
"""A command and its arguments; "python" stands for this interpreter."""

QUARANTINE = ("--on-bad-row", "quarantine")
"""Flags that leave bad rows out of a training and list them."""

_SAVED = (
    "model.safetensors",
    "optimizer.safetensors",
    "learner.safetensors",
    "progress.json",
    "manifest.json",
)
SAVE_POINTS = (
    *(f"{moment}:{file}:2" for file in _SAVED for moment in ("before", "after")),
    *("before-rename:2", "before-pointer:2"),
)
"""Moments inside the second save of a start, where the core writes the checkpoint."""


class Subject(ABC):
    """One package at its smallest: a run of a few dozen updates that takes seconds.

    Args:
        folder: scratch of this package; its data and a finished run are kept there.
        seed: of the data and of the runs.
    """

    module: ClassVar[str]
    """Import name, such as `abaw_va`."""
    timed_files: ClassVar[tuple[str, ...]] = ()
    """Files of a checkpoint that hold times, and so differ between two equal runs."""
    trl: ClassVar[bool] = False
    """Whether trl's trainer makes the updates, not the core's loop."""
    spoilt: ClassVar[tuple[str, ...]] = ("loss", "gradient", "batch")
    """What a value that is not finite can be put into (see `tools.faults.spoiling`)."""
    names_batch: ClassVar[str] = "on process 1 ("
    """How the message about such a value begins to name the batch."""
    points: ClassVar[tuple[str, ...]]
    """Named moments of `shared_core.faultpoints` that every start of the run reaches, and what
    follows it; `:2` is the second time in the process."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self._making = RLock()

    @property
    def program(self) -> str:
        """Command and distribution, such as `abaw-va`."""
        return self.module.replace("_", "-")

    # What each package says

    @abstractmethod
    def prepare(self, folder: Path, seed: int) -> None:
        """Write training data into a folder; the seed decides every byte."""

    @abstractmethod
    def settings(self, data: Path, run: Path, **changes: Any) -> Any:
        """The config of a training on such data: saves and evaluates often, with fixed threads."""

    @abstractmethod
    def predict(self, checkpoint: Path, sources: Sequence[Path], out: Path) -> Words:
        """The command that predicts for files that `media` makes, or alike, into a new folder."""

    @abstractmethod
    def media(self, folder: Path, count: int) -> list[Path]:
        """Write so many files that `predict` takes: sources, each on its own."""

    @abstractmethod
    def damageable(self, data: Path) -> list[Path]:
        """Files of training data that a training reads rows from, each of which may be bad."""

    def much(self, data: Path) -> Words:  # noqa: ARG002  for who needs them
        """Flags of a training whose loader still reads after its first update."""
        return []

    def results(self, run: Path) -> Any:  # noqa: ARG002  for who has such
        """What else two equal runs share, beside `left`; compared by `==`."""
        return None

    # What follows from it

    @property
    def data(self) -> Path:
        """Training data, made once; rows that change it work on a copy (see `copy_of_data`)."""
        with self._making:
            made = self.folder / "data"
            if not made.exists():
                making = self.folder / "data.writing"
                making.mkdir(parents=True)
                self.prepare(making, self.seed)
                making.rename(made)
            return made

    @property
    def whole(self) -> Path:
        """The run folder of a finished training that nothing disturbed, made once."""
        with self._making:
            run = self.folder / "whole"
            if not (run / "report.html").exists():
                finish(self.train(self.data, run))
            return run

    def copy_of_data(self, folder: Path) -> Path:
        """The training data again, in a new folder, to be damaged."""
        return Path(shutil.copytree(self.data, folder))

    def train(self, data: Path, run: Path, *flags: str | Path, **changes: Any) -> Words:
        """The command that trains; its settings are written beside the run folder.

        Args:
            data: made by `prepare`.
            run: run folder.
            flags: more words, such as `--resume`.
            changes: fields of the package's config.
        """
        settings = run.with_name(f"{run.name}.yaml")
        settings.parent.mkdir(parents=True, exist_ok=True)
        config = self.settings(data, run, **{"seed": self.seed, **changes})
        settings.write_text(dump_yaml(config), encoding="utf-8")
        return ["python", "-m", self.module, "train", "--config", settings, *flags]

    def left(self, run: Path) -> dict[str, Any]:
        """What two equal runs must share bit for bit.

        Events with losses and measures, the newest checkpoint's files (weights, optimiser,
        counters, generators) and the exported model, as sha256.
        """
        found = trace(run, timed_files=self.timed_files)
        return found | {"results": self.results(run)}


def write_pictures(
    folder: Path, count: int, size: tuple[int, int], *, face: bool = False
) -> list[Path]:
    """Write pictures of noise of (width, height) pixels, with a face in the middle on request."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"picture{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        draw = np.random.default_rng(number)
        pixels = draw.integers(96, 160, (size[1], size[0], 3), dtype=np.uint8)
        shown = draw_face(pixels, (0.35, 0.25, 0.65, 0.75)) if face else pixels
        Image.fromarray(shown).save(path)
    return paths
