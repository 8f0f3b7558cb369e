"""The videos that a command scores, and how each is watched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from asal_vrvqa.config import PredictConfig
from shared_core.data.tables import read_csv, read_records
from shared_core.errors import DataError
from shared_core.files import VIDEO_SUFFIXES, find_files


@dataclass(frozen=True)
class Job:
    """A video to score, and how it is watched."""

    path: Path
    name: str
    seconds: Literal[7, 15]
    yaw: float
    pitch: float


def jobs_of(config: PredictConfig) -> list[Job]:
    """What the command line or the table asks for.

    Raises:
        DataError: a file is missing, or a row of the table cannot be used.
    """
    if config.table is None:
        folders = [path for path in config.sources if _is_frame_folder(path)]
        others = [path for path in config.sources if path not in folders]
        paths = folders + (find_files(others, VIDEO_SUFFIXES, "video") if others else [])
        jobs = [Job(p, p.stem, config.seconds, config.yaw, config.pitch) for p in paths]
    else:
        jobs = _of_table(config, config.table)
    seen: dict[str, int] = {}
    named = []
    for job in jobs:
        seen[job.name] = number = seen.get(job.name, 0) + 1
        name = job.name if number == 1 else f"{job.name}-{number}"
        named.append(Job(job.path, name, job.seconds, job.yaw, job.pitch))
    return named


def _is_frame_folder(path: Path) -> bool:
    if not path.is_dir():
        return False
    inside = [p.suffix.lower() for p in path.iterdir() if p.is_file()]
    return bool(inside) and not any(suffix in VIDEO_SUFFIXES for suffix in inside)


def _of_table(config: PredictConfig, table: Path) -> list[Job]:
    header = next(read_records(table), (0, []))[1]
    kinds: dict[str, Any] = {"path": str, "seconds": _viewing_time, "yaw": float, "pitch": float}
    present = {n: k for n, k in kinds.items() if n == "path" or n in [h.strip() for h in header]}
    usual = {"seconds": config.seconds, "yaw": config.yaw, "pitch": config.pitch}
    jobs = []
    for row in read_csv(table, present):
        path = table.parent / row.values["path"]
        jobs.append(
            Job(path, path.stem, **{name: row.values.get(name, usual[name]) for name in usual})
        )
    if not jobs:
        raise DataError(table, "no row", expected="a row for each video, with its path")
    return jobs


def _viewing_time(text: str) -> int:
    if text.strip() not in ("7", "15"):
        raise ValueError("expected 7 or 15")
    return int(text)
