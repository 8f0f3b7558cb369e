"""A score from the probabilities of its three digits, without a written word.

After the prompt that asks for a score alone, and the opening of its answer, the model's probabilities of
the digits d1, d2, d3 of d1.d2d3 make a distribution over the scores 1.00, 1.01, ... 5.00. The point is
given, not asked for, and what is no score (0.37, 5.01) is left out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from refine_iqa.data.prompts import ANSWER_OPENING
from refine_iqa.scoring.continuations import Continuations
from shared_core.errors import CheckpointError

TEXTS = tuple(f"{hundredths / 100:.2f}" for hundredths in range(100, 501))
"""All scores, from the lowest to the highest."""

_DIGITS = "0123456789"
_PLACES = (0, 2, 3)  # of the digits in a text


class Belief(NamedTuple):
    """What the model believes of each row's score.

    Attributes:
        score: expected value, 1..5.
        std: standard deviation.
    """

    score: Float64[Tensor, " rows"]
    std: Float64[Tensor, " rows"]


def digit_ids(tokenizer: Any) -> tuple[dict[str, int], int]:
    """The token of each digit, and that of the point between them.

    Raises:
        CheckpointError: a digit or the point is not one token of its own in some score that follows the
            opening of an answer; names the tokenizer.
    """
    opening, *answers = (
        tokenizer.encode(f"{ANSWER_OPENING}{text}", add_special_tokens=False)
        for text in ("", *TEXTS)
    )
    ids = {sign: tokenizer.convert_tokens_to_ids(sign) for sign in f"{_DIGITS}."}
    for text, answer in zip(TEXTS, answers, strict=True):
        if answer != opening + [ids[sign] for sign in text]:
            found = tokenizer.convert_ids_to_tokens(answer[len(opening) :])
            raise CheckpointError(
                getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__,
                f"{found} for {text}",
                expected="a tokenizer in which each digit, and the point, is one token",
                remedy="Scores cannot be read digit by digit here: choose another model.",
            )
    return {digit: ids[digit] for digit in _DIGITS}, ids["."]


def score_continuations(tokenizer: Any) -> Continuations:
    """All scores, as continuations of an answer's opening.

    Raises:
        CheckpointError: as `digit_ids`.
    """
    digits, point = digit_ids(tokenizer)
    ids = digits | {".": point}
    return Continuations([[ids[sign] for sign in text] for text in TEXTS])


def belief(log_probs: Float64[Tensor, "rows 401 4"]) -> Belief:
    """Expected score and its deviation, from the log-probabilities of the signs of all scores."""
    joint = log_probs[..., _PLACES].sum(dim=-1)
    scores = torch.tensor([float(text) for text in TEXTS], dtype=torch.float64)
    return belief_over(joint, scores)


def belief_over(joint: Float64[Tensor, "rows n"], values: Float64[Tensor, " n"]) -> Belief:
    """Expected value and deviation of n values with log-weights, which need not sum to 1."""
    weights = joint.softmax(dim=-1)
    mean = weights @ values
    variance = (weights * (values - mean[:, None]).square()).sum(dim=-1)
    return Belief(mean, variance.sqrt())
