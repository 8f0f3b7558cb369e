"""Faces in pictures and videos: boxes, which face to follow over time, and crops.

Boxes are `(x0, y0, x1, y1)`, fractions of the picture's width and height. They come from a detector
(`shared_core.data.face_detectors`) or from a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from jaxtyping import Float, UInt8

from shared_core.data.tables import read_csv
from shared_core.data.video import Frame
from shared_core.errors import DataError
from shared_core.extras import require

cv2 = require("cv2", "faces")

Person = Literal["left", "right", "largest"]
"""Which face where a picture shows several: by its place among the two largest, or by its size."""

Box = tuple[float, float, float, float]
Image = UInt8[np.ndarray, "height width 3"]

SAME_FACE = 0.3
"""Two boxes with at least this intersection over union, shortly after one another, are one face."""

_TEMPLATE = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]]) / 112
"""Where the landmarks come to lie in an aligned crop: fractions of the usual 112 pixels."""


@dataclass(frozen=True, kw_only=True)
class Face:
    """A face in a picture."""

    box: Box
    """Fractions of width and height; may reach outside the picture."""
    score: float = 1.0
    """Confidence in [0, 1], higher is better; comparable within one detector only."""
    landmarks: Float[np.ndarray, "5 2"] | None = None
    """Fractions: eye, eye, nose, mouth corner, mouth corner; pairs from left to right as seen."""

    @property
    def area(self) -> float:
        """Fraction of the picture that the box covers."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)

    @property
    def middle(self) -> float:
        """Horizontal place of the box's centre, 0 (left) to 1 (right)."""
        return (self.box[0] + self.box[2]) / 2


class Detector(Protocol):
    """Finds the faces of one picture."""

    def __call__(self, image: Image) -> list[Face]:
        """All faces of an RGB picture, in no particular order."""
        ...


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (areas - width * height)


def without_doubles(faces: Sequence[Face], limit: float = SAME_FACE) -> list[Face]:
    """Of faces that overlap by more than `limit`, only the one with the highest score."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(overlap(face.box, other.box) <= limit for other in kept):
            kept.append(face)
    return kept


class FaceBoxes:
    """Boxes from a CSV file with the columns `frame,x0,y0,x1,y1` and, optionally, `person`.

    `frame` counts from 0; coordinates are fractions. A frame may have several rows, or none. Where
    the column `person` names "left" or "right", it decides who is who, not the place.

    Raises:
        DataError: the file cannot be read, or a box is empty or given in pixels; names the row.
    """

    def __init__(self, path: Path | str) -> None:
        columns = {"frame": int, "x0": float, "y0": float, "x1": float, "y1": float}
        if _has_people(Path(path)):
            columns |= {"person": str}
        self._faces: dict[int, list[tuple[str, Face]]] = {}
        for line, row in read_csv(path, columns):
            box = (row["x0"], row["y0"], row["x1"], row["y1"])
            if not (box[0] < box[2] and box[1] < box[3] and min(box) > -1 and max(box) < 2):
                raise DataError(
                    path,
                    f"{box}",
                    where=f"row {line}",
                    expected="a box x0 < x1, y0 < y1, in fractions of the picture",
                    remedy="Divide pixels by the picture's width and height.",
                )
            named = row.get("person", ""), Face(box=box)
            self._faces.setdefault(row["frame"], []).append(named)
        self._people = {name for rows in self._faces.values() for name, _ in rows}

    def face(self, index: int, person: Person, before: Face | None) -> Face | None:
        """A person's face in one frame: by name where the table has that name, else by `pick`."""
        rows = self._faces.get(index, [])
        if person in self._people:
            return next((face for name, face in rows if name == person), None)
        return pick([face for _, face in rows], person, before)


def _has_people(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return b"person" in file.readline()


def pick(faces: Sequence[Face], person: Person, before: Face | None) -> Face | None:
    """The face of the person who is followed, among all faces of a picture.

    "left" and "right" order the two largest faces. A face alone in the picture is taken for the
    person when it lies where the person was `before` or, with nothing before, in that half of it.
    "largest" stays with the face `before` until another is more than twice as large.

    Returns:
        None where the person is not seen.
    """
    if not faces:
        return None
    by_size = sorted(faces, key=lambda face: -face.area)
    if person == "largest":
        same = [
            f for f in by_size if before is not None and overlap(f.box, before.box) >= SAME_FACE
        ]
        return same[0] if same and 2 * same[0].area >= by_size[0].area else by_size[0]
    if len(faces) > 1:
        left, right = sorted(by_size[:2], key=lambda face: face.middle)
        return left if person == "left" else right
    (face,) = faces
    if before is not None:
        return face if overlap(face.box, before.box) >= SAME_FACE else None
    return face if (face.middle < 0.5) == (person == "left") else None


def follow(
    frames: Iterable[Frame],
    source: Detector | FaceBoxes,
    *,
    every: int = 5,
    person: Person = "largest",
) -> Iterator[tuple[Frame, Face | None]]:
    """Pair every frame with the face of one person, or with None where it is not seen.

    A detector looks at every `every`-th frame and the last. Between two looks that found the same
    face, the box moves evenly from one to the other; where they disagree (a cut, a face that comes
    or goes), the detector looks at each frame between. So at most `every` frames are held, and a
    face that is seen for less than `every` frames can be missed.

    Args:
        frames: a video, in order.
        source: a detector, or a table (which is asked at every frame).
        every: frames from one look to the next.
        person: whom to follow where there are several.
    """
    if isinstance(source, FaceBoxes):
        face: Face | None = None
        for frame in frames:
            face = source.face(frame.index, person, face)
            yield frame, face
        return
    before: Face | None = None
    waiting: list[Frame] = []
    looked = False
    for frame in frames:
        waiting.append(frame)
        if not looked or len(waiting) == every:
            faces = _faces_of(waiting, source, person, before)
            yield from zip(waiting, faces, strict=True)
            before, waiting, looked = faces[-1], [], True
    yield from zip(waiting, _faces_of(waiting, source, person, before), strict=True)


def follow_all(
    frames: Iterable[Frame], detector: Detector, *, every: int = 5
) -> Iterator[tuple[Frame, dict[int, Face]]]:
    """Pair every frame with all faces in it, each under a number that it keeps.

    The detector looks at the first frame, at every `every`-th after it, and at the last. A face that
    overlaps one of the look before is the same; its box moves evenly between the two looks. A face that
    comes is there from the look that finds it, one that goes until the look before. So a face that is
    seen for less than `every` frames can be missed, and at most `every` frames are held.

    Args:
        frames: a video, in order.
        detector: finds the faces of a picture.
        every: frames from one look to the next.
    """
    before: dict[int, Face] = {}
    count, waiting = 0, list[Frame]()

    def looked() -> Iterator[tuple[Frame, dict[int, Face]]]:
        nonlocal before, count
        after = _numbered(detector(waiting[-1].image), before, count)
        count = max(count, *(number + 1 for number in after), 0)
        same = before.keys() & after.keys()
        for step, frame in enumerate(waiting[:-1], 1):
            share = step / len(waiting)
            yield frame, {n: between(before[n], after[n], share) for n in sorted(same)}
        yield waiting[-1], after
        before = after
        waiting.clear()

    for first, frame in enumerate(frames):
        waiting.append(frame)
        if first == 0 or len(waiting) == every:
            yield from looked()
    if waiting:
        yield from looked()


def _numbered(faces: Sequence[Face], before: dict[int, Face], unused: int) -> dict[int, Face]:
    """Faces under the numbers of those that they overlap most, and under new ones, from the left."""
    pairs = sorted(
        (
            (overlap(old.box, face.box), number, place)
            for number, old in before.items()
            for place, face in enumerate(faces)
        ),
        key=lambda pair: (-pair[0], *pair[1:]),
    )
    number_of: dict[int, int] = {}
    for share, number, place in pairs:
        if share >= SAME_FACE and place not in number_of and number not in number_of.values():
            number_of[place] = number
    new = sorted(set(range(len(faces))) - number_of.keys(), key=lambda place: faces[place].middle)
    number_of |= {place: unused + offset for offset, place in enumerate(new)}
    return {number: faces[place] for place, number in sorted(number_of.items(), key=lambda n: n[1])}


def _faces_of(
    frames: Sequence[Frame], detector: Detector, person: Person, before: Face | None
) -> list[Face | None]:
    """Faces of the frames after a look that found `before`, with a look at the last of them."""
    if not frames:
        return []
    after = pick(detector(frames[-1].image), person, before)
    count = len(frames)
    if before is None and after is None:
        return [None] * count
    if before and after and overlap(before.box, after.box) >= SAME_FACE:
        return [between(before, after, (step + 1) / count) for step in range(count)]
    faces: list[Face | None] = []
    for frame in frames[:-1]:
        before = pick(detector(frame.image), person, before)
        faces.append(before)
    return [*faces, after]


def between(a: Face, b: Face, share: float) -> Face:
    """The face `share` (0 to 1) of the way from one to another."""
    mix = [(1 - share) * one + share * other for one, other in zip(a.box, b.box, strict=True)]
    marks = None
    if a.landmarks is not None and b.landmarks is not None:
        marks = a.landmarks + share * (b.landmarks - a.landmarks)
    return Face(
        box=(mix[0], mix[1], mix[2], mix[3]),
        score=(1 - share) * a.score + share * b.score,
        landmarks=marks,
    )


def crop(
    image: Image, face: Face, size: int, margin: float = 0.15
) -> UInt8[np.ndarray, "size size 3"]:
    """Cut a face out as a square picture.

    With landmarks, the face is turned, scaled and shifted so that they come closest (least squares)
    to their usual places; else the box, made square around its centre and widened, is scaled. What
    lies outside the picture repeats its border.

    Args:
        image: RGB.
        face: where.
        size: pixels of each side of the result.
        margin: how much the square is widened on each side, as a fraction of the box's longer side;
            0.15 gives a cascade's box about the extent of an aligned crop.
    """
    if face.landmarks is not None:
        return _aligned(image, face.landmarks, size)
    square = _square(image, face.box, margin)
    shrinks = square.shape[0] > size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (size, size), interpolation=method))


def _aligned(image: Image, landmarks: np.ndarray, size: int) -> Image:
    height, width = image.shape[:2]
    moved = similarity(landmarks * (width, height), _TEMPLATE * size)
    scale = float(np.hypot(moved[0, 0], moved[0, 1]))
    if scale < 1:  # averaging first keeps fine texture from turning into noise
        smaller = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
        moved = similarity(landmarks * smaller, _TEMPLATE * size)
    return np.asarray(cv2.warpAffine(image, moved, (size, size), borderMode=cv2.BORDER_REPLICATE))


def _square(image: Image, box: Box, margin: float) -> Image:
    height, width = image.shape[:2]
    x0, x1 = box[0] * width, box[2] * width
    y0, y1 = box[1] * height, box[3] * height
    side = max(1, round(max(x1 - x0, y1 - y0) * (1 + 2 * margin)))
    left, top = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)
    columns = np.clip(np.arange(left, left + side), 0, width - 1)
    rows = np.clip(np.arange(top, top + side), 0, height - 1)
    return np.asarray(image[rows[:, None], columns])


def similarity(
    source: Float[np.ndarray, "points 2"], target: Float[np.ndarray, "points 2"]
) -> Float[np.ndarray, "2 3"]:
    """The rotation, scale and shift [A | b] that bring points closest to others (Umeyama, 1991)."""
    middle, aim = source.mean(axis=0), target.mean(axis=0)
    spread = source - middle
    u, singular, vt = np.linalg.svd((target - aim).T @ spread)
    signs = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])  # never a reflection
    matrix = (u * signs) @ vt * (singular @ signs) / (spread**2).sum()
    return np.column_stack([matrix, aim - matrix @ middle])
