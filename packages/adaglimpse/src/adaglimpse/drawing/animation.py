"""An episode as an animation, and animations as files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from adaglimpse.drawing.pictures import Picture
from adaglimpse.drawing.sheet import GAP, LINE, blank, write
from adaglimpse.drawing.story import Story, enlarged
from shared_core.data.atomic import replacing
from shared_core.data.video import VideoWriter

END_FRAMES = 5
"""Frames for which the end stays."""


def animation(story: Story) -> Iterator[Picture]:
    """The episode in 5 G + 8 frames of one size, no two in a row equal.

    Three lead to what is said before anything was seen. Five follow for each glimpse: where it is, what
    the network gets, all that was seen so far, the prediction, and its caption. The end stays for five.
    """
    moments = [*_moments(len(story.boxes))]
    for number, moment in enumerate(moments, start=1):
        yield _frame(story, moment, f"{number} / {len(moments)}")


def write_gif(path: Path | str, frames: Iterable[Picture], rate: float = 1.0) -> None:
    """Write frames as a GIF that repeats; one that equals the frame before it prolongs that one.

    Args:
        path: the file.
        frames: of one size, one or more.
        rate: frames per second.

    Raises:
        DataError: the file cannot be written.
    """
    octree = (
        Image.Quantize.FASTOCTREE
    )  # seven times as fast as Pillow's own choice, a level or two off
    pictures = (Image.fromarray(frame).quantize(method=octree) for frame in frames)
    first = next(pictures)
    with replacing(path) as partial:
        first.save(
            partial,
            format="GIF",
            save_all=True,
            append_images=pictures,
            duration=round(1000 / rate),
            loop=0,
        )


def write_mp4(path: Path | str, frames: Iterable[Picture], rate: float = 1.0) -> None:
    """Write frames of one size as a video.

    Args:
        path: the file.
        frames: one or more.
        rate: frames per second.

    Raises:
        DataError: the file cannot be written.
    """
    with VideoWriter(path, rate=rate) as video:
        for frame in frames:
            video.write(frame)


class _Moment(NamedTuple):
    """What a frame shows: each of its parts as it is after so many glimpses; -1: not yet."""

    title: str
    looked: int
    received: int
    seen: int
    predicted: int
    caption: int


def _moments(glimpses: int) -> Iterator[_Moment]:
    yield _Moment("the image", 0, 0, 0, -1, -1)
    yield _Moment("predicted without a glimpse", 0, 0, 0, 0, -1)
    yield _Moment("predicted without a glimpse", 0, 0, 0, 0, 0)
    for step in range(1, glimpses + 1):
        before, name = step - 1, f"glimpse {step} of {glimpses}"
        yield _Moment(f"{name}: where it is", step, before, before, before, before)
        yield _Moment(f"{name}: what the network gets", step, step, before, before, before)
        yield _Moment(f"{name}: all that was seen", step, step, step, before, before)
        yield _Moment(f"{name}: what is predicted", step, step, step, step, before)
        yield _Moment(f"{name}: what is predicted", step, step, step, step, step)
    for _ in range(END_FRAMES):
        yield _Moment(f"after {glimpses} of {glimpses} glimpses", *(glimpses,) * 5)


def _frame(story: Story, moment: _Moment, place: str) -> Picture:
    """The panels side by side, below a title and their names, above the caption."""
    shown = {
        "glimpses": story.looked(moment.looked),
        "this glimpse": story.received(moment.received),
        "seen": story.seen(moment.seen),
    }
    if story.has_predictions:
        shown["prediction"] = story.predicted(moment.predicted)
    if story.target is not None:
        shown["target"] = enlarged(story.target)
    height, width = shown["seen"].shape[:2]
    top = GAP + 2 * LINE
    sheet = blank(GAP + len(shown) * (width + GAP), top + height + GAP + LINE)
    room = sheet.width - 2 * GAP
    write(sheet, moment.title, (GAP, GAP), room * 3 // 4)
    write(sheet, place, (GAP, GAP), room, flush_right=True)
    for number, (name, picture) in enumerate(shown.items()):
        x = GAP + number * (width + GAP)
        write(sheet, name, (x, GAP + LINE), width)
        sheet.paste(Image.fromarray(picture), (x, top))
    if moment.caption >= 0:
        write(sheet, story.captions[moment.caption], (GAP, top + height + GAP // 2), room)
    return np.array(sheet)
