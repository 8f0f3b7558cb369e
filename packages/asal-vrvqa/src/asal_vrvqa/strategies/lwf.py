"""Learning without forgetting: the network shall say of new clips what it said before the task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from asal_vrvqa.data.items import ClipBatch, normalised
from asal_vrvqa.model.network import Output, QualityModel
from asal_vrvqa.strategies.base import Strategy


class LearningWithoutForgetting(Strategy):
    """Squared distance from the scores of the network as it was before the task; keeps no clips."""

    paper = "Li and Hoiem, Learning without Forgetting, ECCV 2016, arXiv:1606.09282"

    old: QualityModel | None = None

    def begin(self, task: int) -> None:
        """Keep the network as it is."""
        if task:
            self.old = self.copy_of_network(self.learner.network.state_dict())

    def further(self, output: Output, current: ClipBatch) -> dict[str, Tensor]:
        """The distance from what the old network says."""
        if self.old is None:
            return {}
        with torch.no_grad():
            frames = current.frames.to(output.score.device)
            said = self.old(normalised(frames)).score if len(frames) else output.score.detach()
        squared = (output.frames.mean.mean(dim=1) - said) ** 2
        return {"distillation_loss": self.settings.alpha * self.learner.mean_everywhere(squared)}

    @property
    def memory_bytes(self) -> int:
        """The old network's weights."""
        if self.old is None:
            return 0
        return sum(tensor.nbytes for tensor in self.old.state_dict().values())

    def state(self) -> Mapping[str, Any]:
        """The old network."""
        return {"old": None if self.old is None else self.old.state_dict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        self.old = None if state["old"] is None else self.copy_of_network(state["old"])
