"""Averaged gradient episodic memory: no step may make the memory's clips worse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from asal_vrvqa.data.items import ClipBatch
from asal_vrvqa.strategies.reservoir import Reservoir
from shared_core.training.learner import Outcome

if TYPE_CHECKING:
    from shared_core.training.hands import Hands


class AGem(Reservoir):
    """A gradient that points against that of earlier tasks' clips loses the part of it that does."""

    paper = "Chaudhry et al., Efficient Lifelong Learning with A-GEM, ICLR 2019, arXiv:1812.00420"

    _reference: list[Tensor] | None = None

    def update(self, micro_batches: Sequence[ClipBatch], hands: Hands) -> Outcome:
        """Find the memory's gradient first, then make the update."""
        past = self._past()
        self._reference = self._of_memory(past, hands) if past else None
        return super().update(micro_batches, hands)

    def _past(self) -> list[int]:
        """Some slots with clips of earlier tasks; those of this one are no past yet."""
        if not len(self.memory):
            return []
        order = self.learner.draws().slots(self.memory, len(self.memory))
        tasks = self.memory["task"].tolist()
        return [s for s in order if tasks[s] < self.learner.task][: self.settings.minibatch]

    def _of_memory(self, slots: Sequence[int], hands: Hands) -> list[Tensor]:
        learner, memory = self.learner, self.memory
        with hands.autocast():
            replayed, mine, places = self.replayed(memory, slots)
            labels = memory["score"][mine].to(replayed.score.device)
            loss = learner.score_loss(replayed.score, labels, places)
        hands.backward(loss)
        found = [self._slope(p).clone() for p in learner.network.parameters()]
        for p in learner.network.parameters():
            p.grad = None
        return found

    @staticmethod
    def _slope(parameter: Tensor) -> Tensor:
        return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad

    def before_step(self) -> None:
        """Project the gradient onto the half space in which the memory does not get worse."""
        if self._reference is None:
            return
        parameters = list(self.learner.network.parameters())
        slopes = [self._slope(p) for p in parameters]
        pairs = list(zip(slopes, self._reference, strict=True))
        along = torch.stack([(g * r).sum() for g, r in pairs]).sum()
        square = torch.stack([(r * r).sum() for r in self._reference]).sum()
        share = torch.where((along < 0) & (square > 0), along / square, torch.zeros_like(along))
        for parameter, (slope, reference) in zip(parameters, pairs, strict=True):
            parameter.grad = slope - share * reference
