"""Training rows as trl takes them: prompts and pictures, made when a row's turn comes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from PIL import Image

from refine_iqa.config import MediaSettings
from refine_iqa.data import prompts
from refine_iqa.data.pictures import Picture, read_picture
from refine_iqa.data.rows import Row
from refine_iqa.data.video import FrameOptions, read_frames
from refine_iqa.perception.boxes import Said, perceived, question_of
from shared_core.data.quarantine import Quarantine
from shared_core.errors import DataError

_log = logging.getLogger(__name__)


class TrainingRows:
    """Decodes rows when their turn comes, each once for all completions of its group.

    A row whose media cannot be read is raised, or, under quarantine, becomes a blank picture with
    `unreadable` set: the trainer learns nothing from it.

    Args:
        rows: the table's.
        settings: sizes and frames.
        factor: what the sides of a picture are multiples of.
        boxes: the numbers in which the model says a box.
        quarantine: what happens to media that cannot be read.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        settings: MediaSettings,
        *,
        factor: int,
        boxes: Said,
        quarantine: Quarantine,
    ) -> None:
        self._rows = rows
        self._settings = settings
        self._factor = factor
        self._frames = FrameOptions.of(settings, factor)
        self._templates = prompts.Templates.of(settings)
        self._boxes = boxes
        self._quarantine = quarantine
        self._latest: dict[int, dict[str, Any]] = {}

    def dataset(self) -> Dataset:
        """The rows' numbers, which become prompts and pictures when they are asked for."""
        return Dataset.from_dict({"row": list(range(len(self._rows)))}).with_transform(self)

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        """The columns of a batch; the copies of a row share one object.

        The latest batch is kept, for trl loads it again for every micro-batch that it generated for.
        """
        wanted = dict.fromkeys(batch["row"])
        self._latest = {row: self._latest.get(row) or self._example(row) for row in wanted}
        examples = [self._latest[row] for row in batch["row"]]
        return {name: [example[name] for example in examples] for name in examples[0]}

    def _example(self, number: int) -> dict[str, Any]:
        row = self._rows[number]
        try:
            pictures, times_s = self._media(row)
            unreadable = False
        except DataError as error:
            self._quarantine.bad(error, of=len(self._rows))
            _log.warning("%s is left out: %s", row.where, error)
            blank = Picture.of(Image.new("RGB", (2 * self._factor, 2 * self._factor)))
            pictures, times_s, unreadable = (blank,), (), True
        scoring = row.task == "scoring"
        template = self._templates.think if scoring else prompts.PERCEPTION_TEMPLATE
        plainly = self._templates.no_think
        question = question_of(row, self._boxes)
        return {
            "row": number,
            "prompt": _prompt(template, question, len(pictures), times_s),
            "no_think": _prompt(plainly, question, len(pictures), times_s),
            "images": list(pictures),
            "task": row.task,
            "solution": row.solution if scoring else perceived(row, pictures[0].size, self._boxes),
            "unreadable": unreadable,
        }

    def _media(self, row: Row) -> tuple[tuple[Picture, ...], tuple[float, ...]]:
        if row.is_video:
            frames = read_frames(row.media[0], self._frames, cache=self._settings.frame_cache)
            return frames.pictures, frames.times_s
        sizes = {"min_pixels": self._settings.min_pixels, "max_pixels": self._settings.max_pixels}
        return tuple(read_picture(path, factor=self._factor, **sizes) for path in row.media), ()


def _prompt(
    template: str, question: str, pictures: int, times_s: Sequence[float]
) -> list[dict[str, Any]]:
    text = prompts.fill(template, question)
    return prompts.messages(text, pictures=pictures, times_s=times_s)
