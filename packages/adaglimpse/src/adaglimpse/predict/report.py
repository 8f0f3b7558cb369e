"""The page about all images of a command: the first of them as pictures, and what holds for all."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from adaglimpse.config import GlimpseModelConfig
from adaglimpse.method.glimpses import pixel_share
from adaglimpse.model.card import untaught
from adaglimpse.predict.prediction import Prediction
from shared_core.data.images import open_picture
from shared_core.errors import UserError
from shared_core.reporting.page import MEDIA_TYPES, Page

SHOWN = 24
"""Images with a section of their own."""

LARGEST = 1600
"""Pixels of the longer side of a picture in the page, so that a page of many opens."""

_KINDS = {
    "picture": "all steps, full size",
    "gif": "animation (GIF)",
    "mp4": "animation (MP4)",
    "mask": "class of each pixel",
}


class Report:
    """A page that grows with each image.

    Args:
        checkpoint: the model, as the user named it.
        config: of the model.
    """

    def __init__(self, checkpoint: str, config: GlimpseModelConfig) -> None:
        self.note = untaught(config)
        self._config = config
        self._page = Page("Images seen through glimpses", checkpoint)
        if self.note is not None:
            self._page.section("Mind").note(self.note, warning=True)
        self._all = self._page.section("All images")
        self._steps: list[int] = []
        self._seconds: list[float] = []
        self._scores: list[float] = []
        self._failures: list[tuple[Path, UserError]] = []

    @property
    def count(self) -> int:
        """Images so far."""
        return len(self._steps)

    def add(self, prediction: Prediction, name: str, files: Mapping[str, str], out: Path) -> None:
        """Count an image, and show it if it is among the first.

        Args:
            prediction: of the image.
            name: of its section.
            files: names of what was written about it, see `writing.write_pictures`.
            out: where these lie, and the page will.
        """
        self._steps.append(prediction.steps)
        self._seconds.extend(prediction.seconds.tolist())
        self._scores.append(float(prediction.scores[-1]))
        if self.count > SHOWN:
            return
        section = self._page.section(name)
        section.text(f"After {prediction.steps} glimpses: {prediction.caption(prediction.steps)}")
        if "picture" in files:
            picture = _reduced(out / files["picture"])
            section.picture(picture, MEDIA_TYPES[".webp"], alt=f"the glimpses of {name}")
        for kind, file in files.items():
            section.link(_KINDS[kind], file)
        if self._config.task == "classification":
            section.table(["class", "probability"], prediction.classes(prediction.steps))

    def failure(self, path: Path, error: UserError) -> None:
        """Note a file that cannot be used."""
        self._failures.append((path, error))

    def write(self, path: Path) -> Path:
        """Write the page.

        Raises:
            DataError: it cannot be written.
        """
        self._all.key_values(self._summary())
        self._all.link("boxes, actions, answers and times of each image", "predictions.jsonl")
        if self.count > SHOWN:
            self._all.text(f"The first {SHOWN} of them follow.")
        if self._failures:
            self._page.section("Not looked at").table(
                ["file", "why"], [[str(file), str(error)] for file, error in self._failures]
            )
        return self._page.write(path)

    def _summary(self) -> dict[str, object]:
        """What holds for all images."""
        if not self.count:
            return {"images": 0}
        config, steps = self._config, float(np.mean(self._steps))
        told: dict[str, object] = {
            "images": self.count,
            "glimpses, mean": steps,
            "pixels looked at, share of the image's": pixel_share(
                1, config.glimpse_grid_size, config.image_size
            )
            * steps,
            "milliseconds a step, median": 1000 * float(np.median(self._seconds)),
        }
        if config.task == "reconstruction":
            told["RMSE in levels, mean of the images"] = -float(np.mean(self._scores))
        return told


def _reduced(path: Path) -> bytes:
    """A picture as the page shows it."""
    picture = open_picture(path)
    picture.thumbnail((LARGEST, LARGEST))
    content = io.BytesIO()
    picture.save(content, "WEBP", quality=85)
    return content.getvalue()
