"""Correlation of predictions with targets: linear (PLCC) and of ranks (SRCC, KRCC).

All lie in [-1, 1], higher is better, and are undefined (NaN) for fewer than two values or where the
prediction or the target is constant.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float64, Real
from numpy.typing import NDArray
from scipy.stats import kendalltau
from torch import Tensor

from shared_core.metrics.logistic import ParameterCount, score_after_fit
from shared_core.metrics.moments import Moments
from shared_core.metrics.pairs import (
    Score,
    as_array,
    as_scalar,
    checked_pairs,
    why_no_correlation,
)


def plcc(
    prediction: Real[Tensor, "..."],
    target: Real[Tensor, "..."],
    fit: ParameterCount | None = None,
) -> Float64[Tensor, ""]:
    """Pearson's linear correlation coefficient, cov(p, t) / (std(p) std(t)), in float64.

    Args:
        prediction: scores on any scale.
        target: opinion scores, of the same shape.
        fit: parameters of the VQEG logistic that first maps the predictions to the scale of the
            targets (see `logistic`). It is fitted to these same pairs, as the field reports it, and
            takes up the direction too: after a fit a decreasing relation scores as high.

    Raises:
        ValueError: the shapes differ.
        NonFiniteError: a value is NaN or infinite; names the first index.
    """
    if fit is None:
        return plcc_score(prediction, target)[0]
    return score_after_fit(plcc_score, prediction, target, fit)[0]


def srcc(prediction: Real[Tensor, "..."], target: Real[Tensor, "..."]) -> Float64[Tensor, ""]:
    """Spearman's rank correlation: PLCC of the ranks, where ties share their average rank.

    Computed on the CPU in O(n log n). Up to 200 000 pairs every sum is exact in float64, so the
    result does not depend on the order of the pairs.

    Raises:
        ValueError: the shapes differ.
        NonFiniteError: a value is NaN or infinite; names the first index.
    """
    return srcc_score(prediction, target)[0]


def krcc(prediction: Real[Tensor, "..."], target: Real[Tensor, "..."]) -> Float64[Tensor, ""]:
    """Kendall's rank correlation tau-b, which corrects for ties, in O(n log n) on the CPU.

    tau-b = (concordant - discordant) / sqrt((pairs - ties in p) (pairs - ties in t)).

    Raises:
        ValueError: the shapes differ.
        NonFiniteError: a value is NaN or infinite; names the first index.
    """
    return krcc_score(prediction, target)[0]


def plcc_score(prediction: Tensor, target: Tensor) -> Score:
    """PLCC, and the reason where it is undefined."""
    return linear_score(Moments.of(prediction, target))


def linear_score(moments: Moments) -> Score:
    """PLCC of moments, and the reason where it is undefined."""
    return as_scalar(moments.correlation()), moments.why_no_correlation()


def srcc_score(prediction: Tensor, target: Tensor) -> Score:
    """SRCC, and the reason where it is undefined."""
    p, t = (as_array(values) for values in checked_pairs(prediction, target))
    rank_p, rank_t = _centred_ranks(p), _centred_ranks(t)
    square_p, square_t = rank_p @ rank_p, rank_t @ rank_t
    reason = why_no_correlation(len(p), bool(square_p == 0), bool(square_t == 0))
    value = np.nan if reason else (rank_p @ rank_t) / np.sqrt(square_p * square_t)
    return as_scalar(value), reason


def krcc_score(prediction: Tensor, target: Tensor) -> Score:
    """KRCC, and the reason where it is undefined."""
    p, t = (as_array(values) for values in checked_pairs(prediction, target))
    reason = why_no_correlation(len(p), bool((p == p[:1]).all()), bool((t == t[:1]).all()))
    value = np.nan if reason else kendalltau(p, t).statistic
    return as_scalar(value), reason


def _centred_ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Average ranks minus their mean: whole and half numbers, exact in float64."""
    order = np.argsort(values)
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    counts = np.diff(starts, append=len(values))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(starts + (counts - len(values)) / 2, counts)
    return ranks
