"""Where heads are: given on the command line or in a file, from keypoints, or from detected faces."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gaze_da.method.boxes import Box
from shared_core.data.faces import Box as Fractions
from shared_core.data.tables import read_csv, read_json
from shared_core.errors import DataError, UsageError

Unit = Literal["pixels", "fractions"]

FACE_TO_HEAD = (0.25, 0.45, 0.25, 0.15)
"""How much a detected face, from brow to chin, is widened to a head: left, top, right and bottom, as
shares of its width and height."""

HEAD_POINTS = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
SHOULDERS = ("left_shoulder", "right_shoulder")


@dataclass(frozen=True, kw_only=True)
class Head:
    """A head in a picture.

    Attributes:
        person: who, for tables; the same over the frames of a video.
        box: in the unit that its owner says.
    """

    person: str
    box: Box


def in_pixels(
    heads: Iterable[Head], unit: Unit, width: int, height: int, source: Path
) -> list[Head]:
    """Heads in pixels of a picture.

    Raises:
        DataError: a box is empty, inverted, not finite, or lies outside the picture.
    """
    scale = (width, height, width, height) if unit == "fractions" else (1, 1, 1, 1)
    found = []
    for head in heads:
        x0, y0, x1, y1 = (float(v) * side for v, side in zip(head.box, scale, strict=True))
        seen = x0 < x1 and y0 < y1 and x0 < width and y0 < height and x1 > 0 and y1 > 0
        if not (seen and all(map(math.isfinite, (x0, y0, x1, y1)))):
            box = ", ".join(f"{value:g}" for value in head.box)
            raise DataError(
                source,
                f"{box} ({unit})",
                where=f"person {head.person}",
                expected=f"a head box x0 < x1, y0 < y1 in the picture of {width}x{height} pixels",
                remedy="Is the unit right? --units pixels or --units fractions.",
            )
        found.append(Head(person=head.person, box=(x0, y0, x1, y1)))
    return found


def from_texts(texts: Sequence[str]) -> list[Head]:
    """Heads of a command line, each X0,Y0,X1,Y1.

    Raises:
        UsageError: a text is no box.
    """
    heads = []
    for number, text in enumerate(texts):
        try:
            x0, y0, x1, y1 = (float(part) for part in text.split(","))
        except ValueError as error:
            raise UsageError(f"--head {text}: expected X0,Y0,X1,Y1, four numbers.") from error
        heads.append(Head(person=str(number), box=(x0, y0, x1, y1)))
    return heads


class HeadTable:
    """Heads from a file, by picture or video, and by frame.

    A CSV with the columns `source,x0,y0,x1,y1` and, optionally, `frame` and `person`; JSON with a list
    of such records; or COCO's person keypoints, whose heads are worked out (`head_from_keypoints`).
    Without a frame, a box holds for all of them.

    Raises:
        DataError: the file cannot be read or is none of these, or a box is empty, inverted or not
            finite; names the row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.from_keypoints = False
        self._heads: dict[tuple[str, int | None], list[Head]] = defaultdict(list)
        if path.suffix.lower() == ".json":
            content = read_json(path)
            if isinstance(content, dict) and "annotations" in content:
                self._read_coco(content)
            else:
                self._read_records(content)
        else:
            self._read_csv()

    def of(self, source: Path, frame: int = 0) -> list[Head]:
        """The heads of a picture, or of one frame of a video."""
        for name in (source.name, source.stem, source.as_posix()):
            heads = [*self._heads.get((name, None), ()), *self._heads.get((name, frame), ())]
            if heads:
                return heads
        return []

    def knows(self, source: Path) -> bool:
        """Whether a picture or video stands in the file at all."""
        names = {source.name, source.stem, source.as_posix()}
        return any(name in names for name, _ in self._heads)

    def _read_csv(self) -> None:
        first = self.path.open("rb").readline() if self.path.is_file() else b""
        columns: dict[str, Any] = {"source": str}
        columns |= dict.fromkeys(("x0", "y0", "x1", "y1"), float)
        columns |= {name: kind for name, kind in (("frame", int), ("person", str))
                    if name.encode() in first}  # fmt: skip
        for line, row in read_csv(self.path, columns):
            self._add(row, f"line {line}")

    def _read_records(self, content: Any) -> None:
        if not isinstance(content, list):
            raise DataError(self.path, type(content).__name__, expected="a list of head boxes")
        for number, record in enumerate(content):
            self._add(record, f"record {number}")

    def _add(self, record: Any, where: str) -> None:
        try:
            x0, y0, x1, y1 = (float(record[name]) for name in ("x0", "y0", "x1", "y1"))
            frame = record.get("frame")
            key = str(record["source"]), None if frame is None else int(frame)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            expected = "source, x0, y0, x1 and y1"
            raise DataError(self.path, str(error), where=where, expected=expected) from error
        if not (x0 < x1 and y0 < y1 and all(map(math.isfinite, (x0, y0, x1, y1)))):
            found = f"{x0:g}, {y0:g}, {x1:g}, {y1:g}"
            raise DataError(self.path, found, where=where, expected="a head box x0 < x1, y0 < y1")
        person = str(record.get("person", len(self._heads[key])))
        self._heads[key].append(Head(person=person, box=(x0, y0, x1, y1)))

    def _read_coco(self, content: Mapping[str, Any]) -> None:
        try:
            files = {picture["id"]: picture["file_name"] for picture in content["images"]}
            names = {c["id"]: c.get("keypoints", ()) for c in content["categories"]}
            for row in content["annotations"]:
                points = dict(
                    zip(names[row["category_id"]], _triples(row["keypoints"]), strict=True)
                )
                box = head_from_keypoints(points)
                if box is not None:
                    key = files[row["image_id"]], None
                    self._heads[key].append(Head(person=str(row["id"]), box=box))
        except (TypeError, KeyError, ValueError) as error:
            raise DataError(
                self.path, f"{error!r}", expected="person keypoints as COCO has them"
            ) from error
        self.from_keypoints = True


def _triples(values: Sequence[float]) -> list[tuple[float, float, float]]:
    return list(zip(values[::3], values[1::3], values[2::3], strict=True))


def head_from_keypoints(points: Mapping[str, tuple[float, float, float]]) -> Box | None:
    """The square around a head, from COCO's keypoints of a person.

    Its middle is the mean of the visible points of nose, eyes and ears. Its half side is the largest
    distance between two of them, times 0.75 where an ear is among them and 1.5 where none is, and at
    least 0.3 of the distance between the shoulders.

    Args:
        points: x, y and visibility (0: not labelled) by name, in pixels.

    Returns:
        None where fewer than two of the head's points are known, or all lie in one place.
    """
    known = {name: (x, y) for name, (x, y, visible) in points.items() if visible > 0}
    of_head = [known[name] for name in HEAD_POINTS if name in known]
    if len(of_head) < 2:
        return None
    spread = max(math.dist(a, b) for a, b in itertools.combinations(of_head, 2))
    has_ear = any(name in known for name in ("left_ear", "right_ear"))
    reach = spread * (0.75 if has_ear else 1.5)
    if all(name in known for name in SHOULDERS):
        reach = max(reach, 0.3 * math.dist(*(known[name] for name in SHOULDERS)))
    if not reach:
        return None
    x, y = (sum(values) / len(of_head) for values in zip(*of_head, strict=True))
    return (x - reach, y - reach, x + reach, y + reach)


def head_from_face(face: Fractions) -> Fractions:
    """The head around a detected face, in fractions, cut at the picture's borders."""
    x0, y0, x1, y1 = face
    width, height = x1 - x0, y1 - y0
    left, top, right, bottom = FACE_TO_HEAD
    return (
        max(x0 - left * width, 0.0),
        max(y0 - top * height, 0.0),
        min(x1 + right * width, 1.0),
        min(y1 + bottom * height, 1.0),
    )
