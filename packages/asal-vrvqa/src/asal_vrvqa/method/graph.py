"""MAGR's graph loss: the distances between features shall be those between scores."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

_EDGE = 1e-7


def angles(features: Float[Tensor, "n C"], others: Float[Tensor, "m C"]) -> Float[Tensor, "n m"]:
    """Angle between each feature of one set and each of another, in radians."""
    # In half precision all angles below 5 degrees would be one.
    with torch.autocast(features.device.type, enabled=False):
        cosine = functional.normalize(features, dim=1) @ functional.normalize(others, dim=1).T
        return torch.acos(cosine.clamp(-1 + _EDGE, 1 - _EDGE))


def _divergence(p: Tensor, q: Tensor) -> Tensor:
    return (p * torch.log2(p / q + _EDGE)).sum()


def graph_loss(
    features: Float[Tensor, "n C"],
    scores: Float[Tensor, " n"],
    others: Float[Tensor, "m C"],
    other_scores: Float[Tensor, " m"],
) -> Float[Tensor, ""]:
    """Symmetric divergence, in bits, of rows of feature distances from rows of score distances."""
    p = angles(features, others).softmax(dim=1)
    q = (scores[:, None] - other_scores[None]).abs().softmax(dim=1)
    return 0.5 * _divergence(p, q) + 0.5 * _divergence(q, p)


def joint_graph_loss(
    features: Float[Tensor, "n C"],
    scores: Float[Tensor, " n"],
    stored: Float[Tensor, "m C"],
    stored_scores: Float[Tensor, " m"],
) -> Float[Tensor, ""]:
    """The graph loss of all clips together, and of the four blocks of current and stored ones."""
    current, past = (features, scores), (stored, stored_scores)
    together = (torch.cat([features, stored]), torch.cat([scores, stored_scores]))
    pairs = [(together, together), *((a, b) for a in (past, current) for b in (past, current))]
    losses = [graph_loss(*a, *b) for a, b in pairs if len(a[0]) and len(b[0])]
    if not losses:
        return features.sum() * 0
    return torch.stack(losses).sum()
