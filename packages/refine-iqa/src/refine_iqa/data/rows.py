"""Tables of rows, in the authors' JSON or in ours: what is shown, what is asked, what is right.

    [{"image": "a.png", "question": "How good ...?", "solution": 4.4}]        JSON, the authors'
    {"video": "b.mp4", "solution": 71.3, "scale": [0, 100]}                   JSON lines
    path,mos,split                                                            CSV

Everything is checked before a run begins, but for the pixels: `prepare check` decodes those too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from refine_iqa.config import PerceptionTask
from refine_iqa.data.prompts import QUESTION_IMAGE, QUESTION_VIDEO
from refine_iqa.data.solutions import (
    Perceived,
    Unusable,
    mos_of,
    perceived_of,
    scale_of,
    size_of,
    std_of,
    text_of,
)
from shared_core.data.quarantine import Quarantine
from shared_core.data.tables import read_csv, read_json, read_jsonl, read_records
from shared_core.errors import DataError
from shared_core.files import VIDEO_SUFFIXES

SCORING = "scoring"
"""The task of rows whose solution is a MOS."""
TASKS: tuple[str, ...] = (SCORING, *get_args(PerceptionTask))
"""What a row may ask for."""
CSV_COLUMNS = ("path", "mos", "std", "split", "question", "task")
"""Columns of a CSV table; the first two are needed."""
_SHOWN = 200  # characters of a path in a message


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a training or benchmark table.

    Attributes:
        where: the table and the place in it: "train.json, row 12"; a line number for JSON lines and CSV.
        media: one image or more, or one video.
        is_video: whether `media` is a video.
        question: what is asked.
        task: one of `TASKS`.
        solution: MOS, 1..5, or what is to be perceived.
        size: width and height of the picture in whose pixels the box is given.
        std: standard deviation of the opinions, on the scale of the MOS.
        split: the part that the table puts it in.
    """

    where: str
    media: tuple[Path, ...]
    is_video: bool
    question: str
    task: str
    solution: float | Perceived
    size: tuple[int, int] | None = None
    std: float | None = None
    split: str | None = None


def read_rows(
    path: Path | str,
    *,
    data_root: Path | None = None,
    quarantine: Quarantine | None = None,
    question: str | None = None,
) -> list[Row]:
    """Read and check a table.

    A CSV has the columns `path, mos[, std, split, question]`; anything else is a JSON list or JSON
    lines, whichever its first character tells. A `scale: [lo, hi]` maps a solution linearly to 1..5.

    Args:
        path: the table.
        data_root: folder that relative paths begin at; None: the table's own.
        quarantine: what to do with rows that cannot be used; None: the first is raised. Text that is no
            JSON, or a CSV row with another number of fields, is always raised.
        question: what is asked by rows without a question; None: the quality of the image or video.

    Raises:
        DataError: the table cannot be read or has no rows; or a row names a missing file, no media or two
            kinds, has no question or no solution, a score outside the scale, an incomplete
            solution of a perception task, or a box outside the picture. Names the row.
    """
    path = Path(path)
    quarantine = quarantine or Quarantine("raise")
    records = list(_records(path))
    if not records:
        raise DataError(path, "none", expected="rows")
    reader = _Reader(path, data_root or path.parent, question)
    rows = []
    for where, record in records:
        try:
            rows.append(reader.row(where, record))
        except DataError as error:
            quarantine.bad(error, of=len(records))
    return rows


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    """Places in the table, and what stands there, as the JSON of a row has it."""
    if path.suffix.lower() == ".csv":
        yield from _csv_records(path)
    elif _first_character(path) == "[":
        items = read_json(path)
        for number, item in enumerate(items, start=1):
            yield f"row {number}", item
    else:
        for line, item in read_jsonl(path):
            yield f"line {line}", item


def _csv_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    _, header = next(read_records(path), (0, []))
    present = [name for name in CSV_COLUMNS[2:] if name in (field.strip() for field in header)]
    columns: dict[str, Callable[[str], str]] = dict.fromkeys(
        (*CSV_COLUMNS[:2], *present), str.strip
    )
    for line, fields in read_csv(path, columns):
        record = {name: text for name, text in fields.items() if text}
        name = record.pop("path", None)
        record["video" if Path(name or "").suffix.lower() in VIDEO_SUFFIXES else "image"] = name
        record["solution"] = record.pop("mos", None)
        yield f"line {line}", record


def _first_character(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return file.read(4096).lstrip()[:1]
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})") from error


@dataclass(frozen=True)
class _Reader:
    """Makes rows of the records of one table."""

    path: Path
    root: Path
    question: str | None

    def row(self, where: str, record: Any) -> Row:
        if not isinstance(record, Mapping):
            raise DataError(self.path, type(record).__name__, where=where, expected="an object")
        try:
            media, is_video = _media(record, self.root)
            task = _task(record)
            size = size_of(record.get("size"))
            scale = scale_of(record.get("scale"))
            return Row(
                where=f"{self.path.name}, {where}",
                media=media,
                is_video=is_video,
                question=self._question(record, is_video),
                task=task,
                solution=(
                    mos_of(record.get("solution"), scale)
                    if task == SCORING
                    else perceived_of(record.get("solution"), task, size)
                ),
                size=size,
                std=std_of(record.get("std"), scale),
                split=text_of(record, "split"),
            )
        except Unusable as fault:
            raise DataError(self.path, fault.found, where=where, expected=fault.expected) from fault

    def _question(self, record: Mapping[str, Any], is_video: bool) -> str:
        asked = text_of(record, "question")
        return asked or self.question or (QUESTION_VIDEO if is_video else QUESTION_IMAGE)


def _media(record: Mapping[str, Any], root: Path) -> tuple[tuple[Path, ...], bool]:
    kinds = [kind for kind in ("image", "video") if record.get(kind) is not None]
    if len(kinds) != 1:
        raise Unusable(" and ".join(kinds) or "neither", "either an image or a video")
    is_video = kinds[0] == "video"
    named = record[kinds[0]]
    names = named if isinstance(named, list) and not is_video else [named]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise Unusable(repr(named)[:80], f"a path in {kinds[0]!r}")
    paths = tuple(root / name for name in names)
    for path in paths:
        if not is_video and path.suffix.lower() in VIDEO_SUFFIXES:
            raise Unusable(f"the video {path.name}", "an image (a video is named by 'video')")
        if not _is_file(path):
            raise Unusable(f"no file {str(path)[:_SHOWN]}", f"the {kinds[0]} that the row names")
    return paths, is_video


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # longer than a name can be, or with a NUL in it
        return False


def _task(record: Mapping[str, Any]) -> str:
    task = record.get("task", SCORING)
    if task not in TASKS:
        raise Unusable(repr(task), f"a task: {', '.join(TASKS)}")
    return str(task)
