"""A person in a picture, as the data sets annotate it, and where that puts head, eyes and targets."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from gaze_da.config import DatasetName, Reading
from gaze_da.method.boxes import Box, Point, expanded
from shared_core.data.quarantine import Quarantine
from shared_core.errors import DataError

Split = Literal["train", "test"]
Unit = Literal["pixels", "fractions"]
Record = TypeVar("Record")


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """What could be looked at, where an annotation names it (GOO-Real).

    Attributes:
        boxes: fractions of the picture.
        labels: the class of each box.
        gazed: the class that is looked at.
    """

    boxes: tuple[Box, ...]
    labels: tuple[int, ...]
    gazed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One person in one picture; in GazeFollow's test set with what all annotators say.

    Attributes:
        name: the picture below the data set's root, and the person: unique, for messages and tables.
        image: the file.
        depth: the file of its depth; a .png of that name will do as well.
        group: what is never divided between training and validation: the picture, or the show.
        dataset: which rules of reading and augmentation apply.
        head: head box before it is widened, in `head_unit`.
        gazes: where the person looks, in `gaze_unit`; nothing where that is outside.
        eyes: one point for each gaze (one, too, where there is none), fractions; None: the middle of
            the head box, which moves with it.
        inside: whether the target lies in the picture.
        objects: what could be looked at.
    """

    name: str
    image: str
    depth: str
    group: str
    dataset: DatasetName
    head: Box
    head_unit: Unit
    gazes: tuple[Point, ...]
    gaze_unit: Unit
    eyes: tuple[Point, ...] | None
    inside: bool
    objects: Objects | None = None

    def placed(self, width: int, height: int, reading: Reading) -> Placed:
        """Head, eyes and targets in a picture of this size.

        Raises:
            DataError: the head box is not finite, empty, or lies outside the picture.
        """
        scale = (width, height, width, height) if self.head_unit == "fractions" else (1, 1, 1, 1)
        x0, y0, x1, y1 = (value * side for value, side in zip(self.head, scale, strict=True))
        box = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
        self._refuse_unusable(box, width, height)
        if self.dataset != "videoattentiontarget":  # its boxes are used as they are
            symmetric = reading.symmetric_expansion
            box = expanded(box, reading.head_expansion, symmetric=symmetric)
        sides = (width, height) if self.gaze_unit == "pixels" else (1, 1)
        gazes = tuple((x / sides[0], y / sides[1]) for x, y in self.gazes)
        return Placed(head=box, eyes=self.eyes, gazes=gazes, width=width, height=height)

    def _refuse_unusable(self, box: Box, width: int, height: int) -> None:
        x0, y0, x1, y1 = box
        finite = all(map(math.isfinite, box))
        if finite and x0 < x1 and y0 < y1 and x0 < width and y0 < height and x1 > 0 and y1 > 0:
            return
        found = ", ".join(f"{value:g}" for value in box)
        raise DataError(
            self.image,
            found,
            where=self.name,
            expected=f"a head box (x0, y0, x1, y1) that lies in the picture of {width}x{height} pixels",
            remedy="Mend or remove the row, or leave such rows out: --on-bad-row quarantine.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Head, eyes and targets of a person in a picture whose size is known.

    Attributes:
        head: head box in pixels, widened; it may reach out of the picture.
        eyes: fractions; None: the middle of the head box.
        gazes: fractions; nothing where the target is outside.
        width: pixels; of a crop possibly not whole.
        height: pixels; of a crop possibly not whole.
    """

    head: Box
    eyes: tuple[Point, ...] | None
    gazes: tuple[Point, ...]
    width: float
    height: float

    def eye_points(self) -> tuple[Point, ...]:
        """One point for each gaze, one where there is none; fractions."""
        if self.eyes is not None:
            return self.eyes
        x0, y0, x1, y1 = self.head
        return (((x0 + x1) / 2 / self.width, (y0 + y1) / 2 / self.height),)


@dataclass(frozen=True)
class Annotations:
    """What a data set's annotation files say.

    Attributes:
        samples: the people.
        dropped: how many rows were left out on purpose, by reason.
    """

    samples: list[Sample]
    dropped: Counter[str] = field(default_factory=Counter)


def read_annotations(
    dataset: DatasetName,
    root: Path,
    split: Split,
    *,
    quarantine: Quarantine | None = None,
    vat_fraction: float = 1.0,
    vat_smoothing: bool = True,
) -> Annotations:
    """The people of a data set in its published layout.

    Args:
        dataset: which layout.
        root: the data set's folder; of GOO-Real the picture folder.
        split: training or test.
        quarantine: what to do with rows that cannot be used; without it the first one is raised.
        vat_fraction: share of the rows of each track of VideoAttentionTarget.
        vat_smoothing: smooth the head boxes of VideoAttentionTarget.

    Raises:
        DataError: a file is missing, or a row cannot be used.
    """
    from gaze_da.data import gazefollow, goo, videoattentiontarget

    quarantine = quarantine or Quarantine("raise")
    if dataset == "gazefollow":
        found = gazefollow.read(root, split, quarantine)
    elif dataset == "goo":
        found = goo.read(root, split, quarantine)
    else:
        found = videoattentiontarget.read(
            root, split, quarantine, fraction=vat_fraction, smoothing=vat_smoothing
        )
    if not found.samples:
        raise DataError(root, "none", expected=f"people annotated for {split}")
    return found


def usable(
    records: Iterable[Record],
    parse: Callable[[Record], Sample | None],
    quarantine: Quarantine,
) -> list[Sample]:
    """The samples of those records that can be used; the others go to the quarantine.

    Args:
        records: rows of a file.
        parse: makes a sample of a record, or None where it is left out on purpose.
        quarantine: raises the first error, or lists them all.

    Raises:
        DataError: a row cannot be used, or too many of them.
    """
    samples: list[Sample] = []
    errors: list[DataError] = []
    count = 0
    for record in records:
        count += 1
        try:
            sample = parse(record)
        except DataError as error:
            if quarantine.policy == "raise":
                raise
            errors.append(error)
            continue
        if sample is not None:
            samples.append(sample)
    for bad in errors:
        quarantine.bad(bad, of=count)
    return samples


def number(text: object, path: Path, where: str, what: str) -> float:
    """A finite number.

    Raises:
        DataError: names the file, the row, and what the number is.
    """
    try:
        value = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise DataError(path, repr(text), where=where, expected=f"a finite number for {what}")
    return value
