"""From files to what the network sees of them: pictures, depth and faces as uint8 (spec 2.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageEnhance
from torch import Tensor

from gaze_da.data.colours import coloured
from gaze_da.method.boxes import Box
from shared_core.data.images import open_grey
from shared_core.errors import DataError

Pixels = UInt8[Tensor, "3 S S"]

SMALLEST_RANGE = 1e-6
"""A depth prediction whose values differ by less, relative to the largest, is constant."""


def shrunk(
    picture: Image.Image, size: int, window: Box | None = None, *, mirrored: bool = False
) -> Pixels:
    """A picture, or a part of it, as a square; its aspect is lost.

    Bilinear with a filter as wide as the shrinking asks for, as Pillow has it. What a window holds
    beyond the picture is black.

    Args:
        picture: RGB.
        size: pixels of each side.
        window: the part, in pixels; it may begin and end between two.
        mirrored: exchange left and right.
    """
    if window is not None and not _is_inside(window, picture):
        x0, y0, x1, y1 = window
        picture, window = picture.crop((round(x0), round(y0), round(x1), round(y1))), None
    small = picture.resize((size, size), Image.Resampling.BILINEAR, box=window)
    if mirrored:
        small = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).contiguous()


def _is_inside(window: Box, picture: Image.Image) -> bool:
    x0, y0, x1, y1 = window
    return 0 <= x0 < x1 <= picture.width and 0 <= y0 < y1 <= picture.height


def face(picture: Image.Image, head: Box, size: int, *, mirrored: bool = False) -> Pixels:
    """The head box cut out, at whole pixels; black beyond the picture, and where it has no size."""
    x0, y0, x1, y1 = (int(value) for value in head)
    cut = picture.crop((x0, y0, max(x0, x1), max(y0, y1)))
    if not cut.width or not cut.height:
        return torch.zeros(3, size, size, dtype=torch.uint8)
    return shrunk(cut, size, mirrored=mirrored)


def depth_colours(
    depth: np.ndarray, size: int, window: Box | None = None, *, mirrored: bool = False
) -> Pixels:
    """A depth map, or a part of it, in the colours of magma: coloured first, then shrunk.

    Args:
        depth: uint8, or uint16 which is scaled to it, [height, width]; larger is nearer.
        size: pixels of each side.
        window: the part, in FRACTIONS of the map, whose size need not be the picture's.
        mirrored: exchange left and right.
    """
    if window is None:
        return shrunk(coloured(_eight_bits(depth)), size, mirrored=mirrored)
    height, width = depth.shape
    x0, y0, x1, y1 = (v * side for v, side in zip(window, (width, height) * 2, strict=True))
    # Only what is seen is coloured, and a pixel around it.
    left, top = max(math.floor(x0) - 1, 0), max(math.floor(y0) - 1, 0)
    part = depth[top : math.ceil(y1) + 1, left : math.ceil(x1) + 1]
    seen = (x0 - left, y0 - top, x1 - left, y1 - top)
    return shrunk(coloured(_eight_bits(part)), size, seen, mirrored=mirrored)


def _eight_bits(depth: np.ndarray) -> UInt8[np.ndarray, "height width"]:
    if depth.dtype == np.uint16:
        return ((depth.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.ascontiguousarray(depth, dtype=np.uint8)


def find_depth(path: Path | str) -> Path:
    """The file of a picture's depth: of the picture's own name, or a PNG.

    Raises:
        DataError: there is neither.
    """
    path = Path(path)
    for candidate in (path, path.with_suffix(".png")):
        if candidate.is_file():
            return candidate
    raise DataError(
        path,
        "there is no such file, nor a .png of that name",
        expected="the picture's depth",
        remedy="Make it with `gaze-da prepare depth`, or go without: --reading.depth none.",
    )


def read_depth(path: Path | str) -> np.ndarray:
    """The depth map of a picture, uint8 or uint16 [height, width].

    Raises:
        DataError: it is missing, damaged, or says the same of every pixel.
    """
    path = find_depth(path)
    depth = open_grey(path)
    if depth.min() == depth.max():
        raise DataError(
            path,
            f"every pixel is {int(depth.min())}",
            expected="a depth map with near and far",
            remedy="Make it again with `gaze-da prepare depth`.",
        )
    return depth


def depth_picture(prediction: np.ndarray, bits: int = 8) -> np.ndarray:
    """A predicted depth as a picture: 0 the farthest, 255 (or 65 535) the nearest (spec 2.6).

    Args:
        prediction: float [height, width], in any unit, larger is nearer. What is not finite counts
            as 0.
        bits: 8 or 16.

    Returns:
        uint8 or uint16; zeros where the prediction is constant up to rounding.
    """
    kind = np.uint8 if bits == 8 else np.uint16
    values = np.where(np.isfinite(prediction), prediction, 0).astype(np.float64)
    low, high = values.min(), values.max()
    if high - low <= SMALLEST_RANGE * max(1.0, abs(high), abs(low)):
        return np.zeros(values.shape, kind)
    return np.asarray((values - low) / (high - low) * np.iinfo(kind).max, dtype=kind)


def recoloured(picture: Image.Image, factors: Sequence[float]) -> Image.Image:
    """Brightness, contrast and saturation changed one after another, as Pillow does."""
    changes = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for change, factor in zip(changes, factors, strict=True):
        picture = change(picture).enhance(factor)
    return picture
