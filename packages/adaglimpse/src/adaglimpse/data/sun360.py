"""SUN360's list of images: its order decides the split, its folders are the classes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch

from adaglimpse.config import Split
from shared_core.data.loader import generator
from shared_core.data.tables import read_records
from shared_core.errors import DataError

PLACES = ("indoor", "outdoor")
"""Folders of the first level."""

CANONICAL_COUNT = 7956
"""Lines of the authors' list."""
CANONICAL_HASH = "3ecd11d50666d3896f628f6c639de76941d6ceec10564f9a7b0f5cc5939fcc4d"
"""SHA-256 of their list, with a line feed after each line."""

SHUFFLE_KEY = 360
"""Key of the order that stands in for a list."""


@dataclass(frozen=True)
class Listed:
    """A list of images.

    Attributes:
        names: paths below the data set's root, in the order of the list.
        notes: what a user should know about the list.
    """

    names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Kinds of scene, such as `outdoor/park`, sorted: their places are the labels."""
        return tuple(sorted({class_of(name) for name in self.names}))

    def of(self, split: Split) -> tuple[str, ...]:
        """Names of a split: the first tenth validates and tests, the rest trains."""
        val = len(self.names) // 10
        return self.names[val:] if split == "train" else self.names[:val]


def class_of(name: str) -> str:
    """Kind of scene of an image, `outdoor/park` of `outdoor/park/pano_a.jpg`."""
    return str(PurePosixPath(name).parent)


def read_list(path: Path) -> Listed:
    """Read a list: a line for each image, `indoor` or `outdoor`, its class, and its file.

    Raises:
        DataError: the file is missing or empty, a line is no such path, or stands there twice.
    """
    lines: dict[str, int] = {}
    for number, fields in read_records(path):
        name = fields[0].strip()
        if len(fields) != 1 or not _is_name(name):
            raise DataError(
                path,
                repr(",".join(fields)[:80]),
                where=f"line {number}",
                expected="a path such as outdoor/park/pano_a.jpg",
            )
        if name in lines:
            raise DataError(path, f"{name} a second time", where=f"line {number}")
        lines[name] = number
    if not lines:
        raise DataError(path, "none", expected="an image a line")
    names = tuple(lines)
    return Listed(names, _notes(path, names))


def shuffled(names: Sequence[str], root: Path) -> Listed:
    """A list made of the files that are there, in an order that depends on their names alone.

    Args:
        names: paths below the root; those that are no class's image are left out.
        root: the data set's root, for messages.

    Raises:
        DataError: there is no image of a class.
    """
    ordered = sorted(filter(_is_name, names))
    if not ordered:
        raise DataError(root, "none", expected="images such as outdoor/park/pano_a.jpg")
    order = torch.randperm(len(ordered), generator=generator(SHUFFLE_KEY)).tolist()
    note = (
        f"{root}: no --split-file, so a fixed shuffle of its {len(ordered)} images stands in for "
        "the authors' list; results do not compare with theirs."
    )
    return Listed(tuple(ordered[i] for i in order), (note,))


def _is_name(name: str) -> bool:
    parts = name.split("/")
    safe = "\\" not in name and not any(part in ("", ".", "..") for part in parts)
    return safe and len(parts) == 3 and parts[0] in PLACES


def _notes(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Whether a list that is as long as the authors' is theirs."""
    digest = hashlib.sha256("".join(f"{name}\n" for name in names).encode()).hexdigest()
    if len(names) != CANONICAL_COUNT or digest == CANONICAL_HASH:
        return ()
    return (
        f"{path}: {CANONICAL_COUNT} images as in the authors' list, but not the same ones or order.",
    )
