"""What lies behind the object: photographs that ship inside scikit-image, gradients and textures.

All of it is muted, so that the object stands out by its colour, and pale enough to be guessed roughly
from a few glimpses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import as_file, files
from typing import Literal

import numpy as np
from jaxtyping import Float32
from PIL import Image

from shared_core.data.images import open_picture

PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png",
    "grass.png", "gravel.png", "hubble_deep_field.jpg", "moon.png", "motorcycle_left.png",
    "retina.jpg", "rocket.jpg",
)  # fmt: skip
"""Files of scikit-image's data folder, in the order in which they are numbered."""

TRAIN_SHARE = 0.7
"""Columns of each photograph that training scenes are cut from; validation scenes have the rest."""

SATURATION, CONTRAST = 0.3, 0.5
"""What is left of a background's colour and of its differences in brightness."""

Part = Literal["train", "val"]
Picture = Float32[np.ndarray, "side side 3"]

_CLOSEST, _WIDEST = (
    1.0,
    2.5,
)  # photograph pixels to a scene's pixel, where the photograph has as many
_CELLS = 8  # of a drawn texture, from side to side


def background(ground: str, part: Part, size: int, draw: np.random.Generator) -> Picture:
    """What lies behind an object, 0 to 1.

    Args:
        ground: one of the `GROUNDS`.
        part: whose columns of the photographs are used.
        size: pixels of its side.
        draw: where everything random comes from.
    """
    return _muted(GROUNDS[ground](part, size, draw))


@cache
def photograph(name: str, part: Part) -> Image.Image:
    """The columns of one of the `PHOTOGRAPHS` that belong to a part of the data."""
    with as_file(files("skimage") / "data" / name) as path:
        whole = open_picture(path)
    border = round(TRAIN_SHARE * whole.width)
    left, right = (0, border) if part == "train" else (border, whole.width)
    return whole.crop((left, 0, right, whole.height))


def _cut(part: Part, size: int, draw: np.random.Generator) -> Picture:
    picture = photograph(PHOTOGRAPHS[draw.integers(len(PHOTOGRAPHS))], part)
    side = min(size * draw.uniform(_CLOSEST, _WIDEST), picture.width, picture.height)
    x, y = (draw.random() * (length - side) for length in picture.size)
    # Sums of rounded floats may end a little beyond the last pixel.
    box = (x, y, min(x + side, picture.width), min(y + side, picture.height))
    return _unit(picture.resize((size, size), Image.Resampling.BILINEAR, box))


def _gradient(_part: Part, size: int, draw: np.random.Generator) -> Picture:
    corners = draw.integers(0, 256, (2, 2, 3), dtype=np.uint8)
    # The middles of the corner pixels are the edges of the picture.
    box = (0.5, 0.5, 1.5, 1.5)
    return _unit(Image.fromarray(corners).resize((size, size), Image.Resampling.BILINEAR, box))


def _texture(_part: Part, size: int, draw: np.random.Generator) -> Picture:
    cells = draw.integers(0, 256, (_CELLS, _CELLS, 3), dtype=np.uint8)
    return _unit(Image.fromarray(cells).resize((size, size), Image.Resampling.BICUBIC))


GROUNDS: Mapping[str, Callable[[Part, int, np.random.Generator], Picture]] = {
    "photograph": _cut,
    "gradient": _gradient,
    "texture": _texture,
}
"""What can lie behind an object; half of all scenes are photographs."""


def _unit(picture: Image.Image) -> Picture:
    return np.asarray(picture, np.float32) / 255


def _muted(picture: Picture) -> Picture:
    grey = picture.mean(axis=2, keepdims=True)
    level = grey.mean()
    return np.asarray(level + CONTRAST * (grey - level + SATURATION * (picture - grey)), np.float32)
