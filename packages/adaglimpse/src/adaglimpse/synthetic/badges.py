"""The object of a scene: a badge that looks the same from afar, and whose marks tell what it is.

Half of every badge is ink, in fine lines, so that without its detail it is a square of one colour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

FINE = 4
"""Pixels are drawn this many times smaller, for smooth edges."""

PAPER, INK = np.array((1.0, 0.85, 0.1), np.float32), np.array((0.55, 0.0, 0.35), np.float32)
"""Colours of a badge; nothing else in a scene is as saturated."""

MIXED = (PAPER + INK) / 2
"""The colour of a badge from afar."""

Across = Float[np.ndarray, "1 columns"]
Down = Float[np.ndarray, "rows 1"]
Wave = Float[np.ndarray, "rows columns"]

MARKS: Mapping[str, Callable[[Across, Down], Wave]] = {
    "backslashes": lambda x, y: np.sin(x - y),
    "checker": lambda x, y: np.sin(x) * np.sin(y),
    "columns": lambda x, y: np.sin(x + 0 * y),
    "rings": lambda x, y: np.sin(np.hypot(x, y)),
    "rows": lambda x, y: np.sin(y + 0 * x),
    "slashes": lambda x, y: np.sin(x + y),
}
"""Classes by name, in the order of their labels; ink is where the wave is above 0, and a period is 2 pi."""


@dataclass(frozen=True, kw_only=True)
class Badge:
    """An object; places and lengths in pixels of the scene.

    Attributes:
        mark: one of the `MARKS`.
        x: its middle, from the left.
        y: its middle, from the top.
        side: of its square.
        period: from a line of ink to the next.
        phase: by how much the marks are moved, across and down, radians.
    """

    mark: str
    x: float
    y: float
    side: float
    period: float
    phase: tuple[float, float]

    def paint(self, canvas: Float32[np.ndarray, "side side 3"]) -> Float32[np.ndarray, "side side"]:
        """Draw it, a pixel or more from the edge; gives the share of each pixel that it covers."""
        top, left = math.floor(self.y - self.side / 2), math.floor(self.x - self.side / 2)
        count = math.ceil(self.side) + 1
        steps = (np.arange(count * FINE, dtype=np.float32) + 0.5) / FINE
        down, across = (top + steps - self.y)[:, None], (left + steps - self.x)[None, :]
        inside = (abs(down) < self.side / 2) & (abs(across) < self.side / 2)
        turn = 2 * math.pi / self.period
        wave = MARKS[self.mark](turn * across + self.phase[0], turn * down + self.phase[1])
        covered, inked = _coarse(inside), _coarse(inside & (wave > 0))

        window = (slice(top, top + count), slice(left, left + count))
        canvas[window] *= 1 - covered[..., None]
        canvas[window] += (covered - inked)[..., None] * PAPER + inked[..., None] * INK
        share = np.zeros(canvas.shape[:2], np.float32)
        share[window] = covered
        return share


def _coarse(
    fine: Bool[np.ndarray, "fine_rows fine_columns"],
) -> Float32[np.ndarray, "rows columns"]:
    """The share of each pixel."""
    rows, columns = fine.shape
    blocks = fine.reshape(rows // FINE, FINE, columns // FINE, FINE)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))
