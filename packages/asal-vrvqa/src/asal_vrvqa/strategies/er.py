"""Experience replay: current clips and clips of the memory make one step together."""

from __future__ import annotations

from torch import Tensor

from asal_vrvqa.data.items import ClipBatch
from asal_vrvqa.model.network import Output
from asal_vrvqa.strategies.reservoir import Reservoir


class ExperienceReplay(Reservoir):
    """The loss on some clips of the memory is added to that on the current ones."""

    paper = (
        "Chaudhry et al., On Tiny Episodic Memories in Continual Learning, 2019, arXiv:1902.10486"
    )

    def further(self, output: Output, current: ClipBatch) -> dict[str, Tensor]:  # noqa: ARG002
        """The loss on clips of the memory."""
        if not len(self.memory):
            return {}
        slots = self.learner.draws().slots(self.memory, self.settings.minibatch)
        replayed, mine, places = self.replayed(self.memory, slots)
        labels = self.memory["score"][mine].to(replayed.score.device)
        return {"replay_loss": self.learner.score_loss(replayed.score, labels, places)}
