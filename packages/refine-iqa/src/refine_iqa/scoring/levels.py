"""A score from the probabilities of five words, as Q-Align has it (Wu et al., 2024)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from refine_iqa.data.prompts import SLOT
from refine_iqa.scoring.continuations import Continuations
from refine_iqa.scoring.digits import Belief, belief_over

LEVELS = {"excellent": 5.0, "good": 4.0, "fair": 3.0, "poor": 2.0, "bad": 1.0}
"""The words of the ITU's five-point scale."""

LEVEL_TEMPLATE = f"{SLOT}\nAnswer in one word: {', '.join(list(LEVELS)[:-1])} or bad."
"""Asks for one of the words."""

OPENING = "The quality is"
"""What the model's answer begins with."""


def level_continuations(tokenizer: Any) -> Continuations:
    """The five words, as continuations of the answer's opening, each with the space before it."""
    return Continuations(
        [tokenizer.encode(f" {word}", add_special_tokens=False) for word in LEVELS]
    )


def level_belief(log_probs: Float64[Tensor, "rows 5 k"]) -> Belief:
    """Expected score and its deviation: softmax over the log-probabilities of the whole words."""
    values = torch.tensor(list(LEVELS.values()), dtype=torch.float64)
    return belief_over(log_probs.sum(dim=-1), values)
