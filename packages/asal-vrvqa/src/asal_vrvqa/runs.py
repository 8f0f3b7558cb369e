"""Finished runs, read from their folders."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from asal_vrvqa.config import TrainConfig
from asal_vrvqa.data.labels import Clip, parse_name
from asal_vrvqa.data.splits import Part
from asal_vrvqa.learner import RESULTS, SCORES, TASKS_FOLDER, task_folder
from asal_vrvqa.results import Judged
from shared_core.config import load_yaml
from shared_core.data.tables import read_json, read_records
from shared_core.errors import DataError
from shared_core.reporting.events import read as read_events

_FIXED = 4
"""Columns of the scores' table before those of the stages."""


@dataclass(frozen=True)
class StreamRun:
    """What a run has left.

    Attributes:
        folder: of the run.
        config: its settings.
        judged: the scores of the test clips, stage by stage.
        results: its results file.
    """

    folder: Path
    config: TrainConfig
    judged: Judged
    results: dict[str, Any]

    def task_models(self) -> list[Path]:
        """Model folders of the tasks that have been finished, in their order.

        Raises:
            DataError: one is missing.
        """
        names = [name for _, name in self.judged.learnt()]
        if len(self.judged.stages) == 1:
            return [self.folder / "model"]
        found = [self.folder / TASKS_FOLDER / task_folder(n, name) for n, name in enumerate(names)]
        for path in found:
            if not path.is_dir():
                raise DataError(path, "there is no such folder", expected="the model of a task")
        return found

    @property
    def seconds_per_task(self) -> float:
        """Training time of a task, on average, without evaluations and interruptions.

        From the times of the updates that follow one another; NaN where there are none. A run that learns
        all tasks at once counts as many.
        """
        events = read_events(self.folder)
        pairs = [
            (now["time"] - before["time"], now["step"] - before["step"])
            for before, now in pairwise(events)
            if before["kind"] == now["kind"] == "train"
        ]
        updates = max((event["step"] for event in events), default=0)
        timed = sum(steps for _, steps in pairs)
        if not timed:
            return math.nan
        return float(sum(s for s, _ in pairs) / timed * updates / len(self.judged.tests))


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run with results."""
    return (folder / RESULTS).is_file() and (folder / "config.yaml").is_file()


def read_config(folder: Path) -> TrainConfig:
    """The settings of a run.

    Raises:
        UsageError: the folder holds no run, or a setting is not one of this version.
    """
    return load_yaml(TrainConfig, folder / "config.yaml")


def read_run(folder: Path) -> StreamRun:
    """What lies in a run folder.

    Raises:
        DataError: it holds no run with results, or a damaged file.
    """
    results = read_json(folder / RESULTS)
    judged = read_scores(folder / SCORES, tuple(results["stages"]))
    return StreamRun(folder, read_config(folder), judged, results)


def read_scores(path: Path, stages: tuple[str, ...]) -> Judged:
    """The scores of a run's test clips, as `learner.write_scores` writes them.

    Raises:
        DataError: the file is missing or damaged.
    """
    records = read_records(path)
    next(records, None)
    parts: dict[str, list[Clip]] = {}
    rows: list[list[float]] = []
    for line, fields in records:
        where = f"line {line}"
        if len(fields) != _FIXED + len(stages):
            raise DataError(path, f"{len(fields)} fields", where=where, expected="one a stage")
        task, name, label = fields[:3]
        seconds, start, source = parse_name(name, path, where)
        clip = Clip(
            name=name,
            seconds=seconds,
            start=start,
            source=source,
            score=float(label),
            category=task,
        )
        parts.setdefault(task, []).append(clip)
        rows.append([float(field) if field else math.nan for field in fields[_FIXED - 1 :]])
    tests = tuple(Part(name, tuple(clips)) for name, clips in parts.items())
    return Judged(stages, tests, np.array(rows, dtype=np.float64).reshape(len(rows), -1).T)


def moved(config: TrainConfig, labels: Path, frames: Path, cache: Path | None) -> TrainConfig:
    """The settings of a run whose data lie elsewhere now."""
    return replace(config, labels=labels, frames=frames, cache=cache)
