"""Raw 360-degree videos into the pictures that training reads, resumable, each folder whole or not there.

    out/A_A_Bay.mp4/000.png        a frame a second, turned to start A of the video A_Bay.mp4
    out/A_A_Bay.mp4/sub1/000.png   viewports along the scanpath of viewer 1
    cache/A_A_Bay.mp4.npy          the frames again, uint8 [n, H, W, 3]
    out/left_out.json              videos that cannot be used, and why

A video is decoded once for both starts, or for all viewers. A folder is whole when its last picture is
there: pictures are written to a hidden folder beside it, which is renamed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from asal_vrvqa.config import FramesConfig, ViewportsConfig
from asal_vrvqa.data.directions import Direction, read_scanpaths, read_starts
from asal_vrvqa.data.frames import mapped_array
from asal_vrvqa.data.projection import turned, viewports
from asal_vrvqa.data.video360 import every_second, first_seconds
from shared_core.commands import say
from shared_core.data.atomic import replacing
from shared_core.data.images import image_size
from shared_core.data.quarantine import Quarantine
from shared_core.data.tables import write_json
from shared_core.errors import DataError
from shared_core.faultpoints import reach
from shared_core.files import sync_file, sync_folder
from shared_core.predicting import make_writable

STARTS = ("A", "B")
LEFT_OUT = "left_out.json"
"""File of `out` that lists the videos that cannot be used."""


@dataclass(frozen=True)
class Turn:
    """Frames to write: one video from one start direction.

    Attributes:
        folder: name of the frame folder, {A|B}_{source}.
        direction: where the viewer looks at first.
    """

    folder: str
    direction: Direction


@dataclass(frozen=True)
class Scanpath:
    """Viewports to write: what one viewer of one video looked at.

    Attributes:
        folder: the viewer's folder below `out`, {A|B}_{source}/sub{ID}.
        directions: one a second.
    """

    folder: str
    directions: tuple[Direction, ...]


Wanted = TypeVar("Wanted", Turn, Scanpath)
Todo = dict[str, list[Wanted]]
"""What is still to be written, by source video."""


def frames_command(config: FramesConfig) -> int:
    """`asal-vrvqa prepare frames`: what cannot be read is listed, and all else is done.

    Returns:
        The exit status: 1 where a video was left out.

    Raises:
        DataError: the labels cannot be used, or what is there already has another size; with
            `on_bad_row` raise, also a video that cannot be used.
    """
    every: Todo[Turn] = {}
    for start in STARTS:
        for source, direction in read_starts(config.labels / f"info{start}.csv").items():
            every.setdefault(source, []).append(Turn(f"{start}_{source}", direction))
    todo = _open_ones(
        every, lambda turn: _frames_are_there(turn, config) and _array_is_there(turn, config)
    )
    return _run(config, every, todo, _make_frames)


def viewports_command(config: ViewportsConfig) -> int:
    """`asal-vrvqa prepare viewports`: as `frames_command`."""
    every: Todo[Scanpath] = {}
    for start in STARTS:
        for (source, viewer), path in read_scanpaths(
            config.labels / f"scanpath{start}.csv"
        ).items():
            folder = f"{start}_{source}/sub{viewer}"
            every.setdefault(source, []).append(Scanpath(folder, path))
    size = (config.size, config.size)
    todo = _open_ones(
        every,
        lambda path: _pictures_are_there(config.out / path.folder, len(path.directions), size),
    )
    return _run(config, every, todo, _make_viewports)


def _open_ones(every: Todo[Wanted], is_there: Callable[[Wanted], bool]) -> Todo[Wanted]:
    left = {
        source: [item for item in wanted if not is_there(item)] for source, wanted in every.items()
    }
    return {source: wanted for source, wanted in left.items() if wanted}


def _run(
    config: FramesConfig | ViewportsConfig,
    every: Todo[Wanted],
    todo: Todo[Wanted],
    make: Callable[..., DataError | None],
) -> int:
    """Work on videos, `workers` at a time; a video that cannot be read is noted."""
    if not config.videos.is_dir():
        raise DataError(config.videos, "there is no such folder", expected="360-degree videos")
    make_writable(config.out)
    if done := len(every) - len(todo):
        say(f"{done} of {len(every)} videos are there already")
    # What is readable is prepared, however little it is: its user has asked for it by name.
    left_out = Quarantine(config.on_bad_row, limit_share=1.0)
    with ThreadPoolExecutor(config.workers) as threads:
        running = {
            threads.submit(make, config, config.videos / source, wanted): source
            for source, wanted in todo.items()
        }
        try:
            for number, future in enumerate(as_completed(running), 1):
                error = future.result()
                say(f"[{number}/{len(todo)}] {running[future]}" + (": left out" if error else ""))
                if error is not None:
                    left_out.bad(error, of=len(todo))
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
    write_json(config.out / LEFT_OUT, left_out.to_json())
    for row in left_out.rows:
        say(f"left out: {row.message}")
    made = len(todo) - len(left_out.rows)
    say(f"{made} of {len(todo)} videos prepared, {len(left_out.rows)} left out")
    return int(bool(left_out.rows))


def _make_frames(config: FramesConfig, video: Path, wanted: Sequence[Turn]) -> DataError | None:
    """Write the frames of a video from its starts; returns why the video cannot be used."""
    try:
        upright = first_seconds(
            video,
            count=config.seconds,
            size=_size(config),
            projection=config.projection,
            repeat_last=True,
        )
    except DataError as error:
        return error
    for turn in wanted:
        frames = turned(upright, *turn.direction)
        if config.cache is not None and not _array_is_there(turn, config):
            with replacing(_array_of(turn, config.cache)) as path, path.open("wb") as file:
                np.save(file, frames)
        if not _frames_are_there(turn, config):
            write_pictures(config.out / turn.folder, frames)
    return None


def _make_viewports(
    config: ViewportsConfig, video: Path, wanted: Sequence[Scanpath]
) -> DataError | None:
    """Write what the viewers of a video looked at; returns why the video cannot be used."""
    seen: dict[str, list[UInt8[np.ndarray, "size size 3"]]] = {path.folder: [] for path in wanted}
    look = partial(
        viewports,
        size=config.size,
        field_of_view=config.field_of_view,
        interpolation=config.interpolation,
    )
    longest = max(len(path.directions) for path in wanted)
    try:
        for second, frame in zip(range(longest), _lasting(video, config), strict=False):
            watching = [path for path in wanted if second < len(path.directions)]
            crops = look(frame, [path.directions[second] for path in watching])
            for path, crop in zip(watching, crops, strict=True):
                seen[path.folder].append(crop)
    except DataError as error:
        return error
    for folder, crops_of_viewer in seen.items():
        write_pictures(config.out / folder, crops_of_viewer)
    return None


def _lasting(video: Path, config: ViewportsConfig) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """A frame a second, and the last one ever after."""
    frame = None
    for frame in every_second(video, projection=config.projection):
        yield frame
    while frame is not None:
        yield frame


def write_pictures(folder: Path, pictures: Iterable[UInt8[np.ndarray, "H W 3"]]) -> None:
    """Write NNN.png into a folder, by way of a hidden one; the last is there only when all are.

    One writer at a time: what a killed process left in the hidden folder is removed.

    Raises:
        DataError: they cannot be written.
    """
    hidden = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir(parents=True)
        for index, picture in enumerate(pictures):
            path = hidden / _picture_name(index)
            # A third of the time of Pillow's level 6, for 5 percent more bytes.
            Image.fromarray(picture).save(path, "PNG", compress_level=3)
            sync_file(path)
        reach("pictures-written")
        if folder.exists():  # with viewports in it, or fewer pictures
            for path in sorted(hidden.iterdir()):
                path.replace(folder / path.name)
            hidden.rmdir()
            sync_folder(folder)
        else:
            hidden.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise DataError(
            folder,
            f"cannot be written ({error.strerror or error})",
            remedy="Choose a folder that you may write to, on a disk with free space.",
        ) from error


def _frames_are_there(turn: Turn, config: FramesConfig) -> bool:
    """Whether a frame folder is whole, or not asked for."""
    return not config.png or _pictures_are_there(
        config.out / turn.folder, config.seconds, _size(config)
    )


def _pictures_are_there(folder: Path, count: int, size: tuple[int, int]) -> bool:
    """Whether a folder has its last picture.

    Raises:
        DataError: it has, in another size (height, width): two sizes must not be mixed.
    """
    last = folder / _picture_name(count - 1)
    if not last.is_file():
        return False
    width, height = image_size(last)
    _require_size(last, (height, width), size)
    return True


def _array_is_there(turn: Turn, config: FramesConfig) -> bool:
    """Whether the cache has the frames of a turn, or is not asked for.

    Raises:
        DataError: it has, in another size; or the file is damaged.
    """
    if config.cache is None:
        return True
    path = _array_of(turn, config.cache)
    if not path.is_file():
        return False
    array = mapped_array(path)
    _require_size(path, array.shape[1:3], _size(config))
    return len(array) >= config.seconds


def _require_size(path: Path, found: tuple[int, ...], wanted: tuple[int, int]) -> None:
    if found != wanted:
        raise DataError(
            path,
            " x ".join(map(str, found)),
            expected=f"{wanted[0]} x {wanted[1]} pixels (height x width), as asked for now",
            remedy="Ask for the size of what is there, or choose other folders.",
        )


def _array_of(turn: Turn, cache: Path) -> Path:
    return cache / f"{turn.folder}.npy"


def _picture_name(index: int) -> str:
    return f"{index:03d}.png"


def _size(config: FramesConfig) -> tuple[int, int]:
    """Height and width of a frame."""
    return config.width // 2, config.width
