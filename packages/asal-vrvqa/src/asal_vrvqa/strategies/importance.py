"""What EWC and SI share: weights that mattered for the past are held where they were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from asal_vrvqa.data.items import ClipBatch
from asal_vrvqa.model.network import Output
from asal_vrvqa.strategies.base import Strategy

Weights = dict[str, Tensor]
"""A tensor a parameter, by name."""


class Importance(Strategy):
    """A squared penalty on the way from an anchor, weighted by the importance of each weight."""

    importance: Weights | None = None
    anchor: Weights | None = None

    def weight(self) -> float:
        """Of the penalty."""
        raise NotImplementedError(f"{type(self).__name__} gives no weight")

    def parameters(self) -> Weights:
        """The network's parameters."""
        return dict(self.learner.network.named_parameters())

    def values(self) -> Weights:
        """A copy of what they are now."""
        return {name: p.detach().clone() for name, p in self.parameters().items()}

    def further(self, output: Output, current: ClipBatch) -> dict[str, Tensor]:  # noqa: ARG002
        """Weight x sum of importance x (weight - anchor)^2."""
        if self.importance is None or self.anchor is None:
            return {}
        ways = [
            (self.importance[name] * (p - self.anchor[name]) ** 2).sum()
            for name, p in self.parameters().items()
        ]
        return {"penalty": self.weight() * torch.stack(ways).sum()}

    @property
    def memory_bytes(self) -> int:
        """Importance and anchor."""
        kept = [self.importance or {}, self.anchor or {}]
        return sum(tensor.nbytes for tensors in kept for tensor in tensors.values())

    def state(self) -> Mapping[str, Any]:
        """Importance and anchor."""
        return {"importance": self.importance, "anchor": self.anchor}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        self.importance, self.anchor = state["importance"], state["anchor"]
