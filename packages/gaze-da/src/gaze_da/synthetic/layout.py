"""Drawn pictures as a data set in GazeFollow's published layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from gaze_da.data.gazefollow import annotations_path, depth_name
from gaze_da.data.samples import Split
from gaze_da.synthetic.drawing import LOOKS, Style, render
from gaze_da.synthetic.scenes import ASPECT, HEIGHT, OUTSIDE_SHARE, Person, compose

FOLDERS: Mapping[Split, str] = {"train": "train", "test": "test2"}

ANNOTATORS = (6, 10)
"""Least and most annotators of a person in the test set."""

SCATTER = 0.015
"""Deviation of what annotators say from the middle of the target, as a fraction of the picture."""


def write_domain(root: Path, style: Style, pictures: Mapping[Split, int], seed: int = 0) -> None:
    """Write a data set of one style, with depth; a picture depends on seed, style, split and number.

    Args:
        root: folder to write.
        style: how it is drawn.
        pictures: how many in each split. In the training set each person is annotated once; in the
            test set by several, and nobody looks outside.
        seed: key of everything random.
    """
    for split, count in pictures.items():
        rows = [row for n in range(count) for row in _write_picture(root, style, split, n, seed)]
        path = annotations_path(root, split)
        path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def _write_picture(root: Path, style: Style, split: Split, number: int, seed: int) -> list[str]:
    """Write a picture and its depth; gives its rows of annotations."""
    draw = np.random.default_rng((seed, [*LOOKS].index(style), [*FOLDERS].index(split), number))
    scene = compose(draw, OUTSIDE_SHARE if split == "train" else 0.0)
    picture, depth = render(scene, style, draw)
    name = f"{FOLDERS[split]}/{number // 1000:08d}/{number:08d}.jpg"
    for place, pixels in ((name, picture), (depth_name(name), depth)):
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=92)
    people = enumerate(scene.people)
    return [row for who, person in people for row in _rows(name, who, person, split, draw)]


def _rows(
    name: str, who: int, person: Person, split: Split, draw: np.random.Generator
) -> Iterator[str]:
    """What the annotators say of a person, each a little beside the target."""
    x0, y0, x1, y1 = person.head_px
    body = (x0, y0, x1 - x0, person.feet * HEIGHT - y0)
    eye = (person.x / ASPECT, person.y)
    for _ in range(1 if split == "train" else draw.integers(*ANNOTATORS, endpoint=True)):
        gaze = np.array((-1.0, -1.0))
        if person.target is not None:
            gaze = draw.normal(person.target, SCATTER).clip(0, 1)
        numbers = (f"{value:.5f}" for value in (*body, *eye, *gaze, x0, y0, x1, y1))
        inside = [str(int(person.target is not None))] if split == "train" else []
        yield ",".join((name, str(who), *numbers, *inside, "drawn", "none"))
