"""Label maps of segmentation: from the numbers of a file to classes."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image

from shared_core.errors import DataError

IGNORED = 255
"""Class of a pixel that does not count."""

ADE20K_CLASSES = 150
"""Labels of ADE20K's scene parsing: 1 to 150; 0 is unlabelled."""


def read_labels(
    path: Path, image: Path, size: tuple[int, int]
) -> Integer[np.ndarray[Any, Any], "height width"]:
    """The numbers of an image's label map, as they are stored: no orientation, no palette.

    Args:
        path: the label map.
        image: the image, for messages.
        size: its width and height, pixels.

    Raises:
        DataError: the file is missing, damaged, no image, has more than one number a pixel, or another
            size than the image.
    """
    try:
        with Image.open(path) as opened:
            mode, labels = opened.mode, np.array(opened)
    except FileNotFoundError as error:
        raise DataError(path, "there is no such file") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise DataError(path, f"it is damaged, cut short or no image ({error})") from error
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise DataError(path, f"pixels of kind {mode}", expected="one whole number a pixel")
    height, width = labels.shape
    if (width, height) != size:
        raise DataError(
            path, f"{width}x{height}", expected=f"{size[0]}x{size[1]} pixels, as {image} has"
        )
    return labels


def class_indices(
    labels: Integer[np.ndarray[Any, Any], "height width"], above: Literal["ignore", "clip"]
) -> UInt8[np.ndarray[Any, Any], "height width"]:
    """Classes of ADE20K's labels: 1..150 become 0..149, and 0 does not count (`IGNORED`).

    Args:
        labels: of a file.
        above: labels above 150 do not count, or become the last class.
    """
    known = (labels > 0) & (labels <= ADE20K_CLASSES)
    classes = np.where(known, labels - 1, IGNORED).astype(np.uint8)
    if above == "clip":
        classes[labels > ADE20K_CLASSES] = ADE20K_CLASSES - 1
    return classes
