"""Who looks at what, drawn in space; lengths are fractions of the picture's height unless said otherwise.

A head is a ball whose face is turned to what its person looks at, so that it tells a direction; which
of the things lies there is for the picture and its depth to tell. Things lie everywhere alike: where
they are on average tells next to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeVar

import numpy as np
from jaxtyping import Float

from gaze_da.method.boxes import Box, Point

HEIGHT, WIDTH = 120, 160
"""Pixels of every picture."""

ASPECT = WIDTH / HEIGHT

HORIZON, CAMERA_HEIGHT = 0.25, 0.75
"""Row of the horizon, and how far below it the floor is seen where the scale is 1."""

FARTHEST, NEAREST = 0.5, 1.0
"""Scale, 1 / distance, at which the back wall is seen, and what is nearest."""

OUTSIDE_SHARE = 0.2
"""How many people look out of the picture."""

Shape = Literal["disc", "square", "diamond"]
SHAPES: tuple[Shape, ...] = ("disc", "square", "diamond")
Item = TypeVar("Item", "Person", "Thing")
Vector = Float[np.ndarray, " 3"]
"""Right, down, and away from the camera."""


@dataclass(frozen=True)
class Thing:
    """Something that can be looked at.

    Attributes:
        x: its middle, from the left.
        y: its middle, from the top.
        scale: at which it is seen, 1 / distance.
        shape: its outline.
    """

    RADIUS: ClassVar[float] = 0.085
    """At scale 1."""

    x: float
    y: float
    scale: float
    shape: Shape

    @property
    def radius(self) -> float:
        """As it is seen."""
        return self.RADIUS * self.scale

    @property
    def box(self) -> Box:
        """What it covers."""
        return _around(self.x, self.y, self.radius)

    @property
    def middle(self) -> Point:
        """As fractions of width and height."""
        return (self.x / ASPECT, self.y)


@dataclass(frozen=True)
class Person:
    """Someone who looks somewhere.

    Attributes:
        x: middle of the head, from the left.
        y: middle of the head, from the top.
        scale: at which the person is seen, 1 / distance.
        direction: of the face, a unit vector: right, down, away from the camera.
        target: what is looked at, as fractions of width and height; None where that is outside.
    """

    RADIUS: ClassVar[float] = 0.15
    """Of the head, at scale 1."""

    x: float
    y: float
    scale: float
    direction: tuple[float, float, float] = (0.0, 0.0, -1.0)
    target: Point | None = None

    @property
    def radius(self) -> float:
        """Of the head, as it is seen."""
        return self.RADIUS * self.scale

    @property
    def feet(self) -> float:
        """Where the body ends: on the floor, or three heads below for those who sit."""
        return min(1.0, max(HORIZON + CAMERA_HEIGHT * self.scale, self.y + 3 * self.radius))

    @property
    def head(self) -> Box:
        """What the head covers, with its nose."""
        return _around(self.x, self.y, 1.15 * self.radius)

    @property
    def head_px(self) -> Box:
        """The same in pixels."""
        x0, y0, x1, y1 = self.head
        return (x0 * HEIGHT, y0 * HEIGHT, x1 * HEIGHT, y1 * HEIGHT)

    @property
    def box(self) -> Box:
        """What head and body cover."""
        reach = 1.4 * self.radius
        return (self.x - reach, self.y - 1.2 * self.radius, self.x + reach, self.feet)


@dataclass(frozen=True)
class Scene:
    """Who and what is where, whatever the style."""

    people: tuple[Person, ...]
    things: tuple[Thing, ...]


def compose(draw: np.random.Generator, outside: float = OUTSIDE_SHARE) -> Scene:
    """A scene of one to three people and one to six things; nothing hides anything.

    Args:
        draw: where everything random comes from.
        outside: how many of the people look out of the picture.
    """
    taken: list[Box] = []
    standing = [_free(draw, _person, taken) for _ in range(draw.integers(1, 4))]
    lying = [_free(draw, _thing, taken) for _ in range(draw.integers(3, 7))]
    things = tuple(thing for thing in lying if thing is not None)
    if not things:
        return compose(draw, outside)
    people = (_looking(draw, p, things, outside) for p in standing if p is not None)
    return Scene(tuple(people), things)


def position(x: float, y: float, scale: float) -> Vector:
    """Where in space that is; the camera is at 0 and looks along the horizon."""
    return np.array([x - ASPECT / 2, y - HORIZON, 1.0]) / scale


def _person(draw: np.random.Generator) -> Person:
    scale = draw.uniform(0.6, NEAREST)
    edge = 1.2 * Person.RADIUS * scale
    return Person(draw.uniform(edge, ASPECT - edge), draw.uniform(edge, 0.65), scale)


def _thing(draw: np.random.Generator) -> Thing:
    y = draw.uniform(0.08, 0.92)
    # Nothing is below the floor: what is low in the picture is near.
    scale = draw.uniform(max(FARTHEST, (y - HORIZON) / CAMERA_HEIGHT), NEAREST)
    edge = Thing.RADIUS * scale
    return Thing(draw.uniform(edge, ASPECT - edge), y, scale, SHAPES[draw.integers(len(SHAPES))])


def _free(
    draw: np.random.Generator, make: Callable[[np.random.Generator], Item], taken: list[Box]
) -> Item | None:
    """What is made, where it touches nothing that is there; None after thirty tries."""
    for _ in range(30):
        item = make(draw)
        a0, b0, a1, b1 = item.box
        if all(a1 < x0 or a0 > x1 or b1 < y0 or b0 > y1 for x0, y0, x1, y1 in taken):
            taken.append(item.box)
            return item
    return None


def _looking(
    draw: np.random.Generator, person: Person, things: Sequence[Thing], outside: float
) -> Person:
    """The person with a face turned to one of the things, or to somewhere outside."""
    head = position(person.x, person.y, person.scale)
    ways = [_unit(position(thing.x, thing.y, thing.scale) - head) for thing in things]
    chosen = int(draw.integers(len(things)))
    way, target = ways[chosen], things[chosen].middle
    if draw.random() < outside:
        # Of some ways out of the picture the one that leads past all things at the largest angle.
        exits = [_unit(_outside(draw) - head) for _ in range(20)]
        way = min(exits, key=lambda exit_: max(float(exit_ @ other) for other in ways))
        return replace(person, direction=tuple(way.tolist()), target=None)
    return replace(person, direction=tuple(way.tolist()), target=target)


def _outside(draw: np.random.Generator) -> Vector:
    angle, reach = draw.uniform(0, 2 * math.pi), draw.uniform(1.0, 1.6)
    x, y = ASPECT * (0.5 + reach * math.cos(angle)), 0.5 + reach * math.sin(angle)
    return position(x, y, draw.uniform(FARTHEST, NEAREST))


def _unit(vector: Vector) -> Vector:
    return np.asarray(vector / np.linalg.norm(vector))


def _around(x: float, y: float, radius: float) -> Box:
    return (x - radius, y - radius, x + radius, y + radius)
