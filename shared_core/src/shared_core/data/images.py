"""Image files in, uint8 RGB tensors out: one meaning for every depth, palette and orientation.

Pillow decodes: it is as fast as torchvision.io (2048x1024 JPEG: 29 against 30 ms, equal pixels),
reads more formats, and needs no torchvision that fits the installed torch.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8, UInt16
from torch import Tensor

from shared_core.errors import DataError
from shared_core.extras import require

require("PIL", "images")
from PIL import Image, ImageOps  # noqa: E402

_DECODING = (
    OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError,
)  # fmt: skip

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Endings of the files that `list_images` takes for images."""


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts `frame9.png` before `frame10.png`; capitals do not count."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts)


def list_images(folder: Path | str) -> list[Path]:
    """The image files of a folder, in natural order, without hidden ones and inner folders.

    Raises:
        DataError: there is no such folder, or no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(folder, "there is no such folder")
    images = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    if not images:
        endings = ", ".join(sorted(SUFFIXES))
        raise DataError(folder, "none", expected=f"image files ({endings})")
    return sorted(images, key=lambda path: (natural_key(path.name), path.name))


def read_image(path: Path | str) -> UInt8[Tensor, "3 height width"]:
    """Decode an image file to RGB, 0..255, upright.

    16-bit values are scaled to 8 bits, grey becomes three equal channels, transparency is laid on
    black, the EXIF orientation is applied, and of an animation the first frame is taken.

    Raises:
        DataError: the file is missing, damaged, no image, or holds float or 32-bit values.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})") from error
    return decode_image(data, path)


def open_picture(
    path: Path | str,
    *,
    upright: bool = True,
    at_least: tuple[int, int] | None = None,
    background: tuple[int, int, int] = (0, 0, 0),
) -> Image.Image:
    """Decode an image file to an RGB picture of Pillow, for crops and resizing; else as `read_image`.

    Args:
        path: the file.
        upright: apply the EXIF orientation. Boxes of a data set count pixels as they are stored.
        at_least: width and height that are enough. A JPEG may then be decoded at 1/2, 1/4 or 1/8 of
            its size, as long as it is no smaller: several times faster, and slightly other pixels.
        background: the colour that transparency is laid on, RGB 0..255.

    Raises:
        DataError: as `read_image`.
    """
    with _opened(path) as image:
        if at_least is not None:
            image.draft("RGB", at_least)
        return _to_rgb(image, path, upright=upright, background=background)


def image_size(path: Path | str) -> tuple[int, int]:
    """Width and height of an image file as it is stored, without decoding it.

    Raises:
        DataError: the file is missing or no image.
    """
    with _opened(path) as image:
        return image.size


def open_grey(
    path: Path | str, *, at_least: tuple[int, int] | None = None
) -> UInt8[np.ndarray, "height width"] | UInt16[np.ndarray, "h w"]:
    """Decode an image of one meaning per pixel, such as a depth map, to 8 or 16 bits.

    Args:
        path: the file.
        at_least: as `open_picture`.

    Raises:
        DataError: the file is missing, damaged, no image, or holds float or 32-bit values.
    """
    with _opened(path) as image:
        if at_least is not None:
            image.draft("L", at_least)
        if image.mode == "F":
            raise DataError(path, "float values", expected="an image of 8 or 16 bits")
        if image.mode == "I" or image.mode.startswith("I;16"):
            values = np.asarray(image)
            if values.min() < 0 or values.max() > 65535:
                raise DataError(path, "32-bit values", expected="an image of 8 or 16 bits")
            return values.astype(np.uint16)
        return np.array(image if image.mode == "L" else image.convert("L"))


@contextmanager
def _opened(path: Path | str) -> Iterator[Image.Image]:
    """The image of a file; what goes wrong inside is a `DataError` about the file."""
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError as error:
        raise DataError(path, "there is no such file") from error
    except DataError:
        raise
    except _DECODING as error:
        raise _damaged(path, error) from error


def decode_image(data: bytes, name: Path | str) -> UInt8[Tensor, "3 height width"]:
    """Decode the bytes of an image file as `read_image` does; `name` stands for them in errors."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            pixels = np.array(_to_rgb(image, name))
    except _DECODING as error:
        raise _damaged(name, error) from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def encode_png(image: UInt8[Tensor, "3 height width"]) -> bytes:
    """The bytes of a PNG file of an RGB image, 0..255."""
    pixels = image.permute(1, 2, 0).contiguous().cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGB").save(buffer, "PNG")
    return buffer.getvalue()


def _to_rgb(
    image: Image.Image,
    name: Path | str,
    *,
    upright: bool = True,
    background: tuple[int, int, int] = (0, 0, 0),
) -> Image.Image:
    if upright:
        image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise DataError(name, "float values", expected="an image of 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255 instead of scaling.
        image = Image.fromarray(_eight_bits(np.asarray(image), name))
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, (*background, 255))
        opaque.alpha_composite(image.convert("RGBA"))
        image = opaque
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(values: np.ndarray[Any, Any], name: Path | str) -> np.ndarray[Any, Any]:
    if values.min() < 0 or values.max() > 65535:
        raise DataError(name, "32-bit values", expected="an image of 8 or 16 bits")
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _damaged(name: Path | str, error: Exception) -> DataError:
    return DataError(
        name,
        f"it is damaged, cut short or no image ({error})",
        remedy="Copy or download it again, or remove it from the list.",
    )
