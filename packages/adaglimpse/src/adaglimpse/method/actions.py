"""The policy's distribution: a normal squashed into [0, 1], a = 1/2 + tanh(n)/2, n ~ N(loc, scale)."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from adaglimpse.config import EvalAction

NODES = 64
"""Of the quadrature of the mean."""

_DRAWS = 1000  # of the mean that the authors draw


def squash(n: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """1/2 + tanh(n)/2."""
    return 0.5 + 0.5 * torch.tanh(n)


def mode(loc: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """The squashed location, which is also the median."""
    return squash(loc)


def mean(loc: Float[Tensor, "*B"], scale: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Expectation of the action, by Gauss-Hermite quadrature with 64 nodes: the same every time."""
    nodes, weights = _quadrature()
    at = loc.double().unsqueeze(-1) + scale.double().unsqueeze(-1) * nodes.to(loc.device)
    return (squash(at) @ weights.to(loc.device)).to(loc.dtype)


def sample(
    loc: Float[Tensor, "*#B"], scale: Float[Tensor, "*#B"], noise: Float[Tensor, "*#B"]
) -> Float[Tensor, "*B"]:
    """A draw, for given standard normal noise; shapes are broadcast."""
    return squash(loc + scale * noise)


def chosen(
    how: EvalAction,
    loc: Float[Tensor, "B 3"],
    scale: Float[Tensor, "B 3"],
    generators: list[torch.Generator],
) -> Float[Tensor, "B 3"]:
    """The action in evaluation.

    Args:
        how: `mean`, `mode`, `sample`, or `mc1000`: the mean of 1000 draws, as the authors'.
        loc: of the normal.
        scale: of the normal.
        generators: one an image, CPU generators; unused by `mean` and `mode`.
    """
    if how == "mean":
        return mean(loc, scale)
    if how == "mode":
        return mode(loc)
    draws = 1 if how == "sample" else _DRAWS
    noise = torch.stack([torch.randn(draws, loc.shape[-1], generator=g) for g in generators])
    drawn = sample(loc.unsqueeze(1), scale.unsqueeze(1), noise.to(loc))
    return drawn.mean(dim=1)


@lru_cache(maxsize=1)
def _quadrature() -> tuple[Tensor, Tensor]:
    """Nodes and weights for a standard normal."""
    nodes, weights = np.polynomial.hermite.hermgauss(NODES)
    with torch.inference_mode(mode=False):  # what is kept must serve gradients too
        return (
            torch.from_numpy(nodes * math.sqrt(2)),
            torch.from_numpy(weights / math.sqrt(math.pi)),
        )
