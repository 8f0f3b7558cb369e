"""What a run leaves of its stream in its folder, and what is read from there again."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from asal_vrvqa.config import TrainConfig
from asal_vrvqa.data.labels import Clip, parse_name
from asal_vrvqa.data.splits import Part
from asal_vrvqa.model.network import QualityModel
from asal_vrvqa.results import Judged
from shared_core.config import load_yaml
from shared_core.data.tables import read_json, read_records, write_csv, write_json
from shared_core.errors import DataError
from shared_core.reporting.events import read as read_events

RESULTS, SCORES, TASKS_FOLDER = "results.json", "scores.csv", "tasks"
"""In the run folder: what was measured, the scores behind it, and a model for each finished task."""

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


def write_task(
    run: Path,
    task: int,
    network: QualityModel,
    judged: Judged,
    seed: int,
    about: Mapping[str, object],
) -> None:
    """Write what is known after a task: its model, the scores, the results.

    Args:
        run: the run's folder.
        task: from 0.
        network: as the task left it; of a run with a single stage, `model` is the same, and none is written.
        judged: what the test clips were given so far.
        seed: key of the bootstrap.
        about: what else the results say.
    """
    if len(judged.stages) > 1:
        folder = run / TASKS_FOLDER / task_folder(task, judged.stages[task])
        staging = folder.with_name(f".{folder.name}.writing")
        shutil.rmtree(staging, ignore_errors=True)
        network.save_pretrained(staging)
        shutil.rmtree(folder, ignore_errors=True)
        staging.rename(folder)
    write_scores(run / SCORES, judged)
    write_json(run / RESULTS, {**judged.to_json(seed), **about})


def task_folder(task: int, name: str) -> str:
    """Name of a finished task's model folder, such as `1-CG`."""
    safe = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
    return f"{task + 1}-{safe}"


def write_scores(path: Path, judged: Judged) -> None:
    """The score of each test clip before the stream and after each of its stages."""
    columns = ("task", "name", "label", "before", *(f"after {n}" for n in judged.stages))
    rows = []
    for number, part in enumerate(judged.tests):
        values = judged.predictions[:, judged.part(number)]
        for clip, scores in zip(part.clips, values.T.tolist(), strict=True):
            first = {"task": part.name, "name": clip.name, "label": clip.score}
            rows.append(first | dict(zip(columns[3:], scores, strict=True)))
    write_csv(path, columns, rows)


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
    """The scores of a run's test clips, as `write_scores` writes them.

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
