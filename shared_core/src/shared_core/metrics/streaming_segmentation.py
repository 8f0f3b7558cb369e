"""Measures of segmented pictures that stream, see `streaming`."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int64, Integer
from torch import Tensor
from torchmetrics import Metric

from shared_core.metrics.measure import Measure
from shared_core.metrics.segmentation import IGNORED, ClassCounts, confusion_matrices


class Segmentation(Metric):
    """Streaming measures of label maps; one confusion matrix that merges exactly.

    Args:
        classes: how many there are.
        ignored: annotation of pixels that do not count.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    confusion: Tensor

    def __init__(self, classes: int, *, ignored: int = IGNORED, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes = classes
        self.ignored = ignored
        empty = torch.zeros(classes, classes, dtype=torch.int64)
        self.add_state("confusion", default=empty, dist_reduce_fx="sum")

    def update(
        self, prediction: Integer[Tensor, "B ..."], target: Integer[Tensor, "B ..."]
    ) -> None:
        """Add pictures; arguments and errors are those of `confusion_matrices`."""
        found = confusion_matrices(prediction, target, self.classes, ignored=self.ignored)
        self.confusion = self.confusion + found.sum(dim=0).to(self.device)

    def compute(self) -> Int64[Tensor, "classes classes"]:
        """Confusion matrix of everything seen, by all processes."""
        return self.confusion

    def measures(self, *, compat: bool = False) -> dict[str, Measure]:
        """The three measures by name, of everything seen; see `ClassCounts.measures`.

        Collective, as `compute` is: every process must call it.
        """
        confusion = self.compute().reshape(self.classes, self.classes)  # 1 x 1 comes as a number
        return ClassCounts.of(confusion).measures(compat=compat)

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the counts of another metric of this class to these."""
        super().merge_state(incoming_state)
        self._computed = None  # torchmetrics keeps the value from before the merge
