"""The probability-difference reward: what thinking adds to the probability of the right score.

For a completion with every rule reward, its own reasoning is kept and its score is cut off; then the
right score's first digit and the point are written, and the model is asked for the next digit. The same
is asked after the prompt that wants no thinking. Each side is one forward pass without gradient, over
those completions alone, with the logits of the last places only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from trl.data_utils import prepare_multimodal_messages

from refine_iqa.data.prompts import ANSWER_OPENING
from refine_iqa.data.solutions import LOWEST
from refine_iqa.method import label_text, probability_difference
from refine_iqa.rewards.registry import SCORING
from refine_iqa.rewards.text import score_span, strict_score
from refine_iqa.scoring.digits import digit_ids
from shared_core.launch.collectives import any_rank

_FIRST_DECIMAL = (2,)
_DIGITS = (0, 2, 3)
"""Places in "4.40"."""


class Opening(NamedTuple):
    """A prompt and the tokens that the model has written, or is taken to have written, after it."""

    messages: list[dict[str, Any]]
    """The prompt, with its pictures."""
    written: list[int]
    """Tokens before the score."""


class ProbabilityDifference:
    """A reward function of trl; 0 where a rule reward is missing, and no forward pass is made there.

    Args:
        probabilities: the joint probability of some of the tokens that would come next, under the
            policy (`QualityTrainer.probabilities`).
        tokenizer: whose digits and point must be a token each.
        score_threshold: largest error of a right score.
        digits: the first decimal alone, or all three digits of the right score.
        label: how the right score is brought to two decimals.
        in_step: every process makes a forward pass where one does (sharded weights).

    Attributes:
        asked: completions that forward passes were made for, so far.
    """

    __name__ = "probability_difference"

    def __init__(
        self,
        probabilities: Callable[[Sequence[Opening], Tensor, Sequence[int]], Tensor],
        tokenizer: PreTrainedTokenizerBase,
        *,
        score_threshold: float,
        digits: Literal["first", "all"] = "first",
        label: Literal["round", "truncate"] = "round",
        in_step: bool = False,
    ) -> None:
        self._probabilities = probabilities
        self._tokenizer = tokenizer
        digits_of, point = digit_ids(tokenizer)
        self._tokens = digits_of | {".": point}
        self._threshold = score_threshold
        self._digits = digits
        self._label = label
        self._in_step = in_step
        self.asked = 0

    def __call__(
        self,
        *,
        prompts: Sequence[list[dict[str, Any]]],
        completions: Sequence[Any],
        completion_ids: Sequence[list[int]],
        task: Sequence[str],
        solution: Sequence[Any],
        no_think: Sequence[list[dict[str, Any]]],
        images: Sequence[list[Any]],
        row: Sequence[int],
        **_: Any,
    ) -> list[float]:
        """The reward of each completion, 0..1."""
        texts = [completion[0]["content"] for completion in completions]
        before = {
            place: self._before_score(text, completion_ids[place])
            for place, text in enumerate(texts)
            if task[place] == SCORING and self.is_success(text, solution[place])
        }
        right = [place for place, written in before.items() if written is not None]
        rewards = [0.0] * len(texts)
        asking = right
        if self._in_step and any_rank([bool(right)])[0]:
            asking = right or [0]  # asks along, about an answer that is given no reward for it
        if not asking:
            return rewards
        self.asked += len(right)
        labels = [
            label_text(float(solution[place]) if place in right else LOWEST, self._label)
            for place in asking
        ]
        thinking = self._ask(
            [Opening(prompts[place], before.get(place) or []) for place in asking], labels
        )
        not_thinking = self._ask_plainly(asking, labels, no_think, images, row)
        gains = probability_difference(thinking, not_thinking).tolist()
        for place, gain in zip(asking, gains, strict=True):
            if place in right:
                rewards[place] = gain
        return rewards

    def is_success(self, text: str, mos: float) -> bool:
        """Whether a completion has its format and its answer right."""
        score = strict_score(text)
        return score is not None and abs(score - mos) <= self._threshold

    def _ask_plainly(
        self,
        asking: Sequence[int],
        labels: Sequence[str],
        no_think: Sequence[list[dict[str, Any]]],
        images: Sequence[list[Any]],
        row: Sequence[int],
    ) -> Tensor:
        """Without thinking, the answer is the same for every completion of a row: asked once each."""
        opening = self._tokenizer.encode(ANSWER_OPENING, add_special_tokens=False)
        first = {row[place]: at for at, place in reversed(list(enumerate(asking)))}
        chosen = list(first.values())
        asked = self._ask(
            [
                Opening(
                    prepare_multimodal_messages(no_think[asking[at]], images=images[asking[at]]),
                    opening,
                )
                for at in chosen
            ],
            [labels[at] for at in chosen],
        )
        of_row = dict(zip(first, asked, strict=True))
        return torch.stack([of_row[row[place]] for place in asking])

    def _ask(self, openings: Sequence[Opening], labels: Sequence[str]) -> Tensor:
        """Probability of the digits that count, after each opening."""
        tokens = torch.tensor([[self._tokens[sign] for sign in label] for label in labels])
        if self._digits == "all":
            return self._probabilities(openings, tokens, _DIGITS)
        return self._probabilities(openings, tokens[:, :3], _FIRST_DECIMAL)

    def _before_score(self, text: str, ids: list[int]) -> list[int] | None:
        """The completion's tokens before its last score; none where a token straddles that place."""
        span = score_span(text)
        if span is None:
            return None
        before = text[: span[0]]

        def decoded(count: int) -> str:
            return str(self._tokenizer.decode(ids[:count], skip_special_tokens=True))

        count = bisect_left(range(len(ids)), len(before), key=lambda n: len(decoded(n)))
        return ids[:count] if decoded(count) == before else None


def left_padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Rows of whole numbers as one tensor, with `value` before the shorter ones.

    Returns:
        [n, length].
    """
    length = max(len(row) for row in rows)
    return torch.tensor([[value] * (length - len(row)) + list(row) for row in rows])
