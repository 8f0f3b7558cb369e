"""In what order the clips of a stream are learnt: the epochs of a run go through its stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared_core.data.loader import ShuffledPlan


@dataclass(frozen=True)
class StagedPlan:
    """Some epochs on the items of the first stage, then as many on those of the second, and so on.

    So the whole stream is one run, which resumes inside any of its tasks.

    Attributes:
        sizes: items of each stage; an item's index counts through all of them.
        epochs: of each stage.
        batch_size: items of a global batch.
        seed: together with the epoch, it decides the order.
    """

    sizes: tuple[int, ...]
    epochs: int
    batch_size: int
    seed: int

    def batches(self, epoch: int) -> Sequence[Sequence[int]]:
        """The global batches of this epoch; beyond the last stage, those of the last."""
        stage = min(epoch // self.epochs, len(self.sizes) - 1)
        first = sum(self.sizes[:stage])
        plan = ShuffledPlan(self.sizes[stage], self.batch_size, self.seed)
        return [[first + item for item in batch] for batch in plan.batches(epoch)]
