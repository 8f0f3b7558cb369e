"""Synaptic intelligence: importance is how much a weight's way has lowered the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from asal_vrvqa.strategies.importance import Importance, Weights


class SynapticIntelligence(Importance):
    """The way is summed up update by update; the penalty's own gradient does not count."""

    paper = (
        "Zenke, Poole and Ganguli, Continual Learning Through Synaptic Intelligence, ICML 2017, "
        "arXiv:1703.04200"
    )

    way: Weights | None = None
    start: Weights | None = None

    def weight(self) -> float:
        """C."""
        return self.settings.si_c

    def begin(self, task: int) -> None:  # noqa: ARG002
        """A new way begins here."""
        self.start = self.values()
        self.way = {name: torch.zeros_like(p) for name, p in self.start.items()}

    def before_step(self) -> None:
        """Note where the weights are, and the slope of the task's loss."""
        self._at = self.values()
        self._slope = {}
        for name, p in self.parameters().items():
            slope = torch.zeros_like(p) if p.grad is None else p.grad.detach().clone()
            if self.importance is not None and self.anchor is not None:
                slope -= (
                    2 * self.weight() * self.importance[name] * (self._at[name] - self.anchor[name])
                )
            self._slope[name] = slope

    def after_step(self) -> None:
        """Add up what the step has gained."""
        if self.way is None:
            return
        for name, p in self.parameters().items():
            self.way[name] -= self._slope[name] * (p.detach() - self._at[name])

    def end(self, task: int) -> None:  # noqa: ARG002
        """Importance: the gain for each weight, over the square of its way."""
        if self.way is None or self.start is None:
            return
        now, kept = self.values(), self.importance
        self.importance = {
            name: (gain / ((now[name] - self.start[name]) ** 2 + self.settings.si_xi)).clamp(min=0)
            + (0 if kept is None else kept[name])
            for name, gain in self.way.items()
        }
        self.anchor = now

    def state(self) -> Mapping[str, Any]:
        """Importance, anchor, and the way so far."""
        return {**super().state(), "way": self.way, "start": self.start}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        super().load_state(state)
        self.way, self.start = state["way"], state["start"]
