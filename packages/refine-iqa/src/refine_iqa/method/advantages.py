"""How much better a completion was than its group.

An undefined reward (NaN) counts for nothing: it is in no mean and no deviation, and its advantage is 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

EPSILON = 1e-4
"""Added to a group's deviation, so that a uniform group divides by something."""
FAILURE_SHIFT = 2e-5
"""Taken from the rewards of a group without a success: a uniform one has the advantage -0.2."""


def group_advantages(rewards: Float[Tensor, " n"], group: int) -> Float[Tensor, " n"]:
    """A = (r - mean) / (std + 1e-4) in each group: GRPO's advantage.

    Args:
        rewards: of n completions, the groups one after the other.
        group: completions of a prompt, 2 or more; n is a multiple.
    """
    centred, deviation = _centred(rewards, group)
    return (centred / (deviation + EPSILON)).nan_to_num(nan=0.0).flatten()


def refine_advantages(
    rewards: Float[Tensor, " n"], successes: Bool[Tensor, " n"], group: int
) -> Float[Tensor, " n"]:
    """GRPO's advantage where it helps: the refine strategy's.

    A group with a full success learns from what was better than its mean, and forgets nothing:
    A = max(A, 0). A group without one is pushed away from all it tried, a little:
    A = (r - mean - 2e-5) / (std + 1e-4), which is -0.2 for a uniform group.

    Args:
        rewards: rule rewards and probability difference together, the groups one after the other.
        successes: which completions have every rule reward in full.
        group: completions of a prompt, 2 or more; n is a multiple.
    """
    centred, deviation = _centred(rewards, group)
    with_success = successes.view(-1, group).any(dim=1, keepdim=True)
    plain = centred / (deviation + EPSILON)
    pushed = (centred - FAILURE_SHIFT) / (deviation + EPSILON)
    shaped = torch.where(with_success, plain.clamp(min=0.0), pushed)
    return shaped.nan_to_num(nan=0.0).flatten()


def _centred(rewards: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """Rewards less their group's mean [n / group, group], and the group's deviation [n / group, 1]."""
    grouped = rewards.view(-1, group)
    known = ~grouped.isnan()
    centred = grouped - grouped.nanmean(dim=1, keepdim=True)
    squares = centred.square().nansum(dim=1, keepdim=True)
    freedom = (known.sum(dim=1, keepdim=True) - 1).clamp(min=1)
    return centred, (squares / freedom).sqrt()
