"""Panoramas of five kinds: a still scene on the sphere, things that move in it, a camera that turns.

Colours are floats in 0..1 until a frame is finished. Whatever depends on longitude has a whole number
of periods around the sphere, so that a panorama has no edge at 180 degrees.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Float64

FINE = 2
"""Pixels are drawn this many times smaller, for smooth edges."""

Shape = Literal["disc", "diamond"]
Colour = Float64[np.ndarray, " 3"]
Across = Float64[np.ndarray, "1 w"]
Down = Float64[np.ndarray, "h 1"]
Picture = Float64[np.ndarray, "h w 3"]


@dataclass(frozen=True, kw_only=True)
class Mover:
    """Something that moves along its circle of latitude, and up and down; angles in radians.

    Attributes:
        longitude: where it begins.
        latitude: around which it moves.
        speed: along the circle, a second.
        bob: how far it moves up and down, once in eight seconds.
        radius: of what is drawn.
        softness: share of the radius in which its edge fades.
        colour: of its middle.
        shape: its outline.
    """

    longitude: float
    latitude: float
    speed: float
    bob: float
    radius: float
    softness: float
    colour: Colour
    shape: Shape = "disc"

    def paint(self, canvas: Picture, longitude: Across, latitude: Down, second: float) -> None:
        """Draw it as it is at a second."""
        up = latitude - self.latitude - self.bob * math.sin(2 * math.pi * second / 8)
        aside = longitude - self.longitude - self.speed * second
        across = ((aside + np.pi) % (2 * np.pi) - np.pi) * math.cos(self.latitude)
        rows = abs(up[:, 0]) < self.radius
        up = up[rows]
        distance = np.hypot(across, up) if self.shape == "disc" else abs(across) + abs(up)
        canvas[rows] = _mixed(
            canvas[rows], self.colour, (1 - distance / self.radius) / self.softness
        )


Drawn = tuple[Picture, tuple[Mover, ...]]
"""What does not move, at `FINE` times the size, and what does."""


@dataclass(frozen=True)
class Scene:
    """What a camera sees all around.

    Attributes:
        still: what does not move.
        movers: what does, from back to front.
        turn: of the camera, radians a second.
    """

    still: Picture
    movers: tuple[Mover, ...]
    turn: float

    def at(self, second: float) -> Float32[np.ndarray, "H W 3"]:
        """The panorama at a second; its middle column is the camera's front."""
        canvas = self.still.copy()
        height, width, _ = canvas.shape
        longitude, latitude = angles(height, width)
        for mover in self.movers:
            mover.paint(canvas, longitude, latitude, second)
        turned = np.roll(canvas, -round(self.turn * second / (2 * np.pi) * width), axis=1)
        fine = turned.reshape(height // FINE, FINE, width // FINE, FINE, 3)
        return np.asarray(fine.mean(axis=(1, 3)), np.float32)


def angles(height: int, width: int) -> tuple[Across, Down]:
    """Longitudes of the columns and latitudes of the rows, in radians."""
    longitude = (np.arange(width) + 0.5) / width * 2 * np.pi - np.pi
    latitude = np.pi / 2 - (np.arange(height) + 0.5) / height * np.pi
    return longitude[None, :], latitude[:, None]


def compose(look: str, height: int, width: int, draw: np.random.Generator) -> Scene:
    """A scene of one of the `LOOKS`.

    Args:
        look: its kind.
        height: pixels of a panorama.
        width: pixels of a panorama.
        draw: where everything random comes from.
    """
    longitude, latitude = angles(FINE * height, FINE * width)
    still, movers = LOOKS[look](longitude, latitude, draw)
    return Scene(still, movers, draw.uniform(0.01, 0.05) * draw.choice([-1, 1]))


def _cg(longitude: Across, latitude: Down, draw: np.random.Generator) -> Drawn:
    """Shapes in the air over a chequered floor: flat colours and long gradients."""
    hue = draw.uniform(0.58, 0.62)
    share = latitude / np.pi + 0.5 + 0 * longitude
    still = _mixed(_hue(hue, 0.8, 0.2), _hue(hue + 0.15, 0.4, 1.0), share)
    chequers = np.sin(8 * longitude + draw.uniform(0, 2 * np.pi)) * np.sin(9 * latitude)
    floor = _mixed(_hue(hue + 0.5, 0.4, 0.3), _hue(hue + 0.5, 0.3, 0.8), chequers > 0)
    still = _mixed(still, floor, latitude < -0.25)
    movers = tuple(
        _mover(draw, n / 4, (-0.3, 0.7), radius=(0.2, 0.45), shape="diamond", bob=0.1)
        for n in range(4)
    )
    return still, movers


def _landscape(longitude: Across, latitude: Down, draw: np.random.Generator) -> Drawn:
    """Three ranges of hills, grown over with what has fine detail, and a few balloons."""
    grain = _cells(draw.random((64, 128)), longitude, latitude)
    sky = _hue(0.58, 0.45, 0.75)
    still = _mixed(_hue(0.55, 0.12, 0.95), sky, np.sin(latitude) + 0 * longitude)
    for distance, (middle, reach) in enumerate(((0.35, 0.35), (0.05, 0.25), (-0.35, 0.2))):
        line = middle + reach * _ridge(longitude, draw, 2 + 2 * distance)
        hue = 0.45 - 0.1 * distance + draw.uniform(-0.03, 0.03)
        ground = _hue(hue, 0.2 + 0.2 * distance, 0.62 - 0.1 * distance)
        # Detail on a ground that is lit, dark enough and bright enough to be seen.
        still = _mixed(still, ground * (0.35 + 1.2 * grain[..., None]), latitude < line)
    movers = tuple(
        _mover(draw, n / 3, (0.45, 0.8), radius=(0.08, 0.12), speed=0.03, bob=0.04)
        for n in range(3)
    )
    return still, movers


def _sports(longitude: Across, latitude: Down, draw: np.random.Generator) -> Drawn:
    """Balls over a mown pitch with white lines, between stands full of people."""
    crowd = _cells(draw.random((64, 128, 3)), longitude, latitude)
    still = _mixed(_hue(0.6, 0.2, 0.8), _hue(0.6, 0.5, 0.5), np.sin(latitude) + 0 * longitude)
    still = _mixed(still, 0.15 + 0.7 * crowd, latitude < 0.4 + 0.05 * _ridge(longitude, draw, 4))
    green = draw.uniform(0.28, 0.38)
    mown = np.sin(10 * longitude + draw.uniform(0, 2 * np.pi)) > 0
    pitch = _mixed(_hue(green, 0.7, 0.4), _hue(green, 0.6, 0.6), mown & (latitude < 0))
    lines = (abs(latitude + 0.45) < 0.04) | (abs(np.sin(longitude)) < 0.05)
    still = _mixed(still, _mixed(pitch, np.full(3, 0.95), lines), latitude < -0.1)
    movers = tuple(
        _mover(draw, n / 9, (-0.6, 0.1), radius=(0.08, 0.15), speed=0.25, bob=0.2) for n in range(9)
    )
    return still, movers


def _shows(longitude: Across, latitude: Down, draw: np.random.Generator) -> Drawn:
    """Coloured lights in front of a dark curtain, over a lit stage and dark heads."""
    hue = draw.random()
    folds = 0.5 + 0.5 * np.cos(20 * longitude + draw.uniform(0, 2 * np.pi)) + 0 * latitude
    still = _mixed(_hue(hue, 0.8, 0.05), _hue(hue, 0.7, 0.25), folds)
    still = _mixed(still, _hue(hue + 0.4, 0.5, 0.45), np.exp(-(((latitude + 0.4) / 0.2) ** 2)))
    heads = -0.75 + 0.08 * _ridge(longitude, draw, 16)
    still = _mixed(still, np.full(3, 0.02), latitude < heads)
    movers = tuple(
        _mover(draw, n / 8, (-0.3, 0.6), radius=(0.3, 0.6), speed=0.1, bob=0.2, softness=1.0)
        for n in range(8)
    )
    return still, movers


def _cityscape(longitude: Across, latitude: Down, draw: np.random.Generator) -> Drawn:
    """Sixteen buildings with windows, some of them lit, and cars in the street."""
    count = 16
    place = (longitude / (2 * np.pi) + 0.5) * count
    number = place.astype(int)
    roofs = draw.uniform(0.2, 0.9, count)[number]
    walls = np.array([_hue(draw.uniform(0, 0.12), 0.3, v) for v in draw.uniform(0.35, 0.65, count)])
    floor = latitude * 9
    lit = draw.random((32, 2 * count))[
        np.floor(floor).astype(int) % 32, (2 * place).astype(int) % (2 * count)
    ]
    window = (abs((2 * place) % 1 - 0.5) < 0.3) & (abs(floor % 1 - 0.5) < 0.3)
    panes = _mixed(_hue(0.6, 0.4, 0.2), _hue(0.14, 0.4, 0.95), lit > 0.5)
    still = _mixed(_hue(0.6, 0.1, 0.9), _hue(0.6, 0.5, 0.7), np.sin(latitude) + 0 * longitude)
    houses = _mixed(walls[number] + 0 * still, panes, window)
    still = _mixed(still, houses, latitude < roofs)
    dashes = (abs(latitude + 0.6) < 0.04) & (np.sin(12 * longitude) > 0)
    street = _mixed(np.full(3, 0.3) + 0 * still, np.full(3, 0.9), dashes)
    still = _mixed(still, street, latitude < -0.2)
    movers = tuple(
        _mover(draw, n / 6, (-0.45, -0.3), radius=(0.08, 0.12), speed=0.2, bob=0.0)
        for n in range(6)
    )
    return still, movers


LOOKS: Mapping[str, Callable[[Across, Down, np.random.Generator], Drawn]] = {
    "CG": _cg,
    "Landscape": _landscape,
    "Sports": _sports,
    "Shows": _shows,
    "Cityscape": _cityscape,
}
"""How scenes of each category are drawn."""


def _hue(hue: float, saturation: float, value: float) -> Colour:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value))


def _mixed(
    one: Picture | Colour, other: Picture | Colour, share: Float[np.ndarray, "h w"]
) -> Picture:
    """From `one` to `other`, by a share that is cut to 0..1."""
    part = np.clip(share, 0, 1)[..., None]
    return np.asarray(one + part * (other - one))


def _ridge(longitude: Across, draw: np.random.Generator, lowest: int) -> Across:
    """A curve around the sphere, in -1..1: four waves, from `lowest` periods on."""
    waves = [np.cos((lowest + k) * longitude + draw.uniform(0, 2 * np.pi)) for k in range(4)]
    return np.asarray(np.mean(waves, axis=0))


def _cells(
    table: Float64[np.ndarray, "rows columns *c"], longitude: Across, latitude: Down
) -> Float64[np.ndarray, "h w *c"]:
    """A table as a mosaic over the whole sphere."""
    rows, columns = table.shape[:2]
    row = ((0.5 - latitude / np.pi) * rows).astype(int)
    column = ((longitude / (2 * np.pi) + 0.5) * columns).astype(int)
    return np.asarray(table[row, column])


def _mover(
    draw: np.random.Generator,
    share: float,
    latitudes: tuple[float, float],
    *,
    radius: tuple[float, float],
    bob: float,
    speed: float = 0.05,
    softness: float = 0.2,
    shape: Shape = "disc",
) -> Mover:
    """Something bright at about a share of the way around the sphere, between two latitudes."""
    return Mover(
        longitude=2 * math.pi * (share + draw.uniform(0, 0.1)),
        latitude=draw.uniform(*latitudes),
        speed=speed * draw.uniform(-1, 1),
        bob=bob * draw.uniform(-1, 1),
        radius=draw.uniform(*radius),
        softness=softness,
        colour=_hue(draw.random(), 0.6, 0.95),
        shape=shape,
    )
