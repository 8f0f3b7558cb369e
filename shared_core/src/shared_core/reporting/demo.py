"""What every demo does beside its method: its folder, an interval over seeds, and what it tells."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from shared_core.data.tables import write_json
from shared_core.errors import RunFolderError
from shared_core.metrics.measure import Measure

DEMO_FILE = "demo.json"


def clear(folder: Path, program: str) -> None:
    """Empty a folder of what an earlier demo left, and never of anything else.

    Raises:
        RunFolderError: the folder holds something that no demo wrote.
    """
    mark = folder / f".{program}-demo"
    if folder.exists() and any(folder.iterdir()) and not mark.is_file():
        raise RunFolderError(f"{folder}: this folder is no earlier demo's. Choose another --out.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mark.write_text("This folder is replaced by the next demo.\n", encoding="utf-8")


def over_seeds(values: Sequence[float], *, higher_is_better: bool = True) -> Measure:
    """Mean of one value per seed, with its 95 % interval (Student's t).

    Raises:
        ValueError: fewer than two values have no interval.
    """
    if len(values) < 2:
        raise ValueError("an interval over seeds needs two seeds or more")
    mean = float(np.mean(values))
    error = float(np.std(values, ddof=1)) / len(values) ** 0.5
    reach = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return Measure(
        value=mean, low=mean - reach, high=mean + reach, higher_is_better=higher_is_better
    )


def write_demo(
    folder: Path,
    *,
    title: str,
    shows: str,
    measures: Mapping[str, Measure],
    baselines: Sequence[str],
    seconds: float,
) -> None:
    """Write `demo.json`, from which the index of all demos is made.

    Args:
        folder: the demo's folder, with its `report.html`.
        title: the program.
        shows: what was shown, in a sentence or two, with its figures.
        measures: what was measured, by label.
        baselines: labels of those that are no achievement but something to compare with.
        seconds: how long the demo took.
    """
    told = [
        {"label": label, "baseline": label in baselines, **measure.to_json()}
        for label, measure in measures.items()
    ]
    content = {"title": title, "shows": shows, "measures": told, "seconds": seconds}
    write_json(folder / DEMO_FILE, content)
