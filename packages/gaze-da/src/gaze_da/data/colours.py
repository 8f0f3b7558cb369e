"""The colours in which depth is shown to the network: magma (CC0), 256 entries."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
from jaxtyping import UInt8
from PIL import Image


@cache
def magma() -> UInt8[np.ndarray, "256 3"]:
    """The table: RGB of each grey value."""
    data = files("gaze_da.data").joinpath("magma.rgb").read_bytes()
    return np.frombuffer(data, np.uint8).reshape(256, 3)


def coloured(grey: UInt8[np.ndarray, "height width"]) -> Image.Image:
    """A depth map in colours: each grey value through the table."""
    picture = Image.fromarray(grey)
    picture.putpalette(magma().tobytes())  # Pillow's lookup is several times numpy's speed
    return picture.convert("RGB")
