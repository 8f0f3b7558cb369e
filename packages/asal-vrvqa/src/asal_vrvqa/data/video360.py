"""A 360-degree video as the frames that a viewer's judgement is learnt from: one a second."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8
from torch.nn import functional

from asal_vrvqa.data.projection import require_equirectangular, turned
from shared_core.data.video import frames, probe
from shared_core.errors import DataError

Projection = Literal["check", "equirectangular"]


def seconds_of(
    path: Path | str,
    *,
    count: int,
    size: tuple[int, int],
    yaw: float,
    pitch: float,
    begin: float = 0.0,
    projection: Projection = "check",
    repeat_last: bool = False,
) -> UInt8[np.ndarray, "count H W 3"]:
    """Frames of a video, one a second, turned to a start direction: what a clip is seen through.

    Args:
        path: the video.
        count: how many.
        size: height and width of the result, pixels.
        yaw: start direction, degrees; see `projection.turned`.
        pitch: start direction, degrees.
        begin: second of the video that the first frame shows.
        projection: refuse a video that is not 2:1 as shown, or take it as it is.
        repeat_last: a video that is too short repeats its last frame.

    Raises:
        DataError: as `every_second`; or the video is too short, and `repeat_last` is not set.
    """
    upright = first_seconds(
        path, count=count, size=size, begin=begin, projection=projection, repeat_last=repeat_last
    )
    return turned(upright, yaw, pitch)


def first_seconds(
    path: Path | str,
    *,
    count: int,
    size: tuple[int, int],
    begin: float = 0.0,
    projection: Projection = "check",
    repeat_last: bool = False,
) -> UInt8[np.ndarray, "count H W 3"]:
    """As `seconds_of`, but not turned: one decode serves every start direction."""
    taken = [
        resized(picture, size)
        for picture in islice(every_second(path, begin=begin, projection=projection), count)
    ]
    if len(taken) < count and not repeat_last:
        raise DataError(
            path,
            f"{len(taken)}",
            where=f"from second {begin:g} on",
            expected=f"{count} frames, one a second",
            remedy="Let the last one stand in for those that are missing: --repeat-last.",
        )
    return np.stack(taken + taken[-1:] * (count - len(taken)))


def every_second(
    path: Path | str, *, begin: float = 0.0, projection: Projection = "check"
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """The frames i of a video with i mod round(fps) = 0, as VR-VQW takes them, at full size.

    Frames are counted from `begin`; what is not asked for is not decoded.

    Raises:
        DataError: no video, one that is damaged before the frame that is asked for, that holds no
            frame from `begin` on, or that is not 2:1 as shown.
    """
    stream = next(iter(probe(path).video), None)
    if stream is None:
        raise DataError(path, "no video stream", expected="a 360-degree video")
    step, half = max(1, round(stream.rate)), 0.5 / stream.rate
    from_s, passed = None, 0
    for frame in frames(path):
        if from_s is None:
            from_s = frame.time_s + begin
            if projection == "check":
                height, width = frame.image.shape[:2]
                require_equirectangular(path, width, height, stream.sample_aspect)
        if frame.time_s + half < from_s:
            continue
        if passed % step == 0:
            yield frame.image
        passed += 1
    if not passed:
        raise DataError(path, "it ends before", where=f"second {begin:g}", expected="a frame there")


def resized(
    picture: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "h w 3"]:
    """A picture in another size (height, width): bilinear between four pixels, as OpenCV does it."""
    if picture.shape[:2] == size:
        return picture
    planes = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    made = functional.interpolate(planes, size, mode="bilinear", align_corners=False)[0]
    pixels: np.ndarray = made.round_().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return pixels
