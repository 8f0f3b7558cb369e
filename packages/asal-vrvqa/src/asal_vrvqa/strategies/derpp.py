"""Dark experience replay ++: what was said of stored clips, and their labels."""

from __future__ import annotations

from torch import Tensor

from asal_vrvqa.data.items import ClipBatch
from asal_vrvqa.model.network import Output
from asal_vrvqa.strategies.der import DarkReplay


class DarkReplayPlus(DarkReplay):
    """Adds to `der` the loss on the labels of other stored clips."""

    def further(self, output: Output, current: ClipBatch) -> dict[str, Tensor]:  # noqa: ARG002
        """The distance from what was said, and the loss on labels."""
        if not len(self.memory):
            return {}
        drawn = self.learner.draws().slots(self.memory, 2 * self.settings.minibatch)
        said, labelled = drawn[: self.settings.minibatch], drawn[self.settings.minibatch :]
        terms = {"distillation_loss": self.settings.alpha * self.distance(said)}
        if labelled:
            replayed, mine, places = self.replayed(self.memory, labelled)
            labels = self.memory["score"][mine].to(replayed.score.device)
            loss = self.learner.score_loss(replayed.score, labels, places)
            terms["replay_loss"] = self.settings.label_weight * loss
        return terms
