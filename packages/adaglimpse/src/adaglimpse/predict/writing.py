"""The files about an image: its glimpses as a picture, panel by panel, as an animation, and its label map."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path

from PIL import Image

from adaglimpse.config import PredictConfig
from adaglimpse.drawing import (
    Story,
    animation,
    coloured,
    grid_picture,
    panels,
    write_gif,
    write_mp4,
)
from adaglimpse.drawing.pictures import Picture
from adaglimpse.predict.prediction import Prediction
from shared_core.data.atomic import replacing

_ENDING = re.compile(r"(-mask|_\d+_\d+)$")  # of the second file of an image, and of its panels


class Names:
    """Names of the files of images: no two images write the same files."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._roots: set[str] = set()

    def new(self, wanted: str) -> str:
        """The name that is wanted; one with a number where its files are those of an earlier one."""
        numbered = (f"{wanted}-{number}" for number in count(2))
        name = wanted
        while name in self._taken | self._roots or _root(name) in self._taken:
            name = next(numbered)
        self._taken.add(name)
        if (root := _root(name)) is not None:
            self._roots.add(root)
        return name


def _root(name: str) -> str | None:
    """The image whose file this name could be; None for a name that only an image has."""
    root = _ENDING.sub("", name)
    return None if root == name else root


def story_of(prediction: Prediction) -> Story:
    """A prediction, to be drawn."""
    config, steps = prediction.config, range(prediction.steps + 1)
    drawn: tuple[Picture | None, ...] = tuple(prediction.answers)
    if config.task == "classification":
        drawn = (None,) * len(steps)
    elif config.task == "segmentation":
        drawn = tuple(coloured(answer, config.num_classes) for answer in prediction.answers)
    return Story(
        image=prediction.image,
        boxes=prediction.boxes,
        predictions=drawn,
        captions=tuple(prediction.caption(step) for step in steps),
    )


def write_pictures(prediction: Prediction, config: PredictConfig, name: str) -> dict[str, str]:
    """Write what was asked for.

    Args:
        prediction: of an image.
        config: says what.
        name: of the files.

    Returns:
        Names of the files by what they are: `picture`, `gif`, `mp4`, and `mask`, the class of each pixel
        after the last glimpse.

    Raises:
        DataError: a file cannot be written.
    """
    files: dict[str, str] = {}
    story = story_of(prediction)
    if config.pictures:
        files["picture"] = f"{name}.png"
        write_png(config.out / files["picture"], grid_picture(story))
    if config.save_all:
        for column, pictures in enumerate(panels(story)):
            for row, picture in enumerate(pictures.values()):
                path = config.out / f"{name}_{column}_{row}.png"
                write_png(path, Image.fromarray(picture))
    if config.animate:
        files |= {"gif": f"{name}.gif", "mp4": f"{name}.mp4"}
        write_gif(config.out / files["gif"], animation(story))
        write_mp4(config.out / files["mp4"], animation(story))
    if prediction.config.task == "segmentation":
        files["mask"] = f"{name}-mask.png"
        write_png(config.out / files["mask"], Image.fromarray(prediction.answers[-1]))
    return files


def write_png(path: Path, picture: Image.Image) -> None:
    """Write a picture, whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    with replacing(path) as partial:
        picture.save(partial, "PNG")
