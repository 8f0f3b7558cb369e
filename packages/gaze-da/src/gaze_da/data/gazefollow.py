"""GazeFollow, extended (Recasens et al., 2015; Chong et al., 2018).

<root>/train_annotations_release.txt    path, id, body box (4), eye (2), gaze (2), head box (4), in/out, ...
<root>/test_annotations_release.txt     the same without in/out, a row for each annotator
<root>/train/, test2/                   pictures
<root>/depth/, depth2/                  their depth
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from gaze_da.data.samples import Annotations, Sample, Split, number, usable
from gaze_da.method.boxes import Point
from shared_core.data.quarantine import Quarantine
from shared_core.data.tables import read_records
from shared_core.errors import DataError

Row = tuple[int, list[str]]

COLUMNS = {"train": 15, "test": 14}
"""Fields that are read; what follows them is where the picture came from."""

DEPTH_FOLDERS = {"train": "depth", "test2": "depth2"}

_NAMES = ("eye x", "eye y", "gaze x", "gaze y", "head x0", "head y0", "head x1", "head y1")


def annotations_path(root: Path, split: Split) -> Path:
    """The file that annotates a split."""
    return root / f"{split}_annotations_release.txt"


def depth_name(picture: str) -> str:
    """Where the depth of a picture lies: the first folder alone is another."""
    first, _, rest = picture.partition("/")
    return f"{DEPTH_FOLDERS.get(first, first)}/{rest}"


def read(root: Path, split: Split, quarantine: Quarantine) -> Annotations:
    """The people of GazeFollow; in the test set, sorted by picture and eye.

    Raises:
        DataError: the file is missing or damaged, or a row cannot be used.
    """
    path = annotations_path(root, split)
    dropped: Counter[str] = Counter()
    if split == "train":

        def parse(row: Row) -> Sample | None:
            sample = _person(root, path, [row])
            if sample is None:
                dropped["marked as invalid (in/out -1)"] += 1
            return sample

        return Annotations(usable(read_records(path), parse, quarantine), dropped)
    # Rows that are cut short cannot be sorted; they are refused one by one where they are parsed.
    rows = sorted(read_records(path), key=lambda row: (row[1][0], _eye_x(row[1])))
    grouped = groupby(rows, key=lambda row: (row[1][0], _eye_x(row[1])))
    people = (list(of_person) for _, of_person in grouped)
    return Annotations(
        usable(people, lambda group: _person(root, path, group), quarantine), dropped
    )


def _eye_x(fields: Sequence[str]) -> tuple[float, str]:
    text = fields[6] if len(fields) > 6 else ""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    # NaN has no place in an order: beside one, the rows of another person would be torn apart.
    return (value, "") if math.isfinite(value) else (math.inf, text)


def _person(root: Path, path: Path, rows: Sequence[Row]) -> Sample | None:
    """One person from a row of the training set, or from the rows of all annotators of the test set."""
    split: Split = "train" if path.name.startswith("train") else "test"
    eyes, gazes = [], []
    for line, fields in rows:
        where = f"line {line}"
        if len(fields) < COLUMNS[split]:
            raise DataError(
                path, f"{len(fields)}", where=where, expected=f"{COLUMNS[split]} fields or more"
            )
        # In another folder, a picture would be its own depth.
        if fields[0].partition("/")[0] not in DEPTH_FOLDERS:
            raise DataError(path, fields[0], where=where, expected="a picture in train/ or test2/")
        inside = split == "test" or _inout(fields[14], path, where)
        if inside is None:
            return None
        values = [
            number(text, path, where, name) for name, text in zip(_NAMES, fields[6:14], strict=True)
        ]
        eyes.append((values[0], values[1]))
        if inside:
            gazes.append(_gaze((values[2], values[3]), path, where))
    picture, annotation, *_ = rows[-1][1]
    # In the test set that numbers the annotators: people there differ by their eyes.
    person = annotation if split == "train" else rows[-1][1][6]
    return Sample(
        name=f"{picture}:{person}",
        image=str(root / picture),
        depth=str(root / depth_name(picture)),
        group=picture,
        dataset="gazefollow",
        head=(values[4], values[5], values[6], values[7]),  # of the last annotator
        head_unit="pixels",
        gazes=tuple(gazes),
        gaze_unit="fractions",
        eyes=tuple(eyes),
        inside=bool(inside),
    )


def _inout(text: str, path: Path, where: str) -> bool | None:
    """Inside, outside, or None for a row that its annotators marked as invalid."""
    value = number(text, path, where, "in/out")
    if value not in (-1, 0, 1):
        raise DataError(path, text, where=where, expected="1 (inside), 0 (outside) or -1 (invalid)")
    return None if value == -1 else value == 1


def _gaze(point: Point, path: Path, where: str) -> Point:
    if min(point) < 0:  # a little more than 1 is the last pixel to every protocol
        found = f"{point[0]:g}, {point[1]:g}"
        raise DataError(
            path,
            found,
            where=where,
            expected="a gaze inside the picture, 0 to 1",
            remedy="Mend the row, mark it as outside, or leave such rows out: --on-bad-row quarantine.",
        )
    return point
