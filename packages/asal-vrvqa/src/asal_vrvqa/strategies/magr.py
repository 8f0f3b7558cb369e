"""MAGR: a memory of features, carried along as the features change, and a graph that keeps their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from asal_vrvqa.data.items import ClipBatch, normalised
from asal_vrvqa.method.graph import joint_graph_loss
from asal_vrvqa.method.memory import Memory
from asal_vrvqa.model.network import Output, QualityModel
from asal_vrvqa.strategies.base import Strategy

if TYPE_CHECKING:
    from asal_vrvqa.learner import StreamLearner

SLOW = 0.01
"""Factor on the backbone's learning rate from the second task on."""


class Magr(Strategy):
    """Manifold-aligned graph regularisation, in short form.

    A projector learns the way of the features from the network before the task to the one that learns
    it; stored features go that way after each task. On the features of current and stored clips, near
    scores shall have near features.
    """

    paper = (
        "Zhou et al., MAGR: Manifold-Aligned Graph Regularization for Continual Action Quality "
        "Assessment, ECCV 2024"
    )

    memory: Memory
    old: QualityModel | None = None

    def __init__(self, learner: StreamLearner) -> None:
        super().__init__(learner)
        self.memory = Memory(self.settings.buffer_size)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The backbone, and all the rest."""
        network = self.learner.network
        backbone = list(network.feature_extractor.parameters())
        known = {id(p) for p in backbone}
        rest = [p for p in network.parameters() if id(p) not in known]
        return [{"params": backbone}, {"params": rest}]

    def begin(self, task: int) -> None:
        """Keep the network as it is, and slow its backbone down."""
        if task:
            self.old = self.copy_of_network(self.learner.network.state_dict())
            group = self.learner.optimizer.param_groups[0]
            group["initial_lr"] = self.learner.config.lr * SLOW
            group["lr"] = group["lr"] * SLOW if task == 1 else group["lr"]

    def further(self, output: Output, current: ClipBatch) -> dict[str, Tensor]:
        """The stored scores, the projector's error, and the graph."""
        learner, network, settings = self.learner, self.learner.network, self.settings
        assert network.projector is not None  # noqa: S101 - the settings of a run see to it
        if self.old is None:
            # All weights take part in every update, or the processes wait for one another.
            nothing = torch.stack([p.sum() for p in network.projector.parameters()]).sum() * 0
            return {"projector_loss": nothing}
        with torch.no_grad():
            frames = normalised(current.frames.to(output.score.device))
            before = self.old.feature_extractor(frames) if len(frames) else output.features.detach()
        error = (network.projector(before) - output.features.detach()) ** 2
        terms = {"projector_loss": settings.alpha * learner.mean_everywhere(error)}
        if not len(self.memory):
            return terms
        slots = learner.draws().slots(self.memory, settings.minibatch)
        mine, places = self.share(slots)
        stored = self.memory["features"][mine].to(output.features)
        labels = self.memory["score"][mine].to(output.score.device)
        noise = learner.draws().replay_noise(mine, stored.shape[1]).to(output.score.device)
        replayed = network.regressor(stored, noise).score.mean(dim=1)
        terms["replay_loss"] = learner.score_loss(replayed, labels, places)
        of_batch = -(-len(learner.global_items()) // learner.world)
        terms["graph_loss"] = settings.graph_weight * joint_graph_loss(
            learner.everywhere(output.features.mean(dim=1).float(), of_batch),
            learner.everywhere(current.score.to(output.score.device).float(), of_batch),
            learner.everywhere(stored.mean(dim=1).float(), places),
            learner.everywhere(labels, places),
        )
        return terms

    @torch.no_grad()
    def end(self, task: int) -> None:
        """Carry the stored features along, then store some of this task's."""
        learner, network = self.learner, self.learner.network
        if self.old is not None and network.projector is not None and len(self.memory):
            features = self.memory["features"].to(next(network.parameters()).device)
            self.memory.rows["features"] = network.projector(features).cpu()
        items = learner.items_of(task)
        order = np.argsort([learner.train_clips[i].score for i in items], kind="stable")
        count = min(self.memory.capacity // len(learner.stream.stages), len(items))
        network.eval()
        for i in range(count):
            clip = learner.plain(items[int(order[i * len(items) // count])])
            if clip is None:
                continue
            frames = normalised(clip.frames.to(next(network.parameters()).device))
            features = network.feature_extractor(frames)[0]
            self.memory.append(
                features=features.float(), score=clip.score[0], task=torch.tensor(task)
            )
        network.train()

    @property
    def memory_bytes(self) -> int:
        """The memory's features and the old network's weights."""
        old = {} if self.old is None else self.old.state_dict()
        of_old: int = sum(tensor.nbytes for tensor in old.values())
        return self.memory.bytes + of_old

    def state(self) -> Mapping[str, Any]:
        """The memory and the old network."""
        old = None if self.old is None else self.old.state_dict()
        return {**super().state(), "old": old}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        super().load_state(state)
        self.old = None if state["old"] is None else self.copy_of_network(state["old"])
