"""HDF5 feature files and arrays that cannot be used, or that reach beyond themselves."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

VIDEO = "video"
"""The one group of each file."""
ROWS, COLUMNS = 12, 4


def _write(path: Path, **kept: object) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset(f"{VIDEO}/fts", **kept)


def _values() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(ROWS, COLUMNS)).astype(np.float32)


def whole(path: Path) -> None:
    """Features that can be used."""
    _write(path, data=_values())


def _holding(value: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        values = _values()
        values[5, 2] = value
        _write(path, data=values)

    return write


def _changed(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        whole(path)
        path.write_bytes(change(path.read_bytes()))

    return write


def _linked(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file[VIDEO] = h5py.ExternalLink("absent.h5", "/video")


def _loop(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["a"], file["b"] = h5py.SoftLink("/b"), h5py.SoftLink("/a")


def _huge(path: Path) -> None:
    _write(path, shape=(2**40, COLUMNS), dtype="f4", chunks=(1024, COLUMNS))


UNUSABLE: dict[str, Callable[[Path], None]] = {
    "NaN in row 5": _holding(float("nan")),
    "infinity in row 5": _holding(float("inf")),
    "cut in half": _changed(lambda data: data[: len(data) // 2]),
    "cut by a byte": _changed(lambda data: data[:-1]),
    "no bytes": _changed(lambda _: b""),
    "zeros": _changed(lambda data: bytes(len(data))),
    "noise": _changed(lambda data: random.Random(4).randbytes(len(data))),
    "text": _changed(lambda _: b"frame,feature\n1,0.5\n"),
    "whole numbers": lambda path: _write(path, data=np.ones((ROWS, COLUMNS), np.int64)),
    "text in place of numbers": lambda path: _write(path, data=[[b"a", b"b"]] * ROWS),
    "one dimension": lambda path: _write(path, data=np.ones(ROWS)),
    "no columns": lambda path: _write(path, data=np.ones((ROWS, 0))),
    "fewer rows than labels": lambda path: _write(path, data=_values()[:-3]),
    "a link to another file": _linked,
    "links in a circle": _loop,
    "4e12 numbers declared": _huge,
}
"""Writers of feature files that no training on 12 labelled frames may take, by what is wrong."""
