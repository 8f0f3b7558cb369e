"""What an evaluation found: for each image and each number of glimpses, sums that everything follows from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from adaglimpse.config import Task
from adaglimpse.data.items import denormalised
from adaglimpse.method.tasks import Target
from shared_core.data.loader import generator
from shared_core.metrics import MeanScore, Measure, bootstrap
from shared_core.metrics.intervals import Resampled
from shared_core.metrics.reconstruction import PixelScore, root_mean, squared_errors
from shared_core.metrics.segmentation import ClassCounts, ConfusionScore, confusion_matrices

LEADING: dict[Task, str] = {
    "reconstruction": "rmse",
    "classification": "accuracy",
    "segmentation": "mean_accuracy",
}
"""The measure of each task that chooses a checkpoint, and that is plotted."""

_SEEN, _USED = 0, 1
_OWN = 2  # columns before those of the task


def columns(task: Task, classes: int) -> int:
    """Numbers that are kept of an image at a step."""
    return _OWN + (3 * classes if task == "segmentation" else 2)


def row_of(
    task: Task, classes: int, prediction: Tensor, target: Target, seen: Tensor, step: int
) -> Float64[Tensor, "n columns"]:
    """Those numbers, for images after some glimpses.

    Args:
        task: of the predictions.
        classes: of the task.
        prediction: of each image.
        target: of each image.
        seen: share of the image's pixels inside any glimpse [n].
        step: glimpses so far.
    """
    found: Tensor
    if task == "reconstruction":
        found = squared_errors(denormalised(prediction), denormalised(target.images))
    elif task == "classification":
        right = prediction.argmax(dim=1) == target.labels
        found = torch.stack((torch.ones_like(right), right), dim=1)
    else:
        confusion = confusion_matrices(prediction.argmax(dim=1), target.masks, classes)
        found = ClassCounts.of(confusion).values.flatten(1)
    used = torch.full_like(seen, step)
    return torch.cat((torch.stack((seen, used), dim=1), found), dim=1).double()


@dataclass(frozen=True)
class Judged:
    """An evaluation of n images by one policy.

    Attributes:
        task: of the model.
        table: a row of `row_of` for each image and step, from no glimpse to the last; an image that
            stopped keeps its last row; NaN where no prediction was made.
    """

    task: Task
    table: Float64[np.ndarray, "n steps columns"]

    @classmethod
    def of(cls, task: Task, table: Float64[np.ndarray, "n steps columns"]) -> Judged:
        """What a table of `evaluate.judge` holds, without the images that could not be used."""
        return cls(task, table[~np.isnan(table[:, -1, 0])])

    @property
    def glimpses(self) -> int:
        """Of an episode."""
        return len(self.table[0]) - 1

    def at(self, step: int) -> Float64[Tensor, "n columns"]:
        """What the task's measures follow from, after so many glimpses."""
        return torch.from_numpy(self.table[:, step, _OWN:])

    def seen(self, step: int) -> float:
        """Mean share of an image's pixels that lie in a glimpse."""
        return float(self.table[:, step, _SEEN].mean())

    def used(self) -> float:
        """Mean number of glimpses of an image, until it stopped."""
        return float(self.table[:, -1, _USED].mean())

    def score(self, step: int) -> Resampled:
        """The leading measure, for a bootstrap over images."""
        found = self.at(step)
        if self.task == "reconstruction":
            return PixelScore(found)
        if self.task == "classification":
            return MeanScore(found[:, 1], noun="images")
        return ConfusionScore(self._counts(step), ClassCounts.mean_accuracy)

    def measures(
        self, step: int, seed: int | None = None, *, compat: bool = False
    ) -> dict[str, Measure]:
        """All measures after so many glimpses, the leading one first.

        Args:
            step: glimpses.
            seed: key of the bootstrap of intervals; None: none are made.
            compat: segmentation without a labelled pixel as the authors' library has it.
        """
        found = self._values(step, compat)
        if seed is None:
            return found
        return {
            name: self._with_interval(name, measure, step, seed) for name, measure in found.items()
        }

    def value(self, step: int) -> float:
        """The leading measure after so many glimpses."""
        return self._values(step, compat=False)[LEADING[self.task]].value

    def _values(self, step: int, compat: bool) -> dict[str, Measure]:
        found = self.at(step)
        if self.task == "reconstruction":
            pooled, single = float(root_mean(found.sum(dim=0))), float(root_mean(found).mean())
            return {
                "rmse": Measure(value=pooled, unit="levels", higher_is_better=False),
                "rmse_per_image": Measure(value=single, unit="levels", higher_is_better=False),
            }
        if self.task == "classification":
            return {"accuracy": Measure(value=float(found[:, 1].mean()))}
        return self._counts(step).merge().measures(compat=compat)

    def _with_interval(self, name: str, measure: Measure, step: int, seed: int) -> Measure:
        scores: dict[str, Any] = {
            "rmse": lambda: PixelScore(self.at(step)),
            "rmse_per_image": lambda: MeanScore(root_mean(self.at(step)), noun="images"),
            "accuracy": lambda: MeanScore(self.at(step)[:, 1], noun="images"),
            "pixel_accuracy": lambda: ConfusionScore(
                self._counts(step), ClassCounts.pixel_accuracy
            ),
            "mean_accuracy": lambda: ConfusionScore(self._counts(step), ClassCounts.mean_accuracy),
            "mean_iou": lambda: ConfusionScore(self._counts(step), ClassCounts.mean_iou),
        }
        if not measure.defined:
            return measure
        return measure.with_interval(bootstrap(scores[name](), generator=generator(seed)))

    def _counts(self, step: int) -> ClassCounts:
        found = self.at(step)
        return ClassCounts(found.view(len(found), 3, -1))
