"""What is shown of the head and what is learnt of the target: head masks and heat maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64

from gaze_da.method.boxes import Box, Number, Point

SIGMA = 3
"""Deviation of the Gaussian around a target, in cells."""

REACH = 3 * SIGMA
"""Cells to each side of its centre that the kernel covers."""

Kernel = Literal["gaussian", "cauchy"]


def head_mask(box: Box, width: Number, height: Number, size: int) -> Bool[np.ndarray, "S S"]:
    """True inside the head box; the last row and the last column never are, as in the authors' code.

    Args:
        box: pixels of the picture.
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        size: cells of each side of the mask.
    """
    x0, y0, x1, y1 = (
        min(max(int(value / side * size), 0), size - 1)
        for value, side in zip(box, (width, height, width, height), strict=True)
    )
    mask = np.zeros((size, size), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def kernel_values(kind: Kernel = "gaussian") -> Float64[np.ndarray, "19 19"]:
    """The kernel around a target: exp(-d^2 / 2 sigma^2), or sigma / (d^2 + sigma^2)^1.5."""
    offsets = np.arange(-REACH, REACH + 1)
    squares = (offsets[:, None] ** 2 + offsets[None] ** 2).astype(np.float64)
    if kind == "cauchy":
        return np.asarray(SIGMA / (squares + SIGMA**2) ** 1.5)
    return np.asarray(np.exp(-squares / (2 * SIGMA**2)))


def heat_map(
    points: Sequence[Point], size: int, *, compat: bool = False, kernel: Kernel = "gaussian"
) -> Float64[np.ndarray, "S S"]:
    """The map to be learnt: a kernel around each target, at most 1.

    Each point is added to the map of those before it, which is then divided by its maximum.

    Args:
        points: (x, y) in cells; a point of fraction 1 lies just outside, at cell `size`.
        size: cells of each side.
        compat: the authors' rounding. It truncates toward zero, which shifts kernels near the left
            and top border, and gives NaN for points between 9 and 11 cells outside of them.
        kernel: its shape.
    """
    found = np.zeros((size, size))
    values = kernel_values(kernel)
    for point in points:
        cut = _cut_upstream(point, size) if compat else _cut(point, size)
        if cut is None:
            continue
        (columns, from_x), (rows, from_y) = cut
        window = values[
            from_y : from_y + rows.stop - rows.start, from_x : from_x + columns.stop - columns.start
        ]
        found[rows, columns] += window
        with np.errstate(invalid="ignore"):
            found /= found.max()
    return found


_Cut = tuple[tuple[slice, int], tuple[slice, int]]
"""For x and y: the cells that a kernel covers, and the first of its values that falls on them."""


def _cut(point: Point, size: int) -> _Cut | None:
    """The kernel centred at the cell of the point; None where no part of it is on the map."""
    first = [math.floor(value) - REACH for value in point]
    spans = [(max(f, 0), min(f + 2 * REACH + 1, size), max(-f, 0)) for f in first]
    if any(start >= stop for start, stop, _ in spans):
        return None
    (x0, x1, from_x), (y0, y1, from_y) = spans
    return (slice(x0, x1), from_x), (slice(y0, y1), from_y)


def _cut_upstream(point: Point, size: int) -> _Cut | None:
    first = [int(value - REACH) for value in point]
    last = [int(value + REACH + 1) for value in point]
    if any(value >= size for value in first) or any(value < 0 for value in last):
        return None
    (x0, x1, from_x), (y0, y1, from_y) = (
        (max(f, 0), max(min(stop, size), 0), max(-f, 0))
        for f, stop in zip(first, last, strict=True)
    )
    return (slice(x0, x1), from_x), (slice(y0, y1), from_y)
