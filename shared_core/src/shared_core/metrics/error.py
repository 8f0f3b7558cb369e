"""Errors in the unit of the target: RMSE and MAE. 0 or more, lower is better."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float64, Real
from torch import Tensor

from shared_core.metrics.logistic import ParameterCount, score_after_fit
from shared_core.metrics.pairs import PairMetric, Score, ValuesMetric, checked_pairs


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
        return _rmse(prediction, target)[0]
    return score_after_fit(_rmse, prediction, target, fit)[0]


def mae(prediction: Real[Tensor, "..."], target: Real[Tensor, "..."]) -> Float64[Tensor, ""]:
    """Mean absolute error, mean(|p - t|), in float64; NaN without values.

    Raises:
        ValueError: the shapes differ.
        NonFiniteError: a value is NaN or infinite; names the first index.
    """
    return _mean(_absolute_errors(prediction, target))[0]


class _ErrorMetric(PairMetric):
    """Base of the mean errors: the state is the number of pairs and the sum of their errors."""

    higher_is_better = False
    state: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("state", default=torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")


class RMSE(_ErrorMetric):
    """Streaming root mean squared error, see `rmse`; O(1) float64 state, merges to rounding."""

    def update(self, prediction: Real[Tensor, "..."], target: Real[Tensor, "..."]) -> None:
        """Add pairs; raises as `rmse` does."""
        self.state = self.state + _squared_errors(prediction, target).to(self.device)

    def evaluate(self) -> Score:
        """RMSE of everything seen, and the reason where it is undefined."""
        mean, reason = _mean(self.state)
        return mean.sqrt(), reason


class MAE(_ErrorMetric):
    """Streaming mean absolute error, see `mae`; O(1) float64 state, merges to rounding."""

    def update(self, prediction: Real[Tensor, "..."], target: Real[Tensor, "..."]) -> None:
        """Add pairs; raises as `mae` does."""
        self.state = self.state + _absolute_errors(prediction, target).to(self.device)

    def evaluate(self) -> Score:
        """MAE of everything seen, and the reason where it is undefined."""
        return _mean(self.state)


class FittedRMSE(ValuesMetric):
    """Streaming RMSE after the VQEG logistic, see `rmse`; keeps all values.

    Args:
        fit: parameters of the curve, 4 or 5.
    """

    higher_is_better = False

    def __init__(self, fit: ParameterCount, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fit: ParameterCount = fit

    def evaluate(self) -> Score:
        """RMSE after the fit to everything seen, and the reason where it is undefined."""
        return score_after_fit(_rmse, *self.values(), self.fit)


def _rmse(prediction: Tensor, target: Tensor) -> Score:
    mean, reason = _mean(_squared_errors(prediction, target))
    return mean.sqrt(), reason


def _squared_errors(prediction: Tensor, target: Tensor) -> Float64[Tensor, "2"]:
    """Number of pairs and sum of their squared errors."""
    prediction, target = checked_pairs(prediction, target)
    error = prediction.double() - target.double()
    return torch.stack([error.new_tensor(len(error)), error @ error])


def _absolute_errors(prediction: Tensor, target: Tensor) -> Float64[Tensor, "2"]:
    """Number of pairs and sum of their absolute errors."""
    prediction, target = checked_pairs(prediction, target)
    error = prediction.double() - target.double()
    return torch.stack([error.new_tensor(len(error)), error.abs().sum()])


def _mean(count_and_sum: Float64[Tensor, "2"]) -> Score:
    count, total = count_and_sum
    return total / count, None if count > 0 else "there are no values"
