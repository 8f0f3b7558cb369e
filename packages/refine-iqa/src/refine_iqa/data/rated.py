"""What a model is judged on: images and videos with opinions on one scale, and scores that others gave."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from refine_iqa.data.benchmarks import BenchmarkTable
from refine_iqa.data.rows import SCORING, Row
from refine_iqa.data.solutions import mos_of
from shared_core.data.quarantine import Quarantine
from shared_core.data.tables import read_csv
from shared_core.errors import DataError, UsageError


@dataclass(frozen=True, kw_only=True)
class Rated:
    """An image or video and what people thought of it.

    Attributes:
        name: as its table has it.
        media: one file; several for images that are rated together.
        mos: mean opinion score, 1..5, higher is better; mapped linearly from a benchmark's own scale.
        question: what is asked; None: the overall quality.
        group: the reference that it is a version of; None where it is a version of none.
        distortion: name or number of its distortion; None where nobody tells.
        level: severity, 1 (faint) and up; None where nobody tells.
    """

    name: str
    media: tuple[Path, ...]
    mos: float
    question: str | None = None
    group: str | None = None
    distortion: str | None = None
    level: int | None = None


def rated_items(table: BenchmarkTable | Sequence[Row]) -> list[Rated]:
    """The images and videos of a benchmark, or of a training table, with opinions on the scale 1..5.

    Raises:
        UsageError: a row asks about a distortion instead of a score.
    """
    if isinstance(table, BenchmarkTable):
        return [
            Rated(
                name=item.name,
                media=(item.path,),
                mos=mos_of(item.mos, table.benchmark.scale),
                group=item.group,
                distortion=item.distortion,
                level=item.level,
            )
            for item in table.items
        ]
    return [_of_row(row) for row in table]


def read_scores(path: Path, items: Sequence[Rated], quarantine: Quarantine) -> list[float]:
    """Scores of a CSV with the columns `path` and `score`, on any scale, in the order of the items.

    A path means the item with whose name it ends; or, where it is shorter, the one item whose name ends
    with it. Files that are not among the items are passed over.

    Args:
        path: the CSV.
        items: what is judged.
        quarantine: what to do with items that have no score; theirs is then NaN.

    Raises:
        DataError: the file cannot be read, or gives an item two scores, or none (policy `raise`).
    """
    names = {item.name: place for place, item in enumerate(items)}
    shorter = _only_ends(items)
    scores: dict[int, float] = {}
    for line, values in read_csv(path, {"path": PurePath, "score": _score}):
        ends = list(_ends(values["path"]))
        place = next((names[end] for end in ends if end in names), shorter.get(ends[0]))
        if place is None:
            continue
        if place in scores:
            where = f"line {line}"
            raise DataError(path, f"a second score of {items[place].name}", where=where)
        scores[place] = values["score"]
    for place, item in enumerate(items):
        if math.isnan(scores.get(place, math.nan)):
            error = DataError(path, "none", where=item.name, expected="a score")
            quarantine.bad(error, of=len(items))
    return [scores.get(place, math.nan) for place in range(len(items))]


def _of_row(row: Row) -> Rated:
    if row.task != SCORING or not isinstance(row.solution, float):
        raise UsageError(
            f"{row.where}: the task {row.task!r} has no score to compare with.\n"
            "Such tables are judged with --benchmark perception."
        )
    return Rated(
        name=row.media[0].as_posix(), media=row.media, mos=row.solution, question=row.question
    )


def _only_ends(items: Sequence[Rated]) -> dict[str, int]:
    """Where an item stands, by each end of its name that no other item's name has."""
    places: dict[str, int] = {}
    shared: set[str] = set()
    for place, item in enumerate(items):
        for end in _ends(PurePath(item.name)):
            shared |= {end} & places.keys()
            places[end] = place
    return {end: place for end, place in places.items() if end not in shared}


def _ends(path: PurePath) -> Iterator[str]:
    """A path, and what is left of it without its first folders: the longest first."""
    yield path.as_posix()
    for first in range(1, len(path.parts)):
        yield PurePath(*path.parts[first:]).as_posix()


def _score(text: str) -> float:
    """A score; NaN for an empty field, which `predict` writes for a file that it could not read."""
    value = float(text) if text.strip() else math.nan
    if math.isinf(value):
        raise ValueError(f"{text} is not finite")
    return value
