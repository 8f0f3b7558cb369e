"""The images that a user means: files, what lies in folders, and some of the frames of videos."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from shared_core.data.images import SUFFIXES, open_picture
from shared_core.data.loader import generator
from shared_core.data.video import frame_times, frames
from shared_core.errors import UserError
from shared_core.files import VIDEO_SUFFIXES, find_files

Failed = Callable[[Path, UserError], None]
"""Is told of a file that cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image to look at.

    Attributes:
        path: the image, or the video that it is a frame of.
        frame: its number in the video, from 0; None of an image.
        image: RGB, as large as it is stored.
    """

    path: Path
    frame: int | None = None
    image: Image.Image

    @property
    def name(self) -> str:
        """What files about it are called: the stem of its file, and the number of the frame."""
        return self.path.stem if self.frame is None else f"{self.path.stem}-{self.frame}"


def find(sources: Sequence[Path]) -> list[Path]:
    """The images and videos that are named, and those in the folders that are named, each once.

    Raises:
        DataError: a path does not exist, or a folder holds neither an image nor a video.
    """
    return find_files(sources, SUFFIXES | VIDEO_SUFFIXES, "image or video")


def pictures(
    files: Sequence[Path],
    every: int,
    failed: Failed,
    *,
    random_samples: int | None = None,
    seed: int = 0,
) -> Iterator[Picture]:
    """Read images, and every so many frames of videos, one at a time and in order.

    Args:
        files: images and videos, told apart by their suffix.
        every: frame 0 of a video, frame `every`, and so on.
        failed: is told of a file that cannot be used, or not to its end; the others follow.
        random_samples: so many of them only, drawn without replacement; None: all. Videos are then
            decoded twice, because how many frames they have is found out first.
        seed: key of the draw.
    """
    if random_samples is None:
        for path in files:
            yield from _read(path, every, None, failed)
        return
    numbers = {path: _numbers(path, every, failed) for path in files}
    places = [(path, number) for path, those in numbers.items() for number in those]
    drawn = torch.randperm(len(places), generator=generator(seed))[:random_samples]
    wanted: dict[Path, set[int]] = {}
    for index in drawn.tolist():
        path, number = places[index]
        wanted.setdefault(path, set()).add(number)
    for path in (path for path in files if path in wanted):
        yield from _read(path, every, wanted[path], failed)


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _numbers(path: Path, every: int, failed: Failed) -> Sequence[int]:
    """Numbers of the frames that can be looked at; an image is a single one."""
    try:
        return range(0, len(frame_times(path)) if _is_video(path) else 1, every)
    except UserError as error:
        failed(path, error)
        return ()


def _read(
    path: Path, every: int, wanted: Collection[int] | None, failed: Failed
) -> Iterator[Picture]:
    try:
        if not _is_video(path):
            yield Picture(path=path, image=open_picture(path))
            return
        for frame in frames(path):
            if frame.index % every == 0 and (wanted is None or frame.index in wanted):
                yield Picture(path=path, frame=frame.index, image=Image.fromarray(frame.image))
    except UserError as error:
        failed(path, error)
