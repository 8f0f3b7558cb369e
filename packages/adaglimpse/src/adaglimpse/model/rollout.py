"""Attention rollout (Abnar and Zuidema, 2020): how much each patch mattered, layer by layer.

Each layer's map is used when it is made and then forgotten, so that no more than one is held.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

HeadFusion = Literal["mean", "max", "min"]

_DISCARDED = 0.5
"""Share of a layer's smallest attentions that is taken for noise."""


class Rollout:
    """Importance of patches from the attention maps of a forward pass, first layer first.

    For each layer A = fused heads [N, N] with its smaller half set to 0, but never A[0, 0];
    a = (A + I) / 2 with rows that sum to 1; R <- a R. The importance is the softmax of the class
    token's row of R over the patches. Nothing in it has a gradient.

    Args:
        heads: how heads are fused.
        valid: patches that are there [B, L]. With it padded ones neither rank nor share in the
            softmax; without, all places count, as in the authors' code.
    """

    def __init__(
        self, heads: HeadFusion = "mean", valid: Bool[Tensor, "B L"] | None = None
    ) -> None:
        self.heads = heads
        self.valid = valid
        self._flow: Tensor | None = None

    @torch.no_grad()
    def add(self, attention: Float[Tensor, "B H N N"]) -> None:
        """Take in the softmaxed attention of the next layer; the first token is the class token."""
        with torch.autocast(attention.device.type, enabled=False):  # products of many small numbers
            fused = self._without_smallest(_fused(attention.float(), self.heads))
            a = fused + torch.eye(fused.shape[-1], device=fused.device)
            a = a / a.sum(dim=-1, keepdim=True)
            self._flow = a if self._flow is None else a @ self._flow

    def importance(self) -> Float[Tensor, "B L 1"]:
        """Softmax over the patches; they sum to 1 for each image.

        Raises:
            ValueError: no layer was added.
        """
        if self._flow is None:
            raise ValueError("attention rollout of no layer")
        row = self._flow[:, 0, 1:]
        if self.valid is not None:
            row = row.masked_fill(~self.valid, -torch.inf)
            # of an image without patches: 0 everywhere, not NaN
            return row.softmax(dim=-1).nan_to_num(0.0).unsqueeze(-1)
        return row.softmax(dim=-1).unsqueeze(-1)

    def _without_smallest(self, fused: Tensor) -> Tensor:
        batch, size, _ = fused.shape
        flat = fused.reshape(batch, size * size)
        if self.valid is None:
            smallest = flat.topk(int(size * size * _DISCARDED), dim=-1, largest=False).indices
            kept = torch.ones_like(flat).scatter_(1, smallest, 0.0)
        else:
            there = torch.nn.functional.pad(self.valid, (1, 0), value=True)
            pair = (there.unsqueeze(1) & there.unsqueeze(2)).reshape(batch, -1)
            ranked = flat.masked_fill(~pair, torch.inf).argsort(dim=-1).argsort(dim=-1)
            discarded = (pair.sum(dim=-1, keepdim=True) * _DISCARDED).long()
            kept = ((ranked >= discarded) & pair).to(flat)
        kept[:, 0] = 1.0
        return (flat * kept).view(batch, size, size)


def _fused(attention: Tensor, heads: HeadFusion) -> Tensor:
    if heads == "mean":
        return attention.mean(dim=1)
    return attention.amax(dim=1) if heads == "max" else attention.amin(dim=1)
