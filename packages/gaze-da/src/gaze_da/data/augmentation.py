"""Random changes of training pictures, in the order in which the authors draw them.

Where a draw comes from is not decided here: training gives numbers keyed by the item, a test those of
a `numpy.random.RandomState`, as the authors' code has them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from gaze_da.config import Augment, Compat
from gaze_da.data.samples import Placed
from gaze_da.method.boxes import Box, Point, expanded

Draw = Callable[[], float]
"""The next number, uniform in [0, 1)."""

UNCHANGED = (1.0, 1.0, 1.0)

JITTER = 0.2
"""Largest share by which GazeFollow's and GOO's head boxes are widened."""

VAT_JITTER = 0.1
"""Times the draw, which is below one half, for VideoAttentionTarget."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """How an item's picture differs from its file.

    Attributes:
        window: the part of the picture that is seen, in pixels of the file; None: all of it.
        mirrored: left and right are exchanged, after the cut.
        colour: factors of brightness, contrast and saturation.
    """

    window: Box | None = None
    mirrored: bool = False
    colour: tuple[float, float, float] = UNCHANGED


def gazefollow(
    placed: Placed, draw: Draw, augment: Augment, compat: Compat
) -> tuple[Placed, Change, float | None]:
    """GazeFollow and GOO-Real: jitter, crop, flip, colour.

    Returns:
        Head, eyes and targets in the changed picture, the change, and the factor of the jitter.
    """
    jitter = None
    if draw() <= augment.jitter:
        jitter = JITTER * draw()
        placed = replace(placed, head=expanded(placed.head, jitter))
    window = _window(placed, draw, compat) if draw() <= augment.crop else None
    mirrored = draw() <= augment.flip
    colour = UNCHANGED
    if draw() <= augment.colour:
        colour = (0.5 + draw(), 0.5 + draw(), 1.5 * draw())
    if window is not None:
        placed = cropped(placed, window, move_eyes=not compat.alignment)
    if mirrored:
        placed = flipped(placed, move_eyes=not compat.alignment)
    return placed, Change(window=window, mirrored=mirrored, colour=colour), jitter


def videoattentiontarget(
    placed: Placed, draw: Draw, augment: Augment, compat: Compat
) -> tuple[Placed, Change]:
    """VideoAttentionTarget: the crop is around the box before its jitter."""
    jitter, flip, tint = draw(), draw(), draw()
    colour = UNCHANGED
    if tint < augment.colour:
        colour = (0.5 + draw(), 0.5 + draw(), 0.5 + draw())
    window = _window(placed, draw, compat) if draw() < augment.crop else None
    if jitter < augment.jitter:
        x0, y0, x1, y1 = expanded(placed.head, VAT_JITTER * jitter)
        width, height = placed.width, placed.height
        head = (
            min(max(x0, 0), width), min(max(y0, 0), height),
            min(max(x1, 0), width), min(max(y1, 0), height),
        )  # fmt: skip
        placed = replace(placed, head=head)
    if window is not None:
        placed = cropped(placed, window)
    if flip < augment.flip:
        placed = flipped(placed)
    return placed, Change(window=window, mirrored=flip < augment.flip, colour=colour)


def _window(placed: Placed, draw: Draw, compat: Compat) -> Box:
    """A random part of the picture that holds the head and the target, in pixels.

    The part of the head that reaches out of the picture does not count, unless `compat.outside_crop`
    asks for the authors' windows, which begin wherever head and target do.
    """
    width, height = placed.width, placed.height
    x0, y0, x1, y1 = placed.head
    xs = [x0, x1, *(x * width for x, _ in placed.gazes)]
    ys = [y0, y1, *(y * height for _, y in placed.gazes)]
    left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    if not compat.outside_crop:
        left, top = max(left, 0.0), max(top, 0.0)
        right, bottom = min(right, width), min(bottom, height)
    if left >= 0:
        left *= draw()
    if top >= 0:
        top *= draw()
    window_width = (right - left) + (width - right) * draw()
    window_height = (bottom - top) + (height - bottom) * draw()
    return (left, top, left + window_width, top + window_height)


def cropped(placed: Placed, window: Box, *, move_eyes: bool = True) -> Placed:
    """Head, eyes and targets as seen in a window; sizes are those of the window."""
    left, top, right, bottom = window
    width, height = right - left, bottom - top

    def moved(points: tuple[Point, ...]) -> tuple[Point, ...]:
        return tuple(
            ((x * placed.width - left) / width, (y * placed.height - top) / height)
            for x, y in points
        )

    x0, y0, x1, y1 = placed.head
    return Placed(
        head=(x0 - left, y0 - top, x1 - left, y1 - top),
        eyes=moved(placed.eyes) if move_eyes and placed.eyes is not None else placed.eyes,
        gazes=moved(placed.gazes),
        width=width,
        height=height,
    )


def flipped(placed: Placed, *, move_eyes: bool = True) -> Placed:
    """Head, eyes and targets in the mirror."""

    def mirrored(points: tuple[Point, ...]) -> tuple[Point, ...]:
        return tuple((1 - x, y) for x, y in points)

    x0, y0, x1, y1 = placed.head
    return replace(
        placed,
        head=(placed.width - x1, y0, placed.width - x0, y1),
        eyes=mirrored(placed.eyes) if move_eyes and placed.eyes is not None else placed.eyes,
        gazes=mirrored(placed.gazes),
    )
