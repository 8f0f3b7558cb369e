"""Errors in the unit of the target: RMSE and MAE. 0 or more, lower is better."""

from __future__ import annotations

import torch
from jaxtyping import Float64, Real
from torch import Tensor

from shared_core.metrics.logistic import ParameterCount, score_after_fit
from shared_core.metrics.pairs import Score, checked_pairs


def rmse(
    prediction: Real[Tensor, "..."],
    target: Real[Tensor, "..."],
    fit: ParameterCount | None = None,
) -> Float64[Tensor, ""]:
    """Root mean squared error, sqrt(mean((p - t)^2)), in float64; NaN without values.

    Args:
        prediction: values in the unit of the target, or with `fit` on any scale.
        target: of the same shape.
        fit: parameters of the VQEG logistic that first maps the predictions to the scale of the
            targets (see `logistic`); it is fitted to these same pairs.

    Raises:
        ValueError: the shapes differ.
        NonFiniteError: a value is NaN or infinite; names the first index.
    """
    if fit is None:
        return rmse_score(prediction, target)[0]
    return score_after_fit(rmse_score, prediction, target, fit)[0]


def mae(prediction: Real[Tensor, "..."], target: Real[Tensor, "..."]) -> Float64[Tensor, ""]:
    """Mean absolute error, mean(|p - t|), in float64; NaN without values.

    Raises:
        ValueError: the shapes differ.
        NonFiniteError: a value is NaN or infinite; names the first index.
    """
    return mean_error(sum_of_absolutes(prediction, target))[0]


def rmse_score(prediction: Tensor, target: Tensor) -> Score:
    """RMSE, and the reason where it is undefined."""
    mean, reason = mean_error(sum_of_squares(prediction, target))
    return mean.sqrt(), reason


def sum_of_squares(prediction: Tensor, target: Tensor) -> Float64[Tensor, "2"]:
    """Number of pairs and sum of their squared errors."""
    prediction, target = checked_pairs(prediction, target)
    error = prediction.double() - target.double()
    return torch.stack([error.new_tensor(len(error)), error @ error])


def sum_of_absolutes(prediction: Tensor, target: Tensor) -> Float64[Tensor, "2"]:
    """Number of pairs and sum of their absolute errors."""
    prediction, target = checked_pairs(prediction, target)
    error = prediction.double() - target.double()
    return torch.stack([error.new_tensor(len(error)), error.abs().sum()])


def mean_error(count_and_sum: Float64[Tensor, "2"]) -> Score:
    """Sum over count, and the reason where it is undefined."""
    count, total = count_and_sum
    return total / count, None if count > 0 else "there are no values"
