"""Training rows as trl takes them: prompts and pictures, made when a row's turn comes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Fault:
    """A `DataError` as plain values: unpickling one would call its class with its message alone."""

    message: str
    fields: dict[str, Any]

    def revived(self) -> DataError:
        error = DataError.__new__(DataError, self.message)
        vars(error).update(self.fields)
        return error


class TrainingRows:
    """Decodes rows when their turn comes, each once for all completions of its group.

    A row whose media cannot be read becomes a blank picture with `unreadable` set, and why in `error`: the
    process that trains passes its examples to `refuse`, and learns nothing from those it does not raise.

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

    def refuse(self, examples: Iterable[Mapping[str, Any]]) -> None:
        """Raise, or list, the rows that could not be read; each once for all its completions.

        For the process that trains: what a loader process lists is lost with it, and what it raises is no
        error of the data any more.

        Args:
            examples: of a batch, as the data set has given them.

        Raises:
            DataError: a row cannot be read, or under quarantine, too many of them.
        """
        unread = {example["row"]: example["error"] for example in examples if example["unreadable"]}
        for number, fault in unread.items():
            error = fault.revived()
            self._quarantine.bad(error, of=len(self._rows))
            _log.warning("%s is left out: %s", self._rows[number].where, error)

    def _example(self, number: int) -> dict[str, Any]:
        row = self._rows[number]
        try:
            pictures, times_s = self._media(row)
            fault = None
        except DataError as error:
            blank = Picture.of(Image.new("RGB", (2 * self._factor, 2 * self._factor)))
            pictures, times_s, fault = (blank,), (), _Fault(str(error), vars(error))
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
            "unreadable": fault is not None,
            "error": fault,
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
