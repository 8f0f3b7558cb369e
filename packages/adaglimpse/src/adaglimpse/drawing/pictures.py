"""An image and some glimpses of it as one picture, without words."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from jaxtyping import Int, UInt8

from adaglimpse.config import PATCH
from adaglimpse.method.glimpses import crop_patches

Picture = UInt8[np.ndarray, "H W 3"]
Boxes = Int[np.ndarray, "n 4"]
"""(y1, x1, y2, x2) in pixels of a picture, ends exclusive."""

NEWEST, OLDER, HALO = (230, 20, 30), (0, 0, 0), (255, 255, 255)
"""Colours of the outlines of glimpses, and of the line that keeps them visible on dark pictures."""

IGNORED = (128, 128, 128)
"""Colour of pixels that have no class."""

_OUTLINE = 3
_GOLDEN = (5**0.5 - 1) / 2


def blocks(image: Picture, boxes: Boxes) -> Picture:
    """What was seen of an image: each patch at the 16 x 16 pixels the network had of it, in its place.

    Smaller boxes lie above larger ones, later ones above earlier ones of their size; the rest is black.
    """
    seen = np.zeros_like(image)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    patches = _patches(image, boxes)
    for index in np.argsort(-areas, kind="stable"):
        y1, x1, y2, x2 = boxes[index]
        seen[y1:y2, x1:x2] = stretched(patches[index], y2 - y1, x2 - x1)
    return seen


def received(image: Picture, boxes: Boxes) -> UInt8[np.ndarray, "side side 3"]:
    """A glimpse as the network gets it: its g x g patches side by side, each of 16 x 16 pixels."""
    grid = math.isqrt(len(boxes))
    patches = _patches(image, boxes).reshape(grid, grid, PATCH, PATCH, 3)
    return np.asarray(patches.swapaxes(1, 2).reshape(grid * PATCH, grid * PATCH, 3))


def outlined(image: Picture, boxes: Int[np.ndarray, "G p 4"]) -> Picture:
    """A copy of an image with its glimpses drawn in: the last red, those before it black.

    Cells have lines of 1 pixel, whole glimpses of 3, with a white one inside.
    """
    drawn = np.array(image)
    for number, cells in enumerate(boxes, start=1):
        colour = NEWEST if number == len(boxes) else OLDER
        for cell in cells:
            _border(drawn, cell, 0, colour)
        whole = np.concatenate([cells[:, :2].min(axis=0), cells[:, 2:].max(axis=0)])
        for inset in range(_OUTLINE):
            _border(drawn, whole, inset, colour)
        _border(drawn, whole, _OUTLINE, HALO)
    return drawn


def coloured(classes: Int[np.ndarray, "H W"], count: int) -> Picture:
    """A label map, 0 to 255, as a picture: a colour for each of `count` classes, grey for all else."""
    table = np.full((256, 3), IGNORED, np.uint8)
    table[:count] = _palette(count)
    return np.asarray(table[classes])


def stretched(picture: Picture, height: int, width: int) -> Picture:
    """A picture resized by the nearest pixel."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in ((height, picture.shape[0]), (width, picture.shape[1]))
    )
    return np.asarray(picture[rows[:, None], columns])


def _patches(image: Picture, boxes: Boxes) -> UInt8[np.ndarray, "n 16 16 3"]:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    cut = crop_patches(pixels, torch.from_numpy(np.array(boxes, np.int64))[None])[0]
    return np.asarray(cut.round().to(torch.uint8).permute(0, 2, 3, 1))


def _border(drawn: Picture, box: Int[np.ndarray, " 4"], inset: int, colour: Sequence[int]) -> None:
    """Draw the border of a box, a pixel wide, so many pixels inside it."""
    y1, x1, y2, x2 = (int(edge) for edge in box + np.array([1, 1, -1, -1]) * inset)
    drawn[[y1, y2 - 1], x1:x2] = colour
    drawn[y1:y2, [x1, x2 - 1]] = colour


@cache
def _palette(count: int) -> UInt8[np.ndarray, "count 3"]:
    """Colours that lie far apart for numbers that follow one another."""
    table = np.empty((count, 3), np.uint8)
    for n in range(count):
        strength, value = (0.85, 0.5, 0.7)[n % 3], (0.95, 0.65)[n // 3 % 2]
        table[n] = np.rint(255 * np.array(colorsys.hsv_to_rgb(n * _GOLDEN % 1, strength, value)))
    return table
