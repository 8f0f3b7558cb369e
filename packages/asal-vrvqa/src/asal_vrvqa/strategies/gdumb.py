"""GDumb: keep a balanced memory, and at each task learn it from nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from asal_vrvqa.data.items import ClipBatch
from asal_vrvqa.method.memory import Memory, spread
from asal_vrvqa.model.network import QualityModel
from asal_vrvqa.strategies.base import Strategy, outcome_of
from asal_vrvqa.weights import fresh_weights
from shared_core.training.learner import Outcome

if TYPE_CHECKING:
    from asal_vrvqa.learner import StreamLearner


class GDumb(Strategy):
    """The greedy sampler balances tasks instead of classes, and within a task spreads over the scores."""

    paper = (
        "Prabhu, Torr and Dokania, GDumb: A Simple Approach that Questions Our Progress in Continual "
        "Learning, ECCV 2020"
    )

    memory: Memory

    def __init__(self, learner: StreamLearner) -> None:
        super().__init__(learner)
        self.memory = Memory(self.settings.buffer_size)

    def begin(self, task: int) -> None:
        """Make room for the task's clips, and forget all weights."""
        self._make_room(self.memory.capacity // (task + 1))
        room = self.memory.capacity - len(self.memory)
        items = self.learner.items_of(task)
        scores = np.array([self.learner.train_clips[item].score for item in items])
        for place in spread(scores, room):
            clip = self.learner.plain(items[place])
            if clip is not None:
                self.memory.append(
                    frames=clip.frames[0], score=clip.score[0], task=torch.tensor(task)
                )
        if task:
            network = self.learner.network
            fresh = QualityModel(network.config)  # on the CPU, where weights are drawn
            fresh_weights(fresh, self.learner.config, task)
            network.load_state_dict(fresh.state_dict())
            self.learner.optimizer.state.clear()

    def _make_room(self, each: int) -> None:
        """Keep so many clips of each task that is in the memory."""
        if not len(self.memory):
            return
        tasks, scores = self.memory["task"].numpy(), self.memory["score"].numpy()
        kept: list[int] = []
        for task in np.unique(tasks):
            mine = np.flatnonzero(tasks == task)
            kept += [int(mine[place]) for place in spread(scores[mine], each)]
        self.memory.rows = {name: rows[sorted(kept)] for name, rows in self.memory.rows.items()}

    def loss(self, batch: ClipBatch) -> Outcome:
        """The loss on as many clips of the memory as a batch has; the current clips only set the pace."""
        learner = self.learner
        slots = learner.draws().slots(self.memory, learner.config.batch_size)
        replayed, mine, places = self.replayed(self.memory, slots)
        labels = self.memory["score"][mine].to(replayed.score.device)
        loss = learner.score_loss(replayed.score, labels, places)
        terms = {"score_loss": loss} | self.of_variance(replayed)
        return outcome_of(terms, skipped=not len(batch.valid))
