"""Frames of clips on the disk: PNG folders as published, or the uint8 cache made of them.

frames/A_A_Bay.mp4/000.png        a frame a second, turned to the start direction
frames/A_A_Bay.mp4/sub1/000.png   viewports along the scanpath of viewer 1
cache/A_A_Bay.mp4.npy             the same frames, uint8 [n, H, W, 3]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from asal_vrvqa.config import Network, Reading
from asal_vrvqa.data.labels import Clip
from shared_core.data.images import natural_key, open_picture
from shared_core.errors import DataError

SCANPATH = "sub"
"""Beginning of the name of a viewer's folder."""


@dataclass(frozen=True, slots=True, order=True)
class FrameKey:
    """One frame: the folder below the root, and its place in it."""

    folder: str
    index: int


def mapped_array(path: Path) -> np.ndarray:
    """An array of the cache, mapped into memory.

    Raises:
        DataError: the file is no array, is cut short, or holds pickled objects.
    """
    try:
        # `np.load` would take an archive of arrays as well, and advises to unpickle what it refuses.
        return np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise DataError(
            path, f"no array that can be read ({error})", remedy="Delete it and prepare again."
        ) from error


@dataclass(frozen=True)
class FrameStore:
    """Where frames are read from.

    Attributes:
        root: folder of frame folders.
        network: the size that frames must have.
        cache: folder of arrays; a folder that has none is read from its PNGs.
    """

    root: Path
    network: Network
    cache: Path | None = None

    def count(self, folder: str) -> int:
        """How many frames a folder has.

        Raises:
            DataError: there is no such folder, or it is empty.
        """
        array = self._array(folder)
        return len(_pictures(self.root / folder)) if array is None else len(array)

    def scanpaths(self, folder: str) -> list[str]:
        """The viewers' folders inside a frame folder, in natural order.

        Raises:
            DataError: there are none.
        """
        path = self.root / folder
        try:
            found = [p.name for p in path.iterdir() if p.is_dir() and p.name.startswith(SCANPATH)]
        except OSError as error:
            raise DataError(path, f"cannot be read ({error.strerror})") from error
        if not found:
            raise DataError(
                path,
                "none",
                expected=f"folders {SCANPATH}1, {SCANPATH}2, ... with viewports",
                remedy="Make them with `asal-vrvqa prepare viewports`.",
            )
        return [f"{folder}/{name}" for name in sorted(found, key=natural_key)]

    def read(self, keys: Sequence[FrameKey]) -> UInt8[np.ndarray, "n H W 3"]:
        """Frames, RGB.

        Raises:
            DataError: a frame is missing, damaged, or of another size than the network's.
        """
        height, width = self.network.height, self.network.width
        made = np.empty((len(keys), height, width, 3), np.uint8)
        for place, key in enumerate(keys):
            array = self._array(key.folder)
            if array is not None:
                made[place] = array[key.index]
                continue
            path = _pictures(self.root / key.folder)[key.index]
            picture = np.asarray(open_picture(path, upright=False))
            if picture.shape != made.shape[1:]:
                raise self._wrong_size(path, picture.shape)
            made[place] = picture
        return made

    def _array(self, folder: str) -> np.ndarray | None:
        if self.cache is None:
            return None
        path = self.cache / f"{folder}.npy"
        if not path.is_file():
            return None
        array = mapped_array(path)
        expected = (self.network.height, self.network.width, 3)
        if array.dtype != np.uint8 or array.shape[1:] != expected:
            raise self._wrong_size(path, array.shape[1:])
        return array

    def _wrong_size(self, path: Path, found: Sequence[int]) -> DataError:
        return DataError(
            path,
            " x ".join(map(str, found[:2])),
            expected=f"{self.network.height} x {self.network.width} pixels (height x width)",
            remedy="Prepare the frames in this size, or set --network.height and --network.width.",
        )


@lru_cache(maxsize=4096)
def _pictures(folder: Path) -> tuple[Path, ...]:
    """PNGs of a frame folder, in order; numbered ones without a gap."""
    if not folder.is_dir():
        raise DataError(
            folder,
            "there is no such folder",
            expected="the frames of a clip",
            remedy="Make them with `asal-vrvqa prepare frames`.",
        )
    found = sorted(
        (path for path in folder.iterdir() if path.suffix.lower() == ".png"),
        key=lambda path: (natural_key(path.name), path.name),
    )
    if not found:
        raise DataError(folder, "none", expected="frames 000.png, 001.png, ...")
    numbers = [int(path.stem) for path in found if path.stem.isdecimal()]
    if len(numbers) == len(found):
        for before, after in pairwise(numbers):
            if after > before + 1:
                raise DataError(
                    folder,
                    f"none between {before:03d} and {after:03d}",
                    expected="a frame for each second",
                    remedy="Delete the folder and prepare it again.",
                )
    return tuple(found)


def frame_indices(
    clip: Clip,
    available: int,
    network: Network,
    reading: Reading,
    coins: Sequence[bool] | None = None,
    *,
    path: Path | str = "",
) -> list[int]:
    """Which frames of its folder a clip is seen through: 0..6, or 0, 2, ..., 12.

    Args:
        clip: the clip.
        available: frames in its folder.
        network: how many frames are wanted.
        reading: what to do about frames that are missing.
        coins: for each frame, whether training takes the next one instead; one beyond the last
            frame is not taken.
        path: the folder, for messages.

    Raises:
        DataError: there are too few frames.
    """
    wanted = [k * clip.step for k in range(network.frames)]
    if available <= wanted[-1] and reading.missing_frames == "error":
        raise DataError(
            path or clip.folder,
            f"{available}",
            where=clip.name,
            expected=f"{wanted[-1] + 1} frames or more, one a second",
            remedy="Let the last one stand in: --reading.missing-frames repeat-last.",
        )
    moved = wanted if coins is None else [k + int(c) for k, c in zip(wanted, coins, strict=True)]
    return [min(index, available - 1) for index in moved]
