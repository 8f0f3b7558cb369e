"""The sphere in a rectangle: turning equirectangular frames, and cutting viewports out of them.

A frame's columns run from longitude -180 to 180 degrees, its rows from latitude 90 to -90. Start
directions are those of VR-VQW: yaw grows to the right of the frame's middle, pitch grows downwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from shared_core.errors import DataError

Interpolation = Literal["bicubic", "spline"]

_MARGIN = 2  # columns that bicubic reads beyond a point, at most
_ASPECT = 2.0
_TOLERANCE = 0.02
_GUESS_TOLERANCE = 0.05
_LAYOUTS = {
    1.0: "top-bottom stereo, or a view of 180 degrees",
    4.0: "side-by-side stereo",
    3 / 2: "a cubemap of 3 x 2 faces",
    4 / 3: "a cubemap cross, or an ordinary video",
    3 / 4: "a cubemap cross",
    6.0: "a cubemap strip",
    16 / 9: "an ordinary video, or stereo squeezed into one",
}
"""What a display aspect (width over height) that is not 2:1 usually means."""


def rotation(lon: float, lat: float) -> Float64[np.ndarray, "3 3"]:
    """R = B A of VR-VQW: a turn by `lon` about the vertical axis, then one by `lat`, in degrees.

    The second axis is level and at a right angle to `lon`. A direction of the turned frame, as a row
    (front, left to right, up), times R is the direction of the source that is seen there.
    """
    a, b = math.radians(lon), math.radians(lat)
    about_vertical = np.array(
        [[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]]
    )
    x, y = -math.sin(a), math.cos(a)
    c, s = math.cos(b), math.sin(b)
    about_level = np.array(
        [
            [c + (1 - c) * x * x, (1 - c) * x * y, -s * y],
            [(1 - c) * x * y, c + (1 - c) * y * y, s * x],
            [s * y, -s * x, c],
        ]
    )
    return np.asarray(about_level @ about_vertical)


def turned(
    frames: UInt8[np.ndarray, "*n H W 3"], yaw: float, pitch: float
) -> UInt8[np.ndarray, "*n H W 3"]:
    """Equirectangular frames turned to a start direction: bilinear; columns wrap, rows end at the poles.

    Values are rounded, where the authors cut off what follows the point: theirs are lower by at most
    a level, and (0, 0) changes nothing here.

    Args:
        frames: one frame or several.
        yaw: HM_yaw, degrees; the frame turns by the longitude -yaw.
        pitch: HM_pitch, degrees; the frame turns by the latitude pitch.
    """
    height, width = frames.shape[-3:-1]
    points = _turned_points(height, width, float(yaw), float(pitch))
    pictures = frames.reshape(-1, height, width, 3)
    made = [_sampled(picture, points, mode="bilinear") for picture in pictures]
    return np.asarray(np.stack(made).reshape(frames.shape))


def viewport(
    frame: UInt8[np.ndarray, "H W 3"],
    yaw: float,
    pitch: float,
    size: int,
    field_of_view: float,
    interpolation: Interpolation = "bicubic",
) -> UInt8[np.ndarray, "size size 3"]:
    """What is seen of an equirectangular frame in one direction; see `viewports`."""
    return np.asarray(viewports(frame, [(yaw, pitch)], size, field_of_view, interpolation)[0])


def viewports(
    frame: UInt8[np.ndarray, "H W 3"],
    directions: Sequence[tuple[float, float]],
    size: int,
    field_of_view: float,
    interpolation: Interpolation = "bicubic",
) -> UInt8[np.ndarray, "n size size 3"]:
    """What is seen of an equirectangular frame in some directions: gnomonic crops.

    Args:
        frame: at full resolution.
        directions: (HM_yaw, HM_pitch) in degrees, one or more.
        size: pixels of each side of a viewport.
        field_of_view: degrees from the middle of its first pixel to the middle of its last, both ways.
        interpolation: `bicubic`, with columns that wrap; or the authors' cubic spline through all
            pixels of the frame, black beyond the middle of its outermost pixels.
    """
    height, width = frame.shape[:2]
    rays = _rays(size, field_of_view)
    points = np.concatenate(
        [_columns_rows(rays @ _gaze(*direction).T, height, width) for direction in directions]
    )
    if interpolation == "spline":
        places = (points[..., 1], points[..., 0])
        channels = [ndimage.map_coordinates(frame[..., channel], places) for channel in range(3)]
        seen = np.stack(channels, axis=-1)
    else:
        seen = _sampled(frame, _grid(points, height, width), mode="bicubic")
    return seen.reshape(-1, size, size, 3)


def require_equirectangular(
    path: Path | str, width: int, height: int, sample_aspect: float = 1.0
) -> None:
    """Refuse a picture whose display aspect is not 2:1 within 2 percent.

    Args:
        path: the video, for the message.
        width: pixels, as stored.
        height: pixels, as stored.
        sample_aspect: width of a pixel over its height, as shown.

    Raises:
        DataError: names the layout that the aspect suggests.
    """
    aspect = width * sample_aspect / height
    if abs(aspect / _ASPECT - 1) <= _TOLERANCE:
        return
    nearest = min(_LAYOUTS, key=lambda known: abs(math.log(aspect / known)))
    is_known = abs(aspect / nearest - 1) <= _GUESS_TOLERANCE
    likely = f"; likely {_LAYOUTS[nearest]}" if is_known else ""
    raise DataError(
        path,
        f"{width} x {height} pixels, shown at {aspect:.3g}:1{likely}",
        expected="an equirectangular video, 2:1 as shown, within 2 percent",
        remedy="Convert it to one equirectangular picture, or, if it is one, say so: --projection "
        "equirectangular.",
    )


@lru_cache(maxsize=8)
def _turned_points(height: int, width: int, yaw: float, pitch: float) -> Float[Tensor, "1 H W 2"]:
    longitude = (np.arange(width) + 0.5) / width * 2 * np.pi - np.pi
    latitude = np.pi / 2 - (np.arange(height) + 0.5) / height * np.pi
    level = np.cos(latitude)[:, None]
    directions = np.stack(
        np.broadcast_arrays(
            level * np.cos(longitude), level * np.sin(longitude), np.sin(latitude)[:, None]
        ),
        axis=-1,
    )
    x, y, z = np.moveaxis(directions @ rotation(-yaw, pitch), -1, 0)
    # Rounding pushes |z| beyond 1 at the poles: arcsin would be NaN there.
    points = _pixels(np.arctan2(y, x), np.arcsin(np.clip(z, -1, 1)), height, width)
    return _grid(points, height, width)


def _rays(size: int, field_of_view: float) -> Float64[np.ndarray, "size size 3"]:
    """Rays (right, up, ahead) through the pixels of a viewport."""
    edge = math.tan(math.radians(field_of_view) / 2)
    steps = np.linspace(-edge, edge, size)
    right, up = np.meshgrid(steps, steps[::-1])
    return np.stack([right, up, np.ones_like(right)], axis=-1)


def _gaze(yaw: float, pitch: float) -> Float64[np.ndarray, "3 3"]:
    """Turn of a ray (right, up, ahead): down by `pitch`, then to the right by `yaw`, in degrees."""
    a, b = math.radians(yaw), math.radians(pitch)
    tilt = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    turn = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    return np.asarray(turn @ tilt)


def _columns_rows(
    rays: Float64[np.ndarray, "h w 3"], height: int, width: int
) -> Float64[np.ndarray, "h w 2"]:
    x, y, z = np.moveaxis(rays, -1, 0)
    return _pixels(np.arctan2(x, z), np.arctan2(y, np.hypot(x, z)), height, width)


def _pixels(
    longitude: Float64[np.ndarray, "h w"],
    latitude: Float64[np.ndarray, "h w"],
    height: int,
    width: int,
) -> Float64[np.ndarray, "h w 2"]:
    """Column and row of points on the sphere (radians), 0 in the middle of the first pixel."""
    column = (longitude / (2 * np.pi) + 0.5) * width - 0.5
    row = (0.5 - latitude / np.pi) * height - 0.5
    return np.stack([column, row], axis=-1)


def _grid(
    points: Float64[np.ndarray, "h w 2"], height: int, width: int
) -> Float[Tensor, "1 h w 2"]:
    """Columns and rows as `grid_sample` counts them, in a frame with its margins."""
    column = (points[..., 0] + _MARGIN + 0.5) / (width + 2 * _MARGIN)
    row = (points[..., 1] + 0.5) / height
    return torch.from_numpy(2 * np.stack([column, row], axis=-1) - 1).float()[None]


def _sampled(
    frame: UInt8[np.ndarray, "H W 3"],
    grid: Float[Tensor, "1 h w 2"],
    *,
    mode: Literal["bilinear", "bicubic"],
) -> UInt8[np.ndarray, "h w 3"]:
    """A frame at the points of a `_grid`; columns wrap, rows beyond the first and last repeat them."""
    wide = np.concatenate([frame[:, -_MARGIN:], frame, frame[:, :_MARGIN]], axis=1)
    planes = torch.from_numpy(wide).permute(2, 0, 1)[None].float()
    seen = functional.grid_sample(
        planes, grid, mode=mode, padding_mode="border", align_corners=False
    )[0]
    values = seen.round_().clamp_(0, 255).to(torch.uint8)
    return np.asarray(values.permute(1, 2, 0).contiguous().numpy())
