"""An episode as panels, one for each step and kind, and as one sheet of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from PIL import Image

from adaglimpse.drawing.pictures import Picture, blocks, outlined, received, stretched
from adaglimpse.drawing.sheet import GAP, LINE, blank, write

SMALLEST = 192
"""Pixels of a panel's longer side; smaller images are drawn as many whole times larger."""

_NAMES = 76  # pixels for the names of the rows


@dataclass(frozen=True)
class Story:
    """An episode of G glimpses, to be drawn.

    Attributes:
        image: as it was resized for the network.
        boxes: (y1, x1, y2, x2) of the patches of each glimpse, in pixels of the image.
        predictions: after 0 to G glimpses, of the image's size; None: there is no picture of it.
        captions: what to write below, after 0 to G glimpses.
        target: what should have been predicted, of the image's size; None: nothing to show.
    """

    image: Picture
    boxes: Int[np.ndarray, "G p 4"]
    predictions: tuple[Picture | None, ...]
    captions: tuple[str, ...]
    target: Picture | None = None

    def __post_init__(self) -> None:
        """Refuse steps that are not one more than glimpses.

        Raises:
            ValueError: says how many of each there are.
        """
        steps = len(self.boxes) + 1
        if not steps == len(self.predictions) == len(self.captions):
            raise ValueError(
                f"{len(self.boxes)} glimpses have {steps} steps, but there are "
                f"{len(self.predictions)} predictions and {len(self.captions)} captions"
            )

    @property
    def has_predictions(self) -> bool:
        """Whether there is a picture of any prediction."""
        return any(prediction is not None for prediction in self.predictions)

    def looked(self, step: int) -> Picture:
        """A panel of the image with its first glimpses."""
        return outlined(enlarged(self.image), self.boxes[:step] * _factor(self.image))

    def received(self, step: int) -> Picture:
        """A panel filled by the newest glimpse as the network gets it; black before the first."""
        panel = np.zeros_like(enlarged(self.image))
        if step > 0:
            side = min(panel.shape[:2])
            top, left = ((length - side) // 2 for length in panel.shape[:2])
            glimpse = received(self.image, self.boxes[step - 1])
            panel[top : top + side, left : left + side] = stretched(glimpse, side, side)
        return panel

    def seen(self, step: int) -> Picture:
        """A panel of what the first glimpses show."""
        return enlarged(blocks(self.image, self.boxes[:step].reshape(-1, 4)))

    def predicted(self, step: int) -> Picture:
        """A panel of the prediction; black where there is none."""
        prediction = self.predictions[step] if step >= 0 else None
        return enlarged(np.zeros_like(self.image) if prediction is None else prediction)


def panels(story: Story) -> list[dict[str, Picture]]:
    """The pictures of each step, from 0 glimpses on, by name, from top to bottom.

    `glimpses` is the image with what was looked at, `seen` what that shows; `prediction` and `target`
    are there where the story has any. All have one size: the image's, or whole times that.
    """
    columns = []
    for step in range(len(story.boxes) + 1):
        column = {"glimpses": story.looked(step), "seen": story.seen(step)}
        if story.has_predictions:
            column["prediction"] = story.predicted(step)
        if story.target is not None:
            column["target"] = enlarged(story.target)
        columns.append(column)
    return columns


def grid_picture(story: Story) -> Image.Image:
    """All steps side by side: a column each, with its caption below."""
    columns = panels(story)
    height, width = columns[0]["glimpses"].shape[:2]
    below = GAP + LINE + len(columns[0]) * (height + GAP)
    sheet = blank(_NAMES + GAP + len(columns) * (width + GAP), below + LINE)
    tops = [GAP + LINE + row * (height + GAP) for row in range(len(columns[0]))]
    for name, y in zip(columns[0], tops, strict=True):
        write(sheet, name, (GAP, y), _NAMES - GAP)
    for number, (column, caption) in enumerate(zip(columns, story.captions, strict=True)):
        x = _NAMES + GAP + number * (width + GAP)
        write(sheet, f"glimpse {number}" if number else "no glimpse", (x, GAP), width)
        for picture, y in zip(column.values(), tops, strict=True):
            sheet.paste(Image.fromarray(picture), (x, y))
        write(sheet, caption, (x, below - GAP // 2), width)
    return sheet


def enlarged(picture: Picture) -> Picture:
    """A picture as large as a panel."""
    factor = _factor(picture)
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _factor(picture: Picture) -> int:
    longer: int = max(picture.shape[:2])
    return math.ceil(SMALLEST / longer)
