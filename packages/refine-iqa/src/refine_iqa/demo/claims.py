"""What may be said of a model that was tuned, beside the one it was before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from refine_iqa.demo.answers import Answers
from shared_core.data.loader import generator
from shared_core.metrics import ItemScore, MeanScore, Measure, bootstrap, bootstrap_difference, srcc
from shared_core.reporting.demo import over_seeds
from shared_core.reporting.demo_file import Comparison
from shared_core.reporting.page import brief

TUNED, BEFORE, CONSTANT = "tuned", "before", "the best constant"

RISE = 0.3
"""By how much the share of well-formed answers must rise."""


@dataclass(frozen=True)
class Found:
    """One seed's models on the same pictures, never seen.

    Attributes:
        before: the model that was taught the form on random scores.
        last: after reinforcement, at its end.
        best: at the step with the highest SRCC on validation pictures.
        constant: the mean MOS of the training pictures: what is said without looking.
    """

    before: Answers
    last: Answers
    best: Answers
    constant: float


def formed(answers: Answers) -> Measure:
    """Share of answers in the right form, with its interval over pictures."""
    score = MeanScore(answers.formed, noun="pictures")
    interval = bootstrap(score, generator=generator(0))
    return Measure(value=score.value(), low=interval.low, high=interval.high)


def rise(found: Sequence[Found]) -> Measure:
    """By how much that share rose: paired over pictures for one seed, over seeds for several."""
    values = [float((of.last.formed - of.before.formed).mean()) for of in found]
    if len(found) > 1:
        return over_seeds(values)
    interval = bootstrap_difference(
        MeanScore(found[0].last.formed, noun="pictures"),
        MeanScore(found[0].before.formed, noun="pictures"),
        generator=generator(0),
    )
    return Measure(value=values[0], low=interval.low, high=interval.high)


def error(score: torch.Tensor, mos: torch.Tensor) -> Measure:
    """Mean absolute error, with its interval over pictures."""
    distances = MeanScore((score - mos).abs(), noun="pictures")
    interval = bootstrap(distances, generator=generator(0))
    return Measure(
        value=distances.value(),
        low=interval.low,
        high=interval.high,
        unit="MOS",
        higher_is_better=False,
    )


def agreement(answers: Answers) -> Measure:
    """SRCC of scores and MOS, with its interval over pictures."""
    value = float(srcc(answers.score, answers.mos))
    if math.isnan(value):
        return Measure(value=value, reason="the scores are all alike")
    interval = bootstrap(ItemScore(answers.score, answers.mos, srcc), generator=generator(0))
    return Measure(value=value, low=interval.low, high=interval.high, reason=interval.reason)


def gain(found: Sequence[Found]) -> Measure:
    """By how much SRCC is higher at the best step than before, over seeds."""
    return over_seeds([agreement(of.best).value - agreement(of.before).value for of in found])


def claim(found: Sequence[Found]) -> str:
    """What is said of the form of answers."""
    risen = rise(found)
    shown = risen.low is not None and risen.low > 0 and risen.value >= RISE
    verdict = (
        f"reinforcement taught the form (the claim is a rise of {RISE} with an interval above 0)"
        if shown
        else f"the claimed rise of {RISE} with an interval above 0 was NOT shown"
    )
    return (
        f"Well-formed answers: {brief(formed(found[0].before))} before, {brief(formed(found[0].last))} "
        f"after: a rise of {brief(risen)}, so that {verdict}."
    )


def claim_of_scores(found: Sequence[Found], kind: str) -> str:
    """What is said of the scores (several seeds)."""
    gained = gain(found)
    shown = gained.low is not None and gained.low > 0
    verdict = "it learnt to score" if shown else "that it learnt to score was NOT shown"
    return (
        f"Scores under {kind}: SRCC at the step chosen on validation pictures is higher than before "
        f"by {brief(gained)} over {len(found)} seeds: {verdict}."
    )


def compared(found: Found) -> list[Comparison]:
    """What was measured, for the index of all demos: the form of answers first."""
    constant = torch.full_like(found.last.mos, found.constant)
    return [
        Comparison(
            measure="share of well-formed answers",
            found={TUNED: formed(found.last), BEFORE: formed(found.before)},
            baselines=[BEFORE],
        ),
        Comparison(
            measure="error of scores",
            found={
                TUNED: error(found.last.score, found.last.mos),
                BEFORE: error(found.before.score, found.before.mos),
                CONSTANT: error(constant, found.last.mos),
            },
            baselines=[BEFORE, CONSTANT],
        ),
    ]
