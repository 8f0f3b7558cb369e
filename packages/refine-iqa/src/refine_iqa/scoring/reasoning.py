"""Answers that the model writes: the likeliest, or drawn."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from refine_iqa.rewards.text import parse_score, think_of
from refine_iqa.scoring.prediction import Prediction


class Draw(LogitsProcessor):
    """Sampling at temperature 1 in which each row has a generator of its own.

    transformers draws a batch from one generator, so that an answer would depend on its batch mates. Here
    all but the drawn token are ruled out, and greedy decoding takes it.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._generators = generators

    def __call__(
        self,
        input_ids: Int[Tensor, "rows length"],  # noqa: ARG002  # part of the interface
        scores: Float[Tensor, "rows vocabulary"],
    ) -> Float[Tensor, "rows vocabulary"]:
        """The scores, -inf for all tokens but one of each row."""
        below = scores.double().softmax(dim=-1).cumsum(dim=-1)
        draws = torch.stack(
            [torch.rand(1, generator=g, dtype=torch.float64) for g in self._generators]
        )
        token = torch.searchsorted(below, draws.to(below.device) * below[:, -1:], right=True)
        token = token.clamp(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(-1, token, 0.0)


@torch.no_grad()
def write(
    model: Any,
    processor: Any,
    inputs: Mapping[str, Tensor],
    *,
    max_new_tokens: int,
    generators: Sequence[torch.Generator] = (),
) -> list[str]:
    """What the model writes after each prompt, without special tokens.

    Args:
        model: in evaluation mode.
        processor: its processor.
        inputs: prompts, padded on the left.
        max_new_tokens: most tokens of an answer.
        generators: one of each row, to draw from; none: the likeliest token at each step.
    """
    settings = GenerationConfig(  # type: ignore[no-untyped-call]  # a model's own penalties and temperature do not count
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        temperature=1.0,
        top_k=50,
        top_p=1.0,
    )
    drawing = LogitsProcessorList([Draw(generators)] if generators else [])
    written = model.generate(**inputs, generation_config=settings, logits_processor=drawing)
    start = inputs["input_ids"].shape[1]
    texts: list[str] = processor.batch_decode(written[:, start:], skip_special_tokens=True)
    return texts


def reading(answers: Sequence[str]) -> Prediction:
    """The mean of the scores that several answers give, and the answer nearest to it."""
    found = [
        (score, level, answer)
        for answer, (score, level) in ((answer, parse_score(answer)) for answer in answers)
        if score is not None
    ]
    if not found:
        return Prediction(think=think_of(answers[0]), raw=answers[0], parsed=False)
    scores = [score for score, _, _ in found]
    mean = statistics.fmean(scores)
    _, level, raw = min(found, key=lambda one: abs(one[0] - mean))
    return Prediction(
        score=mean,
        std=statistics.stdev(scores) if len(scores) > 1 else None,
        think=think_of(raw),
        raw=raw,
        parsed=True,
        level=level,
    )
