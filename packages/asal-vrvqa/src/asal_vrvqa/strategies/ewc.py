"""Online elastic weight consolidation: importance is the Fisher information, summed over tasks."""

from __future__ import annotations

import numpy as np
import torch

from asal_vrvqa.data.items import normalised
from asal_vrvqa.method.memory import spread
from asal_vrvqa.strategies.importance import Importance, Weights

CLIPS = 32
"""Clips of a task that its Fisher information is taken from, spread over its scores."""


class OnlineEwc(Importance):
    """Scores are taken for the means of Gaussians of one variance.

    The diagonal of the Fisher information is then the mean of (d score / d weight)^2, whatever the label.
    """

    paper = (
        "Kirkpatrick et al., PNAS 2017, arXiv:1612.00796; online: Schwarz et al., Progress and Compress, "
        "ICML 2018, arXiv:1805.06370"
    )

    def weight(self) -> float:
        """Half of lambda."""
        return self.settings.ewc_lambda / 2

    def end(self, task: int) -> None:
        """Add the task's information to what is kept of the earlier ones."""
        fresh = self._information(task)
        kept = self.importance
        if kept is not None:
            gamma = self.settings.ewc_gamma
            fresh = {name: gamma * kept[name] + value for name, value in fresh.items()}
        self.importance, self.anchor = fresh, self.values()

    def _information(self, task: int) -> Weights:
        learner, network = self.learner, self.learner.network
        items = learner.items_of(task)
        scores = np.array([learner.train_clips[item].score for item in items])
        parameters = self.parameters()
        found = {name: torch.zeros_like(p) for name, p in parameters.items()}
        device, count = next(network.parameters()).device, 0
        network.eval()
        for place in spread(scores, CLIPS):
            clip = learner.plain(items[place])
            if clip is None:
                continue
            count += 1
            score = network(normalised(clip.frames.to(device))).score.sum()
            slopes = torch.autograd.grad(score, list(parameters.values()), allow_unused=True)
            for total, slope in zip(found.values(), slopes, strict=True):
                if slope is not None:
                    total += slope**2
        network.train()
        return {name: total / max(1, count) for name, total in found.items()}
