"""What the strategies with a reservoir share: a memory of whole clips, filled as the stream goes by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from asal_vrvqa.data.items import ClipBatch
from asal_vrvqa.method.memory import Memory, reservoir_slot
from asal_vrvqa.strategies.base import Strategy
from shared_core.data.loader import generator
from shared_core.training.learner import Outcome

if TYPE_CHECKING:
    from asal_vrvqa.learner import StreamLearner
    from shared_core.training.hands import Hands

_RESERVOIR = 11


class Reservoir(Strategy):
    """Keeps clips of the stream so that each has had the same chance (Vitter, 1985).

    Each clip is offered once, in its task's first epoch, as it was seen then. All processes decide
    alike and read the few clips that are kept by themselves, so that their memories are equal.
    """

    memory: Memory

    def __init__(self, learner: StreamLearner) -> None:
        super().__init__(learner)
        self.memory = Memory(self.settings.buffer_size)

    def update(self, micro_batches: Sequence[ClipBatch], hands: Hands) -> Outcome:
        """Make one update, then offer its clips to the memory."""
        outcome = super().update(micro_batches, hands)
        if self.learner.epoch % self.learner.config.epochs == 0:
            for item in self.learner.global_items():
                self._offer(item)
        return outcome

    def _offer(self, item: int) -> None:
        learner, memory = self.learner, self.memory
        draw = generator(learner.config.seed, learner.epoch, item, _RESERVOIR)
        slot = reservoir_slot(
            memory.seen, memory.capacity, lambda n: int(torch.randint(n, (1,), generator=draw))
        )
        memory.seen += 1
        if slot is None or (clip := learner.as_seen(item)) is None:
            return
        task = torch.tensor(learner.task)
        # A clip that could not be read leaves a slot free, which the next one takes.
        slot = min(slot, len(memory))
        memory.put(slot, frames=clip.frames[0], score=clip.score[0], task=task, **self.beside(clip))

    def beside(self, clip: ClipBatch) -> dict[str, Tensor]:  # noqa: ARG002
        """What else is kept of a clip."""
        return {}
