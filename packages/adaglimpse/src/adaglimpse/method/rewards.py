"""What a glimpse is worth."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

RewardType = Literal["diff", "simple", "autonorm"]

_SMALLEST_DEVIATION = 1e-5


def reward(
    before: Float[Tensor, " B"],
    after: Float[Tensor, " B"],
    kind: RewardType,
    scale: Float[Tensor, " B"] | None = None,
    penalty: float = 0.0,
) -> Float[Tensor, " B"]:
    """Reward of the glimpse between two scores.

    `diff`: after - before; over an episode it adds up to the last score minus the first. `simple` and
    `autonorm`: after; the latter is set in standard deviations once a batch is drawn (`normalised`).

    Args:
        before: score before the glimpse.
        after: score after it.
        kind: see above.
        scale: z of the glimpse, which costs `penalty` times it.
        penalty: 0 or more.
    """
    gained = after - before if kind == "diff" else after
    return gained if scale is None or not penalty else gained - penalty * scale


def normalised(rewards: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Rewards of a batch in standard deviations (population) from their mean."""
    deviation = rewards.std(correction=0).clamp(min=_SMALLEST_DEVIATION)
    return (rewards - rewards.mean()) / deviation
