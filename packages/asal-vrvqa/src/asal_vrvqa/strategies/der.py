"""Dark experience replay: the network shall go on saying of stored clips what it said of them."""

from __future__ import annotations

import torch
from torch import Tensor

from asal_vrvqa.data.items import ClipBatch, normalised
from asal_vrvqa.model.network import Output
from asal_vrvqa.strategies.reservoir import Reservoir


class DarkReplay(Reservoir):
    """Squared distance from the scores that were stored with the clips.

    A network of scores has no logits to store. What is stored is the clip's score in evaluation mode,
    right after the update that saw it.
    """

    paper = "Buzzega et al., Dark Experience for General Continual Learning, NeurIPS 2020, arXiv:2004.07211"

    @torch.no_grad()
    def beside(self, clip: ClipBatch) -> dict[str, Tensor]:
        """The score that the network gives the clip now."""
        model = self.learner.bare_model
        model.eval()
        device = next(model.parameters()).device
        said = model(normalised(clip.frames.to(device))).score[0]
        model.train()
        return {"said": said.float()}

    def further(self, output: Output, current: ClipBatch) -> dict[str, Tensor]:  # noqa: ARG002
        """The distance from what was said."""
        if not len(self.memory):
            return {}
        slots = self.learner.draws().slots(self.memory, self.settings.minibatch)
        return {"distillation_loss": self.settings.alpha * self.distance(slots)}

    def distance(self, slots: list[int]) -> Tensor:
        """Mean squared distance of the scores of some slots from those that were stored."""
        replayed, mine, _ = self.replayed(self.memory, slots)
        said = self.memory["said"][mine].to(replayed.score.device)
        return self.learner.mean_everywhere((replayed.frames.mean.mean(dim=1) - said) ** 2)
