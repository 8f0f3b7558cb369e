"""Metrics of segmented pictures: pixel accuracy, mean accuracy and mean IoU, all in [0, 1], higher is better.

All three follow from how often each class was annotated, predicted, and both (`ClassCounts`). Counts
of pictures add up, so shards and processes merge exactly, and a bootstrap draws pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float64, Int64, Integer
from torch import Tensor

from shared_core.metrics.measure import Measure

IGNORED = 255
"""Annotation of pixels that do not count."""


def confusion_matrices(
    prediction: Integer[Tensor, "B ..."],
    target: Integer[Tensor, "B ..."],
    classes: int,
    *,
    ignored: int = IGNORED,
) -> Int64[Tensor, "B classes classes"]:
    """Of each picture, how many pixels of each class (row) were taken for each class (column).

    Args:
        prediction: classes from 0; where the target is `ignored`, anything.
        target: of the same shape; classes from 0, or `ignored`.
        classes: how many there are.
        ignored: annotation of pixels that do not count.

    Raises:
        ValueError: the shapes differ, or a pixel that counts is of no class.
    """
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction has shape {tuple(prediction.shape)}, target {tuple(target.shape)}: "
            "expected the same shape"
        )
    counts = target != ignored
    picture = counts.nonzero()[:, 0]
    predicted, annotated = prediction[counts].long(), target[counts].long()
    for name, values in (("prediction", predicted), ("target", annotated)):
        _require_classes(name, values, classes)
    cell = (picture * classes + annotated) * classes + predicted
    return torch.bincount(cell, minlength=len(target) * classes**2).reshape(-1, classes, classes)


def _require_classes(name: str, values: Int64[Tensor, " n"], classes: int) -> None:
    if len(values) and not bool(((values >= 0) & (values < classes)).all()):
        low, high = (int(end) for end in values.aminmax())
        raise ValueError(
            f"{name} has classes from {low} to {high}: expected from 0 to {classes - 1}"
        )


@dataclass(frozen=True)
class ClassCounts:
    """Pixels of each class that were annotated, predicted, and both; or a whole batch of such counts.

    Attributes:
        values: int64, or float64 with whole numbers; on the axis before the last: pixels that were
            annotated and predicted as the class, that were annotated as it, that were predicted as it.
    """

    values: Int64[Tensor, "*batch 3 classes"] | Float64[Tensor, "*batch 3 classes"]

    @classmethod
    def of(cls, confusion: Int64[Tensor, "*batch classes classes"]) -> ClassCounts:
        """Counts of confusion matrices, a row for each annotated class."""
        hits = confusion.diagonal(dim1=-2, dim2=-1)
        return cls(torch.stack((hits, confusion.sum(dim=-1), confusion.sum(dim=-2)), dim=-2))

    def merge(self) -> ClassCounts:
        """The counts of everything behind the last batch axis together."""
        return ClassCounts(self.values.sum(dim=-3))

    def pixels(self) -> Int64[Tensor, "*batch"] | Float64[Tensor, "*batch"]:
        """How many pixels count."""
        return self.values[..., 1, :].sum(dim=-1)

    def pixel_accuracy(self) -> Float64[Tensor, "*batch"]:
        """Share of the pixels whose class is right; NaN without pixels."""
        return self.values[..., 0, :].sum(dim=-1).double() / self.pixels()

    def mean_accuracy(self) -> Float64[Tensor, "*batch"]:
        """Share of a class's pixels that are right, averaged over the classes that were seen.

        A class neither annotated nor predicted is left out; one that was predicted only counts 0.
        NaN without pixels.
        """
        return self._mean(self.values[..., 1, :])

    def mean_iou(self) -> Float64[Tensor, "*batch"]:
        """Intersection over union of a class's pixels, averaged over the classes that were seen.

        Classes are left out, or count 0, as in `mean_accuracy`. NaN without pixels.
        """
        return self._mean(self._union())

    def measures(self, *, compat: bool = False) -> dict[str, Measure]:
        """The three measures by name, with the reason where no pixel has a class; not of a batch.

        Args:
            compat: without pixels both accuracies are 0, as torchmetrics (1.3) has it.
        """
        nothing = not bool(self.pixels())
        reason = "no pixel has a class" if nothing else None
        values = {
            "pixel_accuracy": self.pixel_accuracy(),
            "mean_accuracy": self.mean_accuracy(),
            "mean_iou": self.mean_iou(),
        }
        if compat and nothing:
            values |= dict.fromkeys(("pixel_accuracy", "mean_accuracy"), torch.zeros(()))
        return {name: Measure(value=float(value), reason=reason) for name, value in values.items()}

    def _union(self) -> Tensor:
        hits, annotated, predicted = self.values.unbind(dim=-2)
        return annotated + predicted - hits

    def _mean(self, wholes: Tensor) -> Float64[Tensor, "*batch"]:
        """Mean over the classes that were seen of hits / wholes, 0 where a whole is 0."""
        seen = (self._union() > 0).sum(dim=-1)
        shares = self.values[..., 0, :].double() / wholes.clamp(min=1)
        return shares.sum(dim=-1) / seen


def pixel_accuracy(confusion: Int64[Tensor, "*B C C"]) -> Float64[Tensor, "*B"]:
    """Share of pixels whose class is right, of confusion matrices; see `ClassCounts`."""
    return ClassCounts.of(confusion).pixel_accuracy()


def mean_accuracy(confusion: Int64[Tensor, "*B C C"]) -> Float64[Tensor, "*B"]:
    """Mean over classes of the share that is right, of confusion matrices; see `ClassCounts`."""
    return ClassCounts.of(confusion).mean_accuracy()


def mean_iou(confusion: Int64[Tensor, "*B C C"]) -> Float64[Tensor, "*B"]:
    """Mean over classes of intersection over union, of confusion matrices; see `ClassCounts`."""
    return ClassCounts.of(confusion).mean_iou()


@dataclass(frozen=True)
class ConfusionScore:
    """A measure of the pixels of all drawn pictures together, for a bootstrap (`intervals.Resampled`).

    Attributes:
        groups: counts of each picture.
        statistic: batch of counts to values: a method of `ClassCounts`.
        noun: what the groups are.
    """

    groups: ClassCounts
    statistic: Callable[[ClassCounts], Tensor] = ClassCounts.mean_iou
    noun: str = "images"

    @cached_property
    def _rows(self) -> Float64[Tensor, "groups counts"]:
        return self.groups.values.flatten(1).double().cpu()

    def __len__(self) -> int:
        return len(self.groups.values)

    def __call__(self, drawn: Int64[Tensor, " samples groups"]) -> Float64[Tensor, " samples"]:
        """The measure of each resample."""
        # Times drawn x counts, instead of a copy of the counts for each draw; exact below 2^53.
        times = torch.zeros(len(drawn), len(self), dtype=torch.float64)
        times.scatter_add_(1, drawn, torch.ones((), dtype=torch.float64).expand(drawn.shape))
        counts = times @ self._rows
        return self.statistic(ClassCounts(counts.reshape(-1, *self.groups.values.shape[1:])))
