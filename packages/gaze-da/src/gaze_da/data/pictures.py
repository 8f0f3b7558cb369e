"""From files to what the network sees of them: pictures, depth and faces as uint8."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageEnhance
from torch import Tensor
from torch.nn import functional

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

    Bilinear with a filter as wide as the shrinking asks for, as Pillow has it: torch's kernel for
    bytes is within 1 of 255 of it, in half the time. What a window holds beyond the picture is black.

    Args:
        picture: RGB.
        size: pixels of each side.
        window: the part, in pixels; rounded to whole ones.
        mirrored: exchange left and right.
    """
    if window is not None:
        x0, y0, x1, y1 = (round(value) for value in window)
        picture = picture.crop((x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)))
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    small = functional.interpolate(pixels, (size, size), mode="bilinear", antialias=True)[0]
    return small.flip(-1) if mirrored else small.contiguous()


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
        window: the part, in FRACTIONS of the map, whose size need not be the picture's; rounded to
            whole pixels of it.
        mirrored: exchange left and right.
    """
    if window is not None:
        height, width = depth.shape
        x0, y0, x1, y1 = (round(v * s) for v, s in zip(window, (width, height) * 2, strict=True))
        if 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height:  # then only what is seen is coloured
            depth, window = depth[y0:y1, x0:x1], None
        else:
            window = (x0, y0, x1, y1)
    return shrunk(coloured(_eight_bits(depth)), size, window, mirrored=mirrored)


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


def read_depth(path: Path | str, *, at_least: tuple[int, int] | None = None) -> np.ndarray:
    """The depth map of a picture, uint8 or uint16 [height, width].

    Args:
        path: its file, or the file of which there is a .png instead.
        at_least: width and height that are enough; a JPEG may be decoded at a reduced scale.

    Raises:
        DataError: it is missing, damaged, or says the same of every pixel.
    """
    path = find_depth(path)
    depth = open_grey(path, at_least=at_least)
    if depth.min() == depth.max():
        raise DataError(
            path,
            f"every pixel is {int(depth.min())}",
            expected="a depth map with near and far",
            remedy="Make it again with `gaze-da prepare depth`.",
        )
    return depth


def depth_picture(prediction: np.ndarray, bits: int = 8) -> np.ndarray:
    """A predicted depth as a picture: 0 the farthest, 255 (or 65 535) the nearest.

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
