"""What is where in a scene: a background, faint spots of the badge's colour, and one badge."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8

from adaglimpse.synthetic.backgrounds import GROUNDS, Part, background
from adaglimpse.synthetic.badges import MARKS, MIXED, Badge

Kind = Literal["near", "zoom"]
"""Marks that are seen from twice the closest distance too, or from the closest alone."""

SIDES: Mapping[Kind, tuple[float, float]] = {"near": (14.0, 18.0), "zoom": (8.0, 10.0)}
"""Least and largest side of a badge, pixels."""

PERIODS: Mapping[Kind, tuple[float, float]] = {"near": (3.5, 3.9), "zoom": (2.1, 2.3)}
"""Least and largest distance of its lines, pixels. A glimpse of all of a scene of 64 pixels looks at every
fourth place: it sees next to nothing of lines that are about four pixels apart."""

FLOOR: Mapping[Kind, float] = {"near": 0.66, "zoom": 0.0}
"""Height, from the top, above which the middle of no badge lies, as a share of the scene's side: near ones
stand on the ground, which can be learnt without seeing them."""

PHOTOGRAPH_SHARE = 0.5
"""How many of the scenes lie before a photograph."""

SPOTS, SPOT_STRENGTH = (1, 3), 0.3
"""Least and most spots of a scene, and how much of the badge's colour they have in their middle."""

UNLABELLED = 0
"""Label of pixels that a badge covers in part."""

_EDGE = 1.0  # pixels between a badge and the edge of its scene


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A scene and what is in it.

    Attributes:
        badge: the object.
        ground: what lies behind it, one of the `GROUNDS`.
        picture: RGB.
        labels: 1 and on for the `MARKS`, then on for the `GROUNDS`, in their order; `UNLABELLED`.
    """

    badge: Badge
    ground: str
    picture: UInt8[np.ndarray, "side side 3"]
    labels: UInt8[np.ndarray, "side side"]


def compose(number: int, *, part: Part, size: int, seed: int, kind: Kind) -> Scene:
    """The scene of a number: it depends on nothing but what is given here.

    Args:
        number: of the scene; those of the classes follow one another in turn.
        part: validation scenes have other columns of the photographs than training scenes.
        size: pixels of its side, 32 or more.
        seed: key of everything random.
        kind: how near one has to look.
    """
    draw = np.random.default_rng((seed, ("train", "val").index(part), number))
    ground = _ground(draw)
    canvas = background(ground, part, size, draw)
    for _ in range(draw.integers(*SPOTS, endpoint=True)):
        _spot(canvas, draw)
    badge = _badge([*MARKS][number % len(MARKS)], size, kind, draw)
    share = badge.paint(canvas)
    labels = np.full((size, size), 1 + len(MARKS) + [*GROUNDS].index(ground), np.uint8)
    labels[share > 0] = UNLABELLED
    labels[share == 1] = 1 + [*MARKS].index(badge.mark)
    picture = np.rint(255 * np.clip(canvas, 0, 1)).astype(np.uint8)
    return Scene(badge=badge, ground=ground, picture=picture, labels=labels)


def _ground(draw: np.random.Generator) -> str:
    photograph, *drawn = GROUNDS
    if draw.random() < PHOTOGRAPH_SHARE:
        return photograph
    return drawn[draw.integers(len(drawn))]


def _badge(mark: str, size: int, kind: Kind, draw: np.random.Generator) -> Badge:
    side = draw.uniform(*SIDES[kind])
    edge = side / 2 + _EDGE
    x = draw.uniform(edge, size - edge)
    y = draw.uniform(max(edge, FLOOR[kind] * size), size - edge)
    phase = draw.uniform(-math.pi, math.pi, 2)
    return Badge(
        mark=mark,
        x=float(x),
        y=float(y),
        side=side,
        period=draw.uniform(*PERIODS[kind]),
        phase=(float(phase[0]), float(phase[1])),
    )


def _spot(canvas: Float32[np.ndarray, "side side 3"], draw: np.random.Generator) -> None:
    """A soft blot, somewhere, of the size of a badge."""
    size = canvas.shape[0]
    x, y = draw.uniform(0, size, 2)
    spread = draw.uniform(3, 5)
    across = np.exp(-(((np.arange(size) + 0.5 - x) / spread) ** 2) / 2)
    down = np.exp(-(((np.arange(size) + 0.5 - y) / spread) ** 2) / 2)
    share = (SPOT_STRENGTH * down[:, None] * across)[..., None].astype(np.float32)
    canvas += share * (MIXED - canvas)
