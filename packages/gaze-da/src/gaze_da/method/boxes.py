"""Head boxes (x0, y0, x1, y1): how they are widened."""

from __future__ import annotations

Number = float | int  # also where types are checked at run time
Box = tuple[Number, Number, Number, Number]
Point = tuple[Number, Number]


def expanded(box: Box, factor: Number, *, symmetric: bool = False) -> Box:
    """A box widened on each side by a share of its size.

    As the authors do it, one side after another: right and bottom grow by a share of the box that
    left and top have widened already, by `factor (1 + factor)` in all.

    Args:
        box: in any unit.
        factor: share of the width and of the height, 0 or more.
        symmetric: widen both sides by `factor`.
    """
    x0, y0, x1, y1 = box
    if symmetric:
        dx, dy = factor * abs(x1 - x0), factor * abs(y1 - y0)
        return (x0 - dx, y0 - dy, x1 + dx, y1 + dy)
    x0 -= factor * abs(x1 - x0)
    y0 -= factor * abs(y1 - y0)
    x1 += factor * abs(x1 - x0)
    y1 += factor * abs(y1 - y0)
    return (x0, y0, x1, y1)
