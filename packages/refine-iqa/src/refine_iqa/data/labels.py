"""Readers of label files: a name and a score to a line, and perhaps a split.

Each reader is called with a path and yields labels. It raises a `DataError` that names the line
where the file cannot be read, lacks a column, or a score is no finite number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from shared_core.data.tables import read_csv, read_records
from shared_core.errors import DataError
from shared_core.files import VIDEO_SUFFIXES

Part = Literal["train", "val", "test"]


class Label(NamedTuple):
    """A line of a label file."""

    where: str
    """Such as "line 12"."""
    name: str
    mos: float
    split: Part | None = None
    """Where the file publishes one."""


Reader = Callable[[Path], Iterator[Label]]


def table(
    name: str, mos: str, *, split: str | None = None, parts: Mapping[str, Part] | None = None
) -> Reader:
    """Reads a CSV by the names of its columns.

    Args:
        name: column of the names of images or videos.
        mos: column of their scores.
        split: column of the part that each belongs to; None: there is none.
        parts: what a text in that column means.
    """

    def read(path: Path) -> Iterator[Label]:
        columns: dict[str, Callable[[str], object]] = {name: str.strip, mos: float}
        if split:
            columns[split] = (parts or {}).get
        for line, values in read_csv(path, columns):
            part = values[split] if split else None
            if split and part is None:
                raise DataError(
                    path, "another", where=f"line {line}, {split}", expected=", ".join(parts or {})
                )
            yield Label(f"line {line}", values[name], values[mos], part)

    return read


def lines(name: int, mos: int, delimiter: str = ",") -> Reader:
    """Reads lines without a header by the places of their fields, from 0."""

    def read(path: Path) -> Iterator[Label]:
        for line, fields in read_records(path, delimiter=delimiter):
            where = f"line {line}"
            if len(fields) <= max(name, mos):
                raise DataError(
                    path, f"{len(fields)}", where=where, expected=f"{max(name, mos) + 1} fields"
                )
            try:
                score = float(fields[mos])
            except ValueError:
                score = math.nan
            if not math.isfinite(score):
                raise DataError(path, repr(fields[mos][:80]), where=where, expected="a score")
            yield Label(where, fields[name].strip(), score)

    return read


def clips(reader: Reader) -> Reader:
    """Reads as `reader` does, and ends names of videos that lack a suffix with `.mp4`."""

    def read(path: Path) -> Iterator[Label]:
        for label in reader(path):
            has_one = Path(label.name).suffix.lower() in VIDEO_SUFFIXES
            yield label if has_one else label._replace(name=f"{label.name}.mp4")

    return read
