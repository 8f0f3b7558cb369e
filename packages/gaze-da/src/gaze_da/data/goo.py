"""GOO-Real (Tomas et al., 2021): people in front of shelves, and the object they look at.

<folder>/finalrealdatasetImgsV3/<n>/cam<m>/*.jpg          the root that is named
<folder>/finalrealdatasetImgsV3_depth/<n>/cam<m>/*.jpg
<folder>/oneshotrealhumansNew.pickle, testrealhumansNew.pickle    or .jsonl of the same name
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gaze_da.config import GooConfig
from gaze_da.data.pickles import read_pickled_dicts
from gaze_da.data.samples import Annotations, Objects, Sample, Split, number, usable
from gaze_da.method.boxes import Box
from shared_core.commands import say
from shared_core.data.quarantine import Quarantine
from shared_core.data.tables import read_jsonl, write_jsonl
from shared_core.errors import DataError

STEMS = {"train": "oneshotrealhumansNew", "test": "testrealhumansNew"}
FRAME = (640, 480)
"""Width and height that all coordinates refer to, whatever the picture's own size."""

HEAD = 0.15
"""Half of the head box's sides, as a share of the picture's: only the head's point is annotated."""

CORRUPT = "15/cam1/cam00001_img00530.jpg"
"""A picture that was published damaged."""

Record = tuple[int, Any]


def annotations_path(root: Path, split: Split) -> Path:
    """The file that annotates a split: JSON lines where they are there, else the pickle."""
    stem = _absolute(root).parent / STEMS[split]
    lines = stem.with_suffix(".jsonl")
    return lines if lines.is_file() else stem.with_suffix(".pickle")


def depth_root(root: Path) -> Path:
    """The folder beside the pictures that holds their depth."""
    root = _absolute(root)
    return root.with_name(f"{root.name}_depth")


def _absolute(root: Path) -> Path:
    """Without `..`, and without following links: the folder may be a link to another disk."""
    return Path(os.path.abspath(root))  # noqa: PTH100 - resolve() follows links


def read(root: Path, split: Split, quarantine: Quarantine) -> Annotations:
    """The people of GOO-Real.

    Raises:
        DataError: the file is missing, unsafe or damaged, or a row cannot be used.
    """
    path = annotations_path(root, split)
    dropped: Counter[str] = Counter()

    def parse(record: Record) -> Sample | None:
        sample = _person(root, path, record)
        if sample.group == CORRUPT:
            dropped["a picture that was published damaged"] += 1
            return None
        return sample

    return Annotations(usable(_records(path), parse, quarantine), dropped)


def _records(path: Path) -> Iterable[Record]:
    if path.suffix == ".jsonl":
        return read_jsonl(path)
    return enumerate(read_pickled_dicts(path), 1)


def _person(root: Path, path: Path, record: Record) -> Sample:
    line, row = record
    where = f"row {line}"
    if not isinstance(row, dict) or not isinstance(row.get("filename"), str):
        raise DataError(path, "none", where=where, expected="a row with a filename")
    picture = row["filename"].replace("\\", "/").lstrip("./")
    names = ("hx", "hy", "gaze_cx", "gaze_cy")
    values = [number(row.get(name), path, where, name) for name in names]
    hx, hy, gx, gy = (value / FRAME[place % 2] for place, value in enumerate(values))
    if not (0 <= gx <= 1 and 0 <= gy <= 1):
        found = f"{values[2]:g}, {values[3]:g}"
        raise DataError(path, found, where=where, expected="a gaze inside the 640x480 frame")
    return Sample(
        name=f"{picture}:{line}",
        image=str(_absolute(root) / picture),
        depth=str(depth_root(root) / picture),
        group=picture,
        dataset="goo",
        head=(max(hx - HEAD, 0), max(hy - HEAD, 0), hx + HEAD, hy + HEAD),
        head_unit="fractions",
        gazes=((gx, gy),),
        gaze_unit="fractions",
        eyes=((hx, hy),),
        inside=True,
        objects=_objects(row, path, where),
    )


def _objects(row: dict[str, Any], path: Path, where: str) -> Objects | None:
    """What could be looked at, and what is, where the row says both."""
    annotated = row.get("ann")
    if not isinstance(annotated, dict) or "bboxes" not in annotated or "labels" not in annotated:
        return None
    if row.get("gaze_item") is None and row.get("gazeIdx") is None:
        return None
    try:
        boxes = np.asarray(annotated["bboxes"], np.float64).reshape(-1, 4) / (*FRAME, *FRAME)
        labels = np.asarray(annotated["labels"]).astype(np.int64).ravel().tolist()
        gazed = row.get("gaze_item")
        if gazed is None:
            gazed = dict(enumerate(labels))[int(row["gazeIdx"])]  # -1 is not the last one
        gazed = int(gazed)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        expected = "boxes, a label for each, and which is looked at"
        raise DataError(path, str(error), where=where, expected=expected) from error
    if len(boxes) != len(labels):
        found = f"{len(boxes)} boxes and {len(labels)} labels"
        raise DataError(path, found, where=where, expected="a label for each box")
    as_boxes: tuple[Box, ...] = tuple((a, b, c, d) for a, b, c, d in boxes.tolist())
    return Objects(boxes=as_boxes, labels=tuple(labels), gazed=gazed)


def command(config: GooConfig) -> None:
    """`gaze-da prepare goo`."""
    rows = read_pickled_dicts(config.annotations)
    try:
        write_jsonl(config.out, (_plain(row) for row in rows))
    except TypeError as error:
        expected = "numbers, text, lists and arrays"
        raise DataError(config.annotations, str(error), expected=expected) from error
    say(f"{config.out}: {len(rows)} rows")


def _plain(value: Any) -> Any:
    """Without arrays and numbers of numpy, and without bytes."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    return value.decode("latin1") if isinstance(value, bytes) else value
