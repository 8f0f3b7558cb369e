"""Scenes as pictures with their depth, in one of two styles of drawing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8

from gaze_da.synthetic.scenes import (
    CAMERA_HEIGHT,
    FARTHEST,
    HEIGHT,
    HORIZON,
    WIDTH,
    Person,
    Scene,
    Thing,
    Vector,
)
from shared_core.data.faces import cv2

Style = Literal["flat", "grainy"]
"""Flat and bright; or dark, blurred and grainy, with patterns and other colours."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """How a style draws; a colour of each kind is drawn for each picture, person or thing.

    Attributes:
        walls, floors, skins, hairs, clothes, things: colours to choose from.
        eye: colour of the eyes.
        pattern: contrast of what is painted on wall and floor.
        shade: how much darker heads are towards their outline.
        light: factor of everything.
        blur: deviation, in pixels.
        grain: deviation of the noise, in grey values.
    """

    walls: tuple[Colour, ...]
    floors: tuple[Colour, ...]
    skins: tuple[Colour, ...]
    hairs: tuple[Colour, ...]
    clothes: tuple[Colour, ...]
    things: tuple[Colour, ...]
    eye: Colour
    pattern: float
    shade: float
    light: float
    blur: float
    grain: float


LOOKS: Mapping[Style, Look] = {
    "flat": Look(
        walls=((214, 226, 238), (236, 228, 210), (222, 236, 218)),
        floors=((176, 160, 140), (150, 156, 168), (164, 176, 150)),
        skins=((250, 214, 184), (236, 192, 158), (216, 168, 132)),
        hairs=((60, 40, 30), (30, 30, 40), (110, 66, 30)),
        clothes=((70, 90, 140), (130, 130, 140), (90, 120, 100)),
        things=((220, 40, 40), (30, 110, 220), (30, 160, 60), (240, 180, 20), (180, 50, 190)),
        eye=(20, 20, 30),
        pattern=0.0,
        shade=0.0,
        light=1.0,
        blur=0.0,
        grain=0.0,
    ),
    "grainy": Look(
        walls=((150, 150, 120), (120, 140, 150), (160, 130, 120)),
        floors=((110, 90, 70), (90, 100, 90), (100, 100, 120)),
        skins=((214, 170, 150), (190, 146, 116), (226, 190, 160)),
        hairs=((90, 50, 50), (50, 50, 80), (70, 70, 60)),
        clothes=((110, 60, 60), (60, 80, 70), (100, 100, 60)),
        things=((230, 120, 90), (70, 190, 200), (150, 200, 80), (230, 220, 140), (200, 120, 200)),
        eye=(240, 240, 230),
        pattern=0.25,
        shade=0.45,
        light=0.75,
        blur=0.7,
        grain=10.0,
    ),
}

_FINE = 2  # pixels are drawn this many times smaller, for smooth edges
_WHITE = (250, 250, 245)

Window = tuple[slice, slice]
Where = Bool[np.ndarray, "rows columns"]


def render(
    scene: Scene, style: Style, draw: np.random.Generator
) -> tuple[UInt8[np.ndarray, "120 160 3"], UInt8[np.ndarray, "120 160"]]:
    """Picture (RGB) and depth (0 the back wall, 255 the nearest) of a scene.

    Args:
        scene: who and what is where.
        style: how it is drawn.
        draw: where colours and noise come from; depth has none.
    """
    canvas = _Canvas(LOOKS[style], draw)
    items: list[Person | Thing] = [*scene.people, *scene.things]
    for item in sorted(items, key=lambda item: item.scale):
        if isinstance(item, Thing):
            canvas.thing(item)
        else:
            canvas.person(item)
    return canvas.picture(), canvas.depth()


class _Canvas:
    """What has been drawn so far: colours, and the scale at which each pixel is seen."""

    def __init__(self, look: Look, draw: np.random.Generator) -> None:
        self.look = look
        self.draw = draw
        height, width = HEIGHT * _FINE, WIDTH * _FINE
        floor = ((np.arange(height, dtype=np.float32) + 0.5) / height - HORIZON) / CAMERA_HEIGHT
        self.scales = np.repeat(np.maximum(FARTHEST, floor)[:, None], width, axis=1)
        self.colours = np.empty((height, width, 3), np.float32)
        self.colours[:] = self._one_of(look.walls)
        self.colours[floor > FARTHEST] = self._one_of(look.floors)
        if look.pattern:
            self.colours *= 1 + look.pattern * self._pattern(height, width)[..., None]

    def _one_of(self, colours: tuple[Colour, ...]) -> Colour:
        return colours[self.draw.integers(len(colours))]

    def _pattern(self, height: int, width: int) -> Float[np.ndarray, "height width"]:
        """Blotches and stripes, around 0."""
        blotches = cv2.resize(self.draw.random((9, 12), np.float32) * 2 - 1, (width, height))
        slope, pitch = self.draw.uniform(-1, 1), self.draw.uniform(0.25, 0.5)
        across = np.arange(width) + slope * np.arange(height)[:, None]
        return np.asarray(0.6 * blotches + 0.4 * np.sin((pitch * across).astype(np.float32)))

    def thing(self, thing: Thing) -> None:
        """Draw a thing, in one colour."""
        window, x, y = _window(thing.x, thing.y, thing.radius, below=1)
        outline = {
            "disc": x**2 + y**2 < 1,
            "square": np.maximum(abs(x), abs(y)) < 0.9,
            "diamond": abs(x) + abs(y) < 1,
        }[thing.shape]
        self._paint(window, outline, self._one_of(self.look.things), thing.scale)

    def person(self, person: Person) -> None:
        """Draw a body, and on it a ball: hair behind, a nose and eyes in front."""
        look = self.look
        below = (person.feet - person.y) / person.radius
        window, x, y = _window(person.x, person.y, person.radius, below)
        shoulders = np.minimum(1.3, 0.8 * y - 0.14)
        body = (y > 0.8) & (y < below) & (abs(x) < shoulders)
        self._paint(window, body, self._one_of(look.clothes), person.scale)

        skin, hair = self._one_of(look.skins), self._one_of(look.hairs)
        window, x, y = _window(person.x, person.y, person.radius, below=1.5)
        direction = np.array(person.direction, np.float32)
        ball = x**2 + y**2 < 1
        parts = [(ball, skin)]
        parts += [
            (where & ball, colour)
            for where, colour in zip(
                _features(x, y, direction), (hair, _WHITE, look.eye), strict=True
            )
        ]
        nose = (
            _nose(x, y, direction),
            (int(0.8 * skin[0]), int(0.7 * skin[1]), int(0.7 * skin[2])),
        )
        # A face that is turned away hides its nose behind the ball.
        for where, colour in [nose, *parts] if direction[2] > 0 else [*parts, nose]:
            self._paint(window, where, colour, person.scale)
        if look.shade:
            self.colours[window] *= 1 - look.shade * (ball * (x**2 + y**2))[..., None]

    def _paint(self, window: Window, where: Where, colour: Colour, scale: float) -> None:
        self.colours[window][where] = colour
        self.scales[window][where] = scale

    def picture(self) -> UInt8[np.ndarray, "120 160 3"]:
        """What the camera of this style sees."""
        look = self.look
        small = cv2.resize(self.colours, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        if look.blur:
            small = cv2.GaussianBlur(small, (0, 0), look.blur)
        small *= look.light
        if look.grain:
            small += look.grain * self.draw.standard_normal(small.shape, np.float32)
        return np.asarray(small.clip(0, 255), np.uint8)

    def depth(self) -> UInt8[np.ndarray, "120 160"]:
        """0 the back wall, 255 the nearest."""
        small = cv2.resize(self.scales, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        return np.asarray((small - FARTHEST) / (small.max() - FARTHEST) * 255, np.uint8)


def _window(
    x: float, y: float, radius: float, below: float
) -> tuple[Window, Float[np.ndarray, "1 columns"], Float[np.ndarray, "rows 1"]]:
    """The pixels around a point, and how far right and down of it they lie, in radii.

    Args:
        x: of the point.
        y: of the point.
        radius: of what is drawn; the window reaches one and a half of it left, right and up.
        below: how many radii it reaches down.
    """
    unit = HEIGHT * _FINE
    spans = [
        slice(max(0, int(start * unit)), min(int(stop * unit) + 1, end))
        for start, stop, end in (
            (y - 1.5 * radius, y + below * radius, unit),
            (x - 1.5 * radius, x + 1.5 * radius, WIDTH * _FINE),
        )
    ]
    down, across = (
        ((np.arange(span.start, span.stop, dtype=np.float32) + 0.5) / unit - middle) / radius
        for span, middle in zip(spans, (y, x), strict=True)
    )
    return (spans[0], spans[1]), across[None, :], down[:, None]


def _nose(x: np.ndarray, y: np.ndarray, direction: Vector) -> Where:
    """A triangle towards where the face points, as long as it is seen from aside."""
    seen = math.hypot(direction[0], direction[1]) + 1e-9
    along = (x * direction[0] + y * direction[1]) / seen
    aside = abs(y * direction[0] - x * direction[1]) / seen
    return np.asarray((along > 0.6 * seen) & (aside < 0.45 * (1.4 * seen - along)))


def _features(x: np.ndarray, y: np.ndarray, direction: Vector) -> tuple[Where, Where, Where]:
    """Which pixels are hair, eyes and pupils, if they are of the ball.

    A pixel of the ball has a normal; what is there follows from the angles of the normal with the
    directions in which the face and its eyes look out of the ball.
    """
    towards = -np.sqrt(np.maximum(0, 1 - x**2 - y**2))

    def cosine(way: Vector) -> np.ndarray:
        return np.asarray(x * way[0] + y * way[1] + towards * way[2])

    side = np.cross(direction, (0.0, 1.0, 0.0))
    side /= np.linalg.norm(side) + 1e-9
    up = np.cross(direction, side)
    up *= -1 if up[1] > 0 else 1
    # 30 degrees to either side, and 14 up: of length 1.
    eyes = [cosine(0.83 * direction + 0.25 * up + sign * 0.5 * side) for sign in (-1, 1)]
    near = np.maximum(*eyes)
    return cosine(direction) < 0.1, near > 0.95, near > 0.985
