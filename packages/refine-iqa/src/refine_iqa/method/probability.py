"""How much thinking raised the probability of the right score."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor


def probability_of_tokens(
    logits: Float[Tensor, "rows k vocabulary"], tokens: Int[Tensor, "rows k"]
) -> Float[Tensor, " rows"]:
    """Joint probability of k tokens, each under the logits at its place."""
    chosen = logits.float().log_softmax(dim=-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    return chosen.sum(dim=-1).exp()


def probability_difference(
    thinking: Float[Tensor, " rows"], not_thinking: Float[Tensor, " rows"]
) -> Float[Tensor, " rows"]:
    """p(right score | reasoning) - p(right score | no reasoning), 0 where thinking did not help."""
    return (thinking - not_thinking).clamp(0.0, 1.0)
