"""Embedded data: drawn people who look at things around them, in two styles of drawing.

A small stand-in for GazeFollow in its published layout, so that every command can be tried without a
data set. Who looks where is drawn in space: a head is a ball whose face is turned to what its person
looks at, so that the head tells a direction, and which of the things lies there is for the picture
and its depth to tell. Things lie everywhere alike: where they are on average tells next to nothing.

Both styles show scenes of one kind. One is flat and bright; the other is dark, blurred and grainy,
with a pattern on its walls and other colours of skin, hair and things.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from gaze_da.data.gazefollow import annotations_path, depth_name
from gaze_da.data.samples import Split
from gaze_da.method.boxes import Box, Point
from shared_core.data.faces import cv2

HEIGHT, WIDTH = 120, 160
"""Pixels of every picture. Lengths below are fractions of the height, unless said otherwise."""

ASPECT = WIDTH / HEIGHT

HORIZON, CAMERA_HEIGHT = 0.25, 0.75
"""Row of the horizon, and of the floor below it where the scale is 1."""

FARTHEST, NEAREST = 0.5, 1.0
"""Scale at which things are seen, 1 / distance: of the back wall, and of what is nearest."""

OUTSIDE_SHARE = 0.2
"""Of the people in training pictures, how many look out of the picture."""

ANNOTATORS = (6, 10)
"""Least and most annotators of a person in the test set."""

FOLDERS: Mapping[Split, str] = {"train": "train", "test": "test2"}

Style = Literal["flat", "grainy"]
Shape = Literal["disc", "square", "diamond"]
Vector = Float[np.ndarray, " 3"]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Thing:
    """Something that can be looked at.

    Attributes:
        x: its middle, from the left.
        y: its middle, from the top.
        scale: at which it is seen, 1 / distance.
        shape: its outline; its radius is `RADIUS` at scale 1.
    """

    RADIUS = 0.085

    x: float
    y: float
    scale: float
    shape: Shape

    @property
    def box(self) -> Box:
        """What it covers."""
        return _around(self.x, self.y, self.RADIUS * self.scale)


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

    RADIUS = 0.15

    x: float
    y: float
    scale: float
    direction: Vector
    target: Point | None

    @property
    def radius(self) -> float:
        """Of the head."""
        return self.RADIUS * self.scale

    @property
    def head(self) -> Box:
        """What the head covers, with its nose."""
        return _around(self.x, self.y, 1.15 * self.radius)


@dataclass(frozen=True)
class Scene:
    """Who and what is where, whatever the style."""

    people: tuple[Person, ...]
    things: tuple[Thing, ...]


def compose(draw: np.random.Generator, outside: float = OUTSIDE_SHARE) -> Scene:
    """A scene of one to three people and up to seven things, of which none hides another's middle.

    Args:
        draw: where everything random comes from.
        outside: share of the people who look out of the picture.
    """
    taken: list[Box] = []
    places = [_place_person(draw, taken) for _ in range(draw.integers(1, 4))]
    found = [_place_thing(draw, taken) for _ in range(draw.integers(3, 7))]
    things = tuple(thing for thing in found if thing is not None)
    people = []
    for place in places:
        if place is None:
            continue
        head = _in_space(*place)
        if not things or draw.random() < outside:
            aim, target = _outside(draw, head, things), None
        else:
            thing = things[draw.integers(len(things))]
            aim = _in_space(thing.x, thing.y, thing.scale) - head
            target = (thing.x / ASPECT, thing.y)
        people.append(Person(*place, direction=aim / np.linalg.norm(aim), target=target))
    return Scene(tuple(people), things)


def _place_person(draw: np.random.Generator, taken: list[Box]) -> tuple[float, float, float] | None:
    for _ in range(30):
        scale = draw.uniform(0.6, NEAREST)
        radius = Person.RADIUS * scale
        x = draw.uniform(1.2 * radius, ASPECT - 1.2 * radius)
        y = draw.uniform(1.2 * radius, 0.65)
        bottom = _feet(y, scale)
        if _is_free((x - 1.4 * radius, y - 1.2 * radius, x + 1.4 * radius, bottom), taken):
            return x, y, scale
    return None


def _place_thing(draw: np.random.Generator, taken: list[Box]) -> Thing | None:
    for _ in range(30):
        y = draw.uniform(0.08, 0.92)
        # Not below the floor: what is low in the picture is near.
        scale = draw.uniform(max(FARTHEST, (y - HORIZON) / CAMERA_HEIGHT), NEAREST)
        radius = Thing.RADIUS * scale
        x = draw.uniform(radius, ASPECT - radius)
        shape: Shape = ("disc", "square", "diamond")[draw.integers(3)]
        thing = Thing(x, y, scale, shape)
        if _is_free(thing.box, taken):
            return thing
    return None


def _is_free(box: Box, taken: list[Box]) -> bool:
    """Whether a box touches no other; it is taken then."""
    free = all(box[2] < x0 or box[0] > x1 or box[3] < y0 or box[1] > y1 for x0, y0, x1, y1 in taken)
    if free:
        taken.append(box)
    return free


def _outside(draw: np.random.Generator, head: Vector, things: tuple[Thing, ...]) -> Vector:
    """A way that leads out of the picture, as far from all things as twenty draws find one."""
    ways = []
    for _ in range(20):
        angle, reach = draw.uniform(0, 2 * math.pi), draw.uniform(1.0, 1.6)
        x, y = ASPECT * (0.5 + reach * math.cos(angle)), 0.5 + reach * math.sin(angle)
        way = _in_space(x, y, draw.uniform(FARTHEST, NEAREST)) - head
        ways.append(way / np.linalg.norm(way))

    def nearest(way: Vector) -> float:
        aims = (_in_space(thing.x, thing.y, thing.scale) - head for thing in things)
        return max((float(way @ aim / np.linalg.norm(aim)) for aim in aims), default=-1.0)

    return min(ways, key=nearest)


def _in_space(x: float, y: float, scale: float) -> Vector:
    """Right, down and away from the camera, which looks along the horizon."""
    return np.array([x - ASPECT / 2, y - HORIZON, 1.0]) / scale


def _feet(y: float, scale: float) -> float:
    return min(1.0, max(HORIZON + CAMERA_HEIGHT * scale, y + 3 * Person.RADIUS * scale))


def _around(x: float, y: float, radius: float) -> Box:
    return (x - radius, y - radius, x + radius, y + radius)


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


def render(
    scene: Scene, style: Style, draw: np.random.Generator
) -> tuple[UInt8[np.ndarray, "120 160 3"], UInt8[np.ndarray, "120 160"]]:
    """Picture (RGB) and depth (0 the back wall, 255 the nearest) of a scene.

    Args:
        scene: who and what is where.
        style: how it is drawn.
        draw: where colours and noise come from.
    """
    canvas = _Canvas(LOOKS[style], draw)
    for item in sorted((*scene.people, *scene.things), key=lambda item: item.scale):
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
        rows = (np.arange(height, dtype=np.float32) + 0.5) / height
        floor = (rows - HORIZON) / CAMERA_HEIGHT
        self.scales = np.repeat(np.maximum(FARTHEST, floor)[:, None], width, axis=1)
        is_floor = (floor > FARTHEST)[:, None, None]
        ground = np.where(is_floor, self._one_of(look.floors), self._one_of(look.walls))
        self.colours = np.repeat(ground.astype(np.float32), width, axis=1)
        if look.pattern:
            self.colours *= 1 + look.pattern * self._pattern(height, width)[..., None]

    def _one_of(self, colours: tuple[Colour, ...]) -> Float[np.ndarray, " 3"]:
        return np.asarray(colours[self.draw.integers(len(colours))], np.float32)

    def _pattern(self, height: int, width: int) -> Float[np.ndarray, "height width"]:
        """Blotches and stripes, around 0."""
        blotches = cv2.resize(self.draw.random((9, 12), np.float32) * 2 - 1, (width, height))
        slope, pitch = self.draw.uniform(-1, 1), self.draw.uniform(0.25, 0.5)
        across = np.arange(width) + slope * np.arange(height)[:, None]
        return np.asarray(0.6 * blotches + 0.4 * np.sin(pitch * across), np.float32)

    def thing(self, thing: Thing) -> None:
        """Draw a thing, in one colour."""
        window, x, y = self._window(thing.x, thing.y, thing.RADIUS * thing.scale, 1.0)
        outline = {
            "disc": x**2 + y**2 < 1,
            "square": np.maximum(abs(x), abs(y)) < 0.9,
            "diamond": abs(x) + abs(y) < 1,
        }[thing.shape]
        self._paint(window, outline, self._one_of(self.look.things), thing.scale)

    def person(self, person: Person) -> None:
        """Draw a body below a head: a ball with hair behind, and a nose and eyes in front."""
        look, radius = self.look, person.radius
        below = (_feet(person.y, person.scale) - person.y) / radius
        window, x, y = self._window(person.x, person.y, radius, below)
        shoulders = np.minimum(1.3, 0.5 + 0.8 * (y - 0.8))
        body = (y > 0.8) & (y < below) & (abs(x) < shoulders)
        self._paint(window, body, self._one_of(look.clothes), person.scale)

        skin, hair = self._one_of(look.skins), self._one_of(look.hairs)
        window, x, y = self._window(person.x, person.y, radius, 1.5)
        nose = _nose(x, y, person.direction)
        if person.direction[2] > 0:  # behind the ball
            self._paint(window, nose, 0.8 * skin, person.scale)
        ball, faces = _face(x, y, person.direction)
        light = 1 - look.shade * (x**2 + y**2)[..., None].clip(0, 1)
        colours = np.where(faces["hair"][..., None], hair, skin) * light
        for part, colour in (("eyes", np.array((255, 255, 255))), ("pupils", np.array(look.eye))):
            colours = np.where(faces[part][..., None], colour, colours)
        self._paint(window, ball, colours[ball], person.scale)
        if person.direction[2] <= 0:
            self._paint(window, nose, 0.8 * skin, person.scale)

    def _window(
        self, x: float, y: float, radius: float, below: float
    ) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
        """The pixels around a point, and how far right and down of it they lie, in radii."""
        unit = HEIGHT * _FINE
        reach = max(1.5 * radius, 0)
        left, right = max(0, int((x - reach) * unit)), int((x + reach) * unit) + 1
        top, bottom = max(0, int((y - reach) * unit)), int((y + max(1, below) * radius) * unit) + 1
        window = (slice(top, min(bottom, unit)), slice(left, min(right, WIDTH * _FINE)))
        across = (np.arange(left, window[1].stop) + 0.5) / unit - x
        down = (np.arange(top, window[0].stop) + 0.5) / unit - y
        return window, across[None, :] / radius, down[:, None] / radius

    def _paint(
        self,
        window: tuple[slice, slice],
        where: Bool[np.ndarray, "rows columns"],
        colours: np.ndarray,
        scale: float,
    ) -> None:
        self.colours[window][where] = colours
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


def _nose(x: np.ndarray, y: np.ndarray, direction: Vector) -> Bool[np.ndarray, "rows columns"]:
    """A triangle from the ball's outline to where the face points, as long as it is seen from aside."""
    along = x * direction[0] + y * direction[1]
    seen = math.hypot(direction[0], direction[1])
    aside = abs(y * direction[0] - x * direction[1])
    along, aside = along / seen, aside / seen
    return np.asarray((along > 0) & (aside < 0.5 * (1.4 * seen - along)))


def _face(
    x: np.ndarray, y: np.ndarray, direction: Vector
) -> tuple[Bool[np.ndarray, "rows columns"], dict[str, Bool[np.ndarray, "rows columns"]]]:
    """The ball, and which of its pixels are hair, eyes and pupils.

    Every pixel of the ball has a normal; what is there depends on the angles between the normal and
    the directions of the face and of its eyes.
    """
    square = x**2 + y**2
    ball = square < 1
    away = -np.sqrt(np.maximum(0, 1 - square))

    def cosine(way: Vector) -> np.ndarray:
        return np.asarray(x * way[0] + y * way[1] + away * way[2])

    side = np.cross(direction, (0.0, 1.0, 0.0))
    side /= np.linalg.norm(side) + 1e-9
    up = np.cross(side, direction)
    up *= -np.sign(up[1]) if up[1] else 1.0
    forward = 0.83 * direction + 0.25 * up
    eyes = [cosine((forward + sign * 0.5 * side) / 1.0) for sign in (-1, 1)]
    return ball, {
        "hair": cosine(direction) < 0.1,
        "eyes": np.maximum(*eyes) > 0.95,
        "pupils": np.maximum(*eyes) > 0.985,
    }


def write_domain(root: Path, style: Style, pictures: Mapping[Split, int], seed: int = 0) -> None:
    """Write a data set in GazeFollow's published layout (spec 2.2), with depth.

    A picture depends on seed, style, split and its number alone.

    Args:
        root: folder to write.
        style: how it is drawn.
        pictures: how many in each split. In the training set a row is a person as one annotator
            sees it; in the test set nobody looks outside, and each person has several rows.
        seed: key of everything random.
    """
    with ThreadPoolExecutor(2) as threads:
        for split, count in pictures.items():
            rows = threads.map(lambda n: _write_picture(root, style, split, n, seed), range(count))
            text = "".join(row + "\n" for of_picture in rows for row in of_picture)
            annotations_path(root, split).write_text(text, encoding="utf-8")


def _write_picture(root: Path, style: Style, split: Split, number: int, seed: int) -> list[str]:
    """Write a picture and its depth; gives its rows of annotations."""
    key = (seed, list(LOOKS).index(style), list(FOLDERS).index(split), number)
    draw = np.random.default_rng(key)
    scene = compose(draw, OUTSIDE_SHARE if split == "train" else 0.0)
    picture, depth = render(scene, style, draw)
    name = f"{FOLDERS[split]}/{number // 1000:08d}/{number:08d}.jpg"
    for place, pixels in ((name, picture), (depth_name(name), depth)):
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=92)
    return [
        row
        for who, person in enumerate(scene.people)
        for row in _rows(name, who, person, split, draw)
    ]


def _rows(
    name: str, who: int, person: Person, split: Split, draw: np.random.Generator
) -> Iterator[str]:
    """What the annotators say of a person, each a little beside the target."""
    x0, y0, x1, y1 = (value * HEIGHT for value in person.head)
    feet = _feet(person.y, person.scale) * HEIGHT
    body = (x0, y0, x1 - x0, feet - y0)
    eye = (person.x / ASPECT, person.y)
    annotators = 1 if split == "train" else draw.integers(ANNOTATORS[0], ANNOTATORS[1] + 1)
    for _ in range(annotators):
        gaze: Point = (-1.0, -1.0)
        if person.target is not None:
            gaze = tuple((person.target + draw.normal(0, 0.015, 2)).clip(0, 1))
        numbers = (*body, *eye, *gaze, x0, y0, x1, y1)
        inout = [int(person.target is not None)] if split == "train" else []
        yield ",".join(
            map(str, (name, who, *(f"{n:.5f}" for n in numbers), *inout, "drawn", "none"))
        )
