"""Frame-level features in HDF5, read slice by slice without a copy of the set in memory.

The layout is one group per video, `<id>/fts` [length, width], with other arrays beside it. A data
set that HDF5 stores in one piece is mapped: a slice is a view of the file's pages, which belong to
the page cache and not to the process. A chunked or compressed one is read through h5py.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared_core.data.atomic import replacing
from shared_core.errors import DataError
from shared_core.extras import require

h5py = require("h5py", "features")

REPAIR = "Copy or extract it again."


class _Block(NamedTuple):
    """Where a video's features lie: shape, type, and the byte they start at when in one piece."""

    length: int
    width: int
    dtype: np.dtype[Any]
    offset: int | None


class _Handles(NamedTuple):
    """What one process has open: HDF5 handles neither survive a fork nor travel by pickle."""

    process: int
    file: Any
    pages: NDArray[np.uint8]


class FeatureFile:
    """The features of many videos, in one HDF5 file; picklable, opened anew in each process.

    Args:
        path: the HDF5 file.
        dataset: name of the array [length, width] inside each video's group.

    Raises:
        DataError: the file is missing, truncated or not HDF5; a video has no such array, or one
            that is not a table of float numbers, or not as wide as the others.
    """

    def __init__(self, path: Path | str, dataset: str = "fts") -> None:
        self.path = Path(path)
        self.dataset = dataset
        with open_hdf5(self.path) as file:
            self._blocks = {key: self._block(file, key) for key in file}
        self._state = _state(self.path)
        self._handles: _Handles | None = None
        self.width = self._common_width()

    @property
    def keys(self) -> tuple[str, ...]:
        """The videos, in the file's order, which is alphabetical."""
        return tuple(self._blocks)

    def __contains__(self, key: object) -> bool:
        return key in self._blocks

    def length(self, key: str) -> int:
        """Number of frames of a video."""
        return self._find(key).length

    def read(self, key: str, start: int = 0, stop: int | None = None) -> NDArray[np.floating[Any]]:
        """Frames `start` to `stop` (exclusive; None = to the end) of a video, in the stored type.

        Returns:
            [stop - start, width]; a read-only view of the file's pages where the data lie in one
            piece, so copy it (`astype`, `torch.tensor`) before it is changed.

        Raises:
            DataError: no such video, frames beyond its end, or a damaged file.
        """
        block = self._find(key)
        stop = block.length if stop is None else stop
        if not 0 <= start <= stop <= block.length:
            raise DataError(
                self.path,
                f"{block.length} frames",
                where=f"video {key}",
                expected=f"frames {start} to {stop}",
                remedy="Features and labels of a video must have the same length.",
            )
        handles = self._open()
        if block.offset is None:
            with _named(self.path, f"video {key}"):
                rows = handles.file[key][self.dataset][start:stop]
        else:
            row_bytes = self.width * block.dtype.itemsize
            first = block.offset + start * row_bytes
            pages = handles.pages[first : first + (stop - start) * row_bytes]
            rows = pages.view(block.dtype).reshape(stop - start, self.width)
        # Another machine's byte order and an odd start in the file cost a copy of the slice.
        return np.require(rows, block.dtype.newbyteorder("="), "A")

    def _block(self, file: Any, key: str) -> _Block:
        array = file[key].get(self.dataset) if isinstance(file[key], h5py.Group) else None
        is_table = isinstance(array, h5py.Dataset) and array.ndim == 2 and array.shape[1] > 0
        if array is None or not is_table or array.dtype.kind != "f":
            raise DataError(
                self.path,
                "none" if array is None else f"{getattr(array, 'dtype', array)} of another shape",
                where=f"video {key}",
                expected=f"an array {self.dataset!r} [frames, columns] of float numbers",
                remedy=REPAIR,
            )
        linked = Path(array.file.filename) != self.path  # lies in another file
        length, width = array.shape
        return _Block(length, width, array.dtype, None if linked else array.id.get_offset())

    def _common_width(self) -> int:
        if not self._blocks:
            raise DataError(self.path, "none", expected="at least one video", remedy=REPAIR)
        first, block = next(iter(self._blocks.items()))
        for key, other in self._blocks.items():
            if other.width != block.width:
                raise DataError(
                    self.path,
                    str(other.width),
                    where=f"video {key}",
                    expected=f"{block.width} columns, as in video {first}",
                    remedy=REPAIR,
                )
        return block.width

    def _find(self, key: str) -> _Block:
        if key not in self._blocks:
            near = difflib.get_close_matches(key, self._blocks, n=1)
            raise DataError(
                self.path,
                f"no video {key!r}" + (f"; the nearest name is {near[0]!r}" if near else ""),
                remedy="Extract its features, or remove it from the labels.",
            )
        return self._blocks[key]

    def _open(self) -> _Handles:
        if self._handles is None or self._handles.process != os.getpid():
            if _state(self.path) != self._state:
                raise DataError(
                    self.path, "it changed while it was in use", remedy="Start the run again."
                )
            with _named(self.path):
                file = h5py.File(self.path, "r")
            pages = np.asarray(np.memmap(self.path, np.uint8, "r"))
            self._handles = _Handles(os.getpid(), file, pages)
        return self._handles

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_handles": None}


def check_finite(
    array: NDArray[np.floating[Any]], path: Path | str, where: str, *, first_row: int = 0
) -> None:
    """Check that all values of a slice [rows, columns] are finite.

    Args:
        array: the slice.
        path: the file it was read from.
        where: the place inside the file, such as "video 12-24-1920x1080".
        first_row: row of the file that the slice starts at.

    Raises:
        DataError: names the first row and column that hold NaN or an infinity.
    """
    finite = np.isfinite(array)
    if finite.all():
        return
    row, column = np.argwhere(~finite)[0]
    value = array[row, column]
    raise DataError(
        path,
        f"{'NaN' if np.isnan(value) else value} at column {column}",
        where=f"{where}, row {first_row + row}",
        expected=f"{array.shape[1]} finite values",
        remedy="Extract it again, remove it from the labels, or run with --on-bad-row quarantine.",
    )


@dataclass(frozen=True)
class Group:
    """A group of an HDF5 file: arrays (or scalars) by name, and attributes."""

    arrays: Mapping[str, ArrayLike]
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)


def read_groups(path: Path | str) -> dict[str, Group]:
    """Read a small HDF5 file (labels, statistics) whole: {key: Group}, keys in the file's order.

    An array of an inner group has a name with a slash; a scalar is an array of shape ().

    Raises:
        DataError: the file is missing, truncated or not HDF5, or holds a type other than numbers
            and text.
    """
    with open_hdf5(Path(path)) as file:
        return {key: _read_group(Path(path), file, key) for key in file}


def write_groups(path: Path | str, groups: Iterable[tuple[str, Group]]) -> None:
    """Write groups to an HDF5 file, each array in one piece; whole or not at all.

    `groups` may be a generator: one group at a time is held.

    Raises:
        DataError: the file cannot be written, or a key is not a plain name.
    """
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        for key, group in groups:
            if not key or "/" in key or key == "." or key in file:
                raise DataError(
                    path, f"{key!r}", expected="a plain name, used once, for each group"
                )
            target = file.create_group(key)
            target.attrs.update(group.attributes)
            for name, array in group.arrays.items():
                target.create_dataset(name, data=array)


def write_features(
    path: Path | str,
    features: Mapping[str, ArrayLike] | Iterable[tuple[str, ArrayLike]],
    *,
    extra: Mapping[str, Mapping[str, ArrayLike]] | None = None,
) -> None:
    """Write the features of videos in the layout that `FeatureFile` reads.

    Args:
        path: the HDF5 file; its folder is made.
        features: {video: [length, width]}, or pairs of them from a generator, one held at a time.
        extra: further arrays by name, {"pad": {video: [length]}}, stored beside the features.

    Raises:
        DataError: as `write_groups`.
    """
    pairs = features.items() if isinstance(features, Mapping) else features
    more = extra or {}
    write_groups(
        path,
        (
            (key, Group({"fts": array} | {name: of[key] for name, of in more.items() if key in of}))
            for key, array in pairs
        ),
    )


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open an HDF5 file for reading; everything that HDF5 finds wrong with it is a `DataError`."""
    if not path.is_file():
        near = difflib.get_close_matches(path.name, _names_beside(path), n=1)
        raise DataError(
            path, "there is no such file" + (f"; the nearest name is {near[0]!r}" if near else "")
        )
    with _named(path), h5py.File(path, "r") as file:
        yield file


@contextmanager
def _named(path: Path, where: str = "") -> Iterator[None]:
    """Turn what h5py raises on damaged files into an error that names the file."""
    try:
        yield
    except (OSError, RuntimeError, KeyError) as error:
        raise DataError(
            path,
            f"it is damaged, truncated or no HDF5 file ({error})",
            where=where,
            remedy=REPAIR,
        ) from error


def _read_group(path: Path, file: Any, key: str) -> Group:
    if not isinstance(file[key], h5py.Group):
        return Group({"": _read_array(path, key, file[key])})
    arrays: dict[str, ArrayLike] = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = _read_array(path, f"{key}/{name}", item)

    file[key].visititems(take)
    return Group(arrays, dict(file[key].attrs))


def _read_array(path: Path, where: str, array: Any) -> NDArray[Any]:
    if h5py.check_string_dtype(array.dtype):
        return np.asarray(array.asstr()[()])
    if array.dtype.kind not in "fiub":
        raise DataError(path, f"{array.dtype}", where=where, expected="numbers or text")
    return np.asarray(array[()])


def _names_beside(path: Path) -> list[str]:
    return [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
