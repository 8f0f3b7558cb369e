"""Where viewers look: the start directions of videos, and the scanpaths of viewers.

infoA.csv, infoB.csv            VideoName,HM_pitch,HM_yaw            a row a video
scanpathA.csv, scanpathB.csv    VideoName,subject,HM_pitch,HM_yaw    a row a second
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shared_core.data.tables import read_csv
from shared_core.errors import DataError

Direction = tuple[float, float]
"""Yaw and pitch, degrees; see `projection`."""

_LONGEST_NAME = 200  # bytes; file systems take 255, and the folders' names have a few more


def read_starts(path: Path) -> dict[str, Direction]:
    """Start direction of each video.

    Raises:
        DataError: the table cannot be read, names a video twice, or by what is no file name.
    """
    starts: dict[str, Direction] = {}
    for line, row in read_csv(path, _columns()):
        source = row["VideoName"]
        if source in starts:
            raise DataError(path, f"a second row of {source}", where=f"line {line}")
        starts[source] = (row["HM_yaw"], row["HM_pitch"])
    return starts


def read_scanpaths(path: Path) -> dict[tuple[str, str], tuple[Direction, ...]]:
    """Where each viewer of each video looked, second by second.

    Returns:
        {(video, viewer): directions}, the rows of a viewer in the order of the file.

    Raises:
        DataError: the table cannot be read, or a name could not be that of a file.
    """
    paths: dict[tuple[str, str], list[Direction]] = {}
    for _, row in read_csv(path, _columns(subject=_viewer)):
        seen = paths.setdefault((row["VideoName"], row["subject"]), [])
        seen.append((row["HM_yaw"], row["HM_pitch"]))
    return {key: tuple(directions) for key, directions in paths.items()}


def _columns(**more: Callable[[str], Any]) -> Mapping[str, Callable[[str], Any]]:
    return {"VideoName": _file_name, "HM_yaw": float, "HM_pitch": float, **more}


def _file_name(text: str) -> str:
    # Folders are called by it: a name such as ../x would lead out of where they belong.
    is_plain = text and not text.startswith(".") and "\\" not in text and text == Path(text).name
    if not is_plain or len(text.encode()) > _LONGEST_NAME:
        raise ValueError("the name of a video file")
    return text


def _viewer(text: str) -> str:
    viewer = text.removeprefix("sub")
    if not viewer.isalnum():
        raise ValueError("the number of a viewer")
    return viewer
