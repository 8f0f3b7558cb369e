"""Image files as the model sees them: RGB, upright, and in the size that its patches ask for."""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image

from shared_core.data.images import open_picture
from shared_core.errors import DataError

FACTOR = 28
"""Pixels that a side is a multiple of: two merged patches of 14 (Qwen2.5-VL)."""
MIN_PIXELS = 3136
"""Fewest pixels of a picture."""
MAX_PIXELS = 151_200
"""Most pixels of a picture: 360 x 420."""
LONGEST_RATIO = 200
"""Largest ratio of the long side to the short one."""

_WHITE = (255, 255, 255)


class Picture(Image.Image):
    """A Pillow image whose copies by `copy.copy` and `copy.deepcopy` are itself.

    The completions of a group all see one picture; prompts are copied for each of them, and a picture
    that stays one object is processed once. So it must not be drawn into: `copy()` gives a plain
    image for that.
    """

    @classmethod
    def of(cls, image: Image.Image) -> Picture:
        """The picture of an image, which shares its pixels."""
        if isinstance(image, cls):
            return image
        image.load()
        picture = cls()
        picture.__dict__.update(image.__dict__)
        return picture

    def __copy__(self) -> Picture:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Picture:
        return self


def smart_size(
    height: int,
    width: int,
    *,
    factor: int = FACTOR,
    min_pixels: int = MIN_PIXELS,
    max_pixels: int = MAX_PIXELS,
) -> tuple[int, int]:
    """Height and width that a picture is resized to: multiples of `factor`, its shape nearly kept.

    Each side goes to the nearest multiple (a half to the even one). Where that makes too few pixels,
    both are enlarged and rounded up; where it makes too many, both are reduced and rounded down, yet
    to no less than `factor`. A size that comes out goes in again unchanged.

    Args:
        height: pixels, 1 or more.
        width: pixels, 1 or more.
        factor: what the sides are multiples of.
        min_pixels: fewest pixels; `max_pixels` goes before it.
        max_pixels: most pixels, `factor` squared or more.

    Raises:
        ValueError: no pixels, a `max_pixels` below one patch, or one side more than 200 times the other.
    """
    if min(height, width) < 1:
        raise ValueError(f"{width} x {height} pixels")
    if max_pixels < factor**2:
        raise ValueError(f"max_pixels {max_pixels} is less than one patch of {factor} x {factor}")
    if max(height, width) > LONGEST_RATIO * min(height, width):
        raise ValueError(f"one side more than {LONGEST_RATIO} times the other: {width} x {height}")
    rows, columns = (max(1, round(side / factor)) for side in (height, width))
    patch = factor**2
    if rows * columns * patch < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        rows, columns = (math.ceil(side * grow / factor) for side in (height, width))
    if rows * columns * patch > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        rows, columns = (max(1, math.floor(side / shrink / factor)) for side in (height, width))
        most = max_pixels // patch  # a side held at one patch leaves that many to the other
        rows, columns = min(rows, most // columns or 1), min(columns, most // rows or 1)
    return rows * factor, columns * factor


def resize(
    image: Image.Image,
    *,
    factor: int = FACTOR,
    min_pixels: int = MIN_PIXELS,
    max_pixels: int = MAX_PIXELS,
) -> Picture:
    """An RGB image in the size of `smart_size`, by one antialiased bicubic resize.

    Raises:
        ValueError: as `smart_size`.
    """
    height, width = smart_size(
        image.height, image.width, factor=factor, min_pixels=min_pixels, max_pixels=max_pixels
    )
    if image.size == (width, height):
        return Picture.of(image)
    return Picture.of(image.resize((width, height), Image.Resampling.BICUBIC))


def read_picture(
    path: Path | str,
    *,
    factor: int = FACTOR,
    min_pixels: int = MIN_PIXELS,
    max_pixels: int = MAX_PIXELS,
) -> Picture:
    """Decode an image file and resize it as `resize` does.

    Transparency is laid on white, the EXIF orientation is applied, grey becomes three channels, and 16
    bits are scaled to 8.

    Raises:
        DataError: the file is missing, damaged or no image, or one side is more than 200 times the
            other.
    """
    image = open_picture(path, background=_WHITE)
    check_shape(path, image.height, image.width)
    return resize(image, factor=factor, min_pixels=min_pixels, max_pixels=max_pixels)


def check_shape(path: Path | str, height: int, width: int) -> None:
    """Refuse a shape that `smart_size` has no size for.

    Raises:
        DataError: one side is more than 200 times the other.
    """
    if max(height, width) > LONGEST_RATIO * min(height, width):
        raise DataError(
            path,
            f"{width} x {height}",
            expected=f"no side more than {LONGEST_RATIO} times the other",
            remedy="Crop it, or remove it from the table.",
        )
