"""Rewards of completions that give a score: the authors' two rules, and continuous ones of ours.

`mos` is a row's mean opinion score, 1..5; every reward lies in [0, 1], and higher is better.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from refine_iqa.data.solutions import HIGHEST, LOWEST
from refine_iqa.rewards.text import has_format, strict_score

Shape = Literal["linear", "gaussian"]
"""How a soft reward falls with the error."""

STABILISER = 1e-6
"""Added to the variance under the fidelity's root: equal scores without spread are a draw."""


def format_reward(completion: str) -> float:
    """1 where the pattern `<think>...</think><answer>Score: d.dd</answer>` occurs anywhere, else 0."""
    return float(has_format(completion))


def answer_reward(completion: str, mos: float, *, threshold: float = 0.5) -> float:
    """1 where the strict score is no further than `threshold` from the MOS, else 0."""
    score = strict_score(completion)
    return float(score is not None and abs(score - mos) <= threshold)


def soft_answer_reward(
    completion: str, mos: float, *, width: float = 1.0, shape: Shape = "linear"
) -> float:
    """How near the strict score is to the MOS; 0 without a strict score.

    With d for their difference: max(0, 1 - |d| / width), or exp(-(d / width)^2).
    """
    score = strict_score(completion)
    if score is None:
        return 0.0
    error = abs(score - mos) / width
    return max(0.0, 1 - error) if shape == "linear" else math.exp(-(error**2))


def range_reward(completion: str) -> float:
    """1 where the strict score lies on the scale, 1..5, else 0."""
    score = strict_score(completion)
    return float(score is not None and LOWEST <= score <= HIGHEST)


@dataclass(frozen=True)
class _Scores:
    """The scores that a group of completions gives to one image."""

    mos: float
    mean: float
    variance: float


def fidelities(
    scores: Sequence[float | None], mos: Sequence[float], images: Sequence[Hashable]
) -> list[float | None]:
    """How well each score ranks its image among the other images of a batch.

    As in VisualQuality-R1 (Wu et al., 2025): with score s of image i, the mean m_j and the population
    variance v_j of the scores of image j, Thurstone's model gives

        p = Phi((s - m_j) / sqrt(v_i + v_j + 1e-6)),

    the truth t is 1, 0.5 or 0 as the MOS of i is above, at or below that of j, and the reward is the mean
    over all j other than i of sqrt(t p) + sqrt((1 - t) (1 - p)).

    Args:
        scores: of the completions; None for one without a score, whose reward is 0.
        mos: of their images.
        images: which image each completion is about; completions of one image may stand anywhere.

    Returns:
        A reward in [0, 1] for each score; None where no other image has a score.
    """
    groups = _grouped(scores, mos, images)

    def reward(score: float | None, image: Hashable) -> float | None:
        others = [group for other, group in groups.items() if other != image]
        if not others:
            return None
        if score is None:
            return 0.0
        own = groups[image]
        return sum(_fidelity(score, own, other) for other in others) / len(others)

    return [reward(score, image) for score, image in zip(scores, images, strict=True)]


def _grouped(
    scores: Sequence[float | None], mos: Sequence[float], images: Sequence[Hashable]
) -> Mapping[Hashable, _Scores]:
    found: dict[Hashable, tuple[float, list[float]]] = {}
    for score, truth, image in zip(scores, mos, images, strict=True):
        if score is not None:
            found.setdefault(image, (truth, []))[1].append(score)
    return {image: _summary(truth, of_image) for image, (truth, of_image) in found.items()}


def _summary(mos: float, scores: Sequence[float]) -> _Scores:
    mean = sum(scores) / len(scores)
    return _Scores(mos, mean, sum((score - mean) ** 2 for score in scores) / len(scores))


def _fidelity(score: float, own: _Scores, other: _Scores) -> float:
    spread = math.sqrt(own.variance + other.variance + STABILISER)
    above = 0.5 * math.erfc((other.mean - score) / (spread * math.sqrt(2)))
    truth = 0.5 * (1 + (own.mos > other.mos) - (own.mos < other.mos))
    return math.sqrt(truth * above) + math.sqrt((1 - truth) * (1 - above))
