"""What is measured on scores: how well they agree with opinions, together and for each distortion."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from refine_iqa.data.rated import Rated
from refine_iqa.data.solutions import HIGHEST, LOWEST
from refine_iqa.scoring.prediction import Prediction
from shared_core.data.loader import generator
from shared_core.metrics import (
    FitError,
    ItemScore,
    Measure,
    Moments,
    bootstrap,
    fit_logistic,
    krcc,
    plcc,
    rmse,
    srcc,
)
from shared_core.metrics.ranking import group_numbers

KINDS = ("srcc", "plcc", "plcc_fit", "krcc", "rmse")
"""Spearman's, Pearson's (also after the logistic) and Kendall's correlation, and the error in points
of the MOS."""

RESAMPLES = 500
_OF_DISTORTION = 200

_METRICS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "srcc": srcc,
    "plcc": plcc,
    "plcc_fit": plcc,
    "krcc": krcc,
    "rmse": rmse,
}


def measures(
    prediction: Float64[Tensor, " n"],
    target: Float64[Tensor, " n"],
    groups: Sequence[str] | None = None,
    *,
    kinds: Sequence[str] = KINDS,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Measure]:
    """Agreement of scores with opinions, with 95 % bootstrap intervals.

    `plcc_fit` is taken after the four-parameter logistic of the field (VQEG, 2000), which is fitted to
    these same pairs and kept for the resamples; it takes up the direction too. Where the fit fails, it is
    the PLCC without, and its `reason` says so.

    Args:
        prediction: finite scores, higher is better.
        target: MOS, 1..5.
        groups: what each item belongs to: items of one group are drawn together; None: each is its own.
        kinds: which of `KINDS`.
        seed: key of the bootstrap.
        resamples: of the bootstrap; 0: no intervals.

    Returns:
        By kind; undefined (NaN, with the reason) for fewer than two items, a constant score or opinion;
        RMSE for scores that are not on the scale of the MOS.

    Raises:
        NonFiniteError: a value is NaN or infinite; names the first index.
    """
    numbers = None if groups is None else group_numbers(groups)
    found = {}
    for kind in kinds:
        scores, note = _mapped(prediction, target) if kind == "plcc_fit" else (prediction, None)
        undefined = _why_undefined(kind, prediction, target)
        higher = kind != "rmse"
        if undefined:
            found[kind] = Measure(value=math.nan, reason=undefined, higher_is_better=higher)
            continue
        metric = _METRICS[kind]
        value = float(metric(scores, target))
        found[kind] = Measure(value=value, reason=note, higher_is_better=higher)
        if resamples:
            noun = "items" if groups is None else "groups"
            score = ItemScore(scores, target, metric, noun=noun, groups=numbers)
            drawn = bootstrap(score, generator=generator(seed), samples=resamples)
            found[kind] = found[kind].with_interval(drawn)
    return found


@dataclass(frozen=True)
class Evaluation:
    """Scores beside opinions, and how well they agree.

    Attributes:
        items: what was judged.
        predictions: of each; one that could not be read has no score and does not count.
        measures: by kind, see `measures`.
        by_distortion: SRCC (with intervals) and PLCC within each distortion, where the names tell it.
        parse_rate: share of the written answers in which a score was found; None where none was written.
    """

    items: tuple[Rated, ...]
    predictions: tuple[Prediction, ...]
    measures: Mapping[str, Measure]
    by_distortion: Mapping[str, Mapping[str, Measure]]
    parse_rate: float | None

    @classmethod
    def of(
        cls,
        items: Sequence[Rated],
        predictions: Sequence[Prediction],
        *,
        seed: int = 0,
        resamples: int = RESAMPLES,
    ) -> Evaluation:
        """Measure predictions, one for each item."""
        pairs = [
            (item, prediction.score)
            for item, prediction in zip(items, predictions, strict=True)
            if math.isfinite(prediction.score)
        ]
        kinds = {item.distortion for item, _ in pairs if item.distortion is not None}
        written = [p.parsed for p in predictions if p.parsed is not None]
        return cls(
            items=tuple(items),
            predictions=tuple(predictions),
            measures=_of_pairs(pairs, KINDS, seed, resamples),
            by_distortion={
                kind: _within(
                    [pair for pair in pairs if pair[0].distortion == kind], seed, resamples
                )
                for kind in sorted(kinds, key=lambda kind: (len(kind), kind))  # 2 before 10
            },
            parse_rate=sum(written) / len(written) if written else None,
        )

    @property
    def count(self) -> int:
        """Items that count."""
        return sum(math.isfinite(prediction.score) for prediction in self.predictions)

    @property
    def notes(self) -> list[str]:
        """What must be known of the measures: why one is undefined, or has no interval or no fit."""
        return [
            f"{kind}: {measure.reason}" for kind, measure in self.measures.items() if measure.reason
        ]

    def to_json(self) -> dict[str, Any]:
        """Everything but the single predictions."""
        return {
            "items": self.count,
            "parse_rate": self.parse_rate,
            "measures": {kind: measure.to_json() for kind, measure in self.measures.items()},
            "by_distortion": {
                distortion: {kind: measure.to_json() for kind, measure in found.items()}
                for distortion, found in self.by_distortion.items()
            },
        }


def _of_pairs(
    pairs: Sequence[tuple[Rated, float]], kinds: Sequence[str], seed: int, resamples: int
) -> dict[str, Measure]:
    prediction = torch.tensor([score for _, score in pairs], dtype=torch.float64)
    target = torch.tensor([item.mos for item, _ in pairs], dtype=torch.float64)
    grouped = any(item.group is not None for item, _ in pairs)
    groups = [item.group or item.name for item, _ in pairs] if grouped else None
    return measures(prediction, target, groups, kinds=kinds, seed=seed, resamples=resamples)


def _within(pairs: Sequence[tuple[Rated, float]], seed: int, resamples: int) -> dict[str, Measure]:
    """Of one distortion; there may be many, so it is quicker."""
    ranks = _of_pairs(pairs, ("srcc",), seed, min(resamples, _OF_DISTORTION))
    return ranks | _of_pairs(pairs, ("plcc",), seed, 0)


def _mapped(prediction: Tensor, target: Tensor) -> tuple[Tensor, str | None]:
    """Scores on the fitted curve; where there is none, the scores as they are, and why."""
    try:
        return fit_logistic(prediction, target, 4)(prediction), None
    except FitError as error:
        return prediction, f"no logistic fit ({error}): this is PLCC without it"


def _why_undefined(kind: str, prediction: Tensor, target: Tensor) -> str | None:
    if kind != "rmse":
        return Moments.of(prediction, target).why_no_correlation()
    if not len(prediction):
        return "there are no items"
    if prediction.min() < LOWEST or prediction.max() > HIGHEST:
        return f"the scores leave the scale of the MOS, {LOWEST:g} to {HIGHEST:g}"
    return None
