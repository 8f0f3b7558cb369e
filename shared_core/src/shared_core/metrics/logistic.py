"""The logistic curves that map scores to the scale of opinion scores before PLCC and RMSE.

Four parameters (VQEG FR-TV phase I, 2000):

    q(x) = b2 + (b1 - b2) / (1 + exp(-(x - b3) / b4)),  b4 > 0

Five parameters (Sheikh, Sabir and Bovik, 2006; VQEG phase II):

    q(x) = b1 (1/2 - 1 / (1 + exp(b2 (x - b3)))) + b4 x + b5,  b2 > 0

Both are linear in all but a centre b3 and a slope (1/b4, b2). So for any centre and slope the best
other parameters are a linear least-squares problem, and only two numbers are searched (variable
projection; Golub and Pereyra, 1973): from the best point of a small grid, between bounds, with a
bounded number of evaluations. Rising and falling relations are alike to it.

What is computed after a fit (PLCC, RMSE) is computed on the very pairs it was fitted to, as the
field reports it: it flatters small sets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float64, Real
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.special import expit
from torch import Tensor

from shared_core.errors import UserError
from shared_core.metrics.moments import Moments
from shared_core.metrics.pairs import Score, as_scalar, checked_pairs

ParameterCount: TypeAlias = Literal[4, 5]
_Array: TypeAlias = NDArray[np.float64]

# Slopes of the standardised scores: from almost a straight line to a rise within half a standard
# deviation. Steeper curves fit steps between single scores, where the search does not settle.
_SLOPES = (0.05, 10.0)
_START_SLOPES = (0.5, 1.5, 3.0, 7.0)
_START_CENTRES = (0.1, 0.3, 0.5, 0.7, 0.9)  # quantiles of the scores
_EVALUATIONS = 200


class FitError(UserError):
    """The logistic cannot be fitted; the message is the reason."""


@dataclass(frozen=True)
class Logistic:
    """A fitted curve.

    Attributes:
        parameters: b1 to b4 or b1 to b5 of the module's equations, in the units of the data.
    """

    parameters: tuple[float, ...]

    def __call__(self, score: Real[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """Scores on the scale of the targets."""
        x = score.double()
        b1, b2, b3, b4, *b5 = self.parameters
        if b5:
            return b1 * (torch.sigmoid(b2 * (x - b3)) - 0.5) + b4 * x + b5[0]
        return b2 + (b1 - b2) * torch.sigmoid((x - b3) / b4)


def fit_logistic(
    prediction: Real[Tensor, "..."], target: Real[Tensor, "..."], parameters: ParameterCount
) -> Logistic:
    """Least-squares fit of the curve with 4 or 5 parameters to pairs; deterministic, on the CPU.

    Raises:
        ValueError: the shapes differ.
        NonFiniteError: a value is NaN or infinite; names the first index.
        FitError: too few values, a constant prediction or target, or no convergence.
    """
    x, y = (values.cpu().double() for values in checked_pairs(prediction, target))
    if len(x) <= parameters:
        raise FitError(
            f"a fit of {parameters} parameters needs more values than that, there are {len(x)}"
        )
    if reason := Moments.of(x, y).why_no_correlation():
        raise FitError(reason)
    offset, scale = float(x.mean()), float(x.std(correction=0))
    centre, slope, linear = _search(((x - offset) / scale).numpy(), y.numpy(), parameters)
    centre, slope = offset + scale * centre, slope / scale
    if parameters == 4:
        upper, lower = linear
        return Logistic((upper, lower, centre, 1 / slope))
    height, tilt, level = linear
    return Logistic((height, slope, centre, tilt / scale, level - tilt * offset / scale))


def score_after_fit(
    score: Callable[[Tensor, Tensor], Score],
    prediction: Real[Tensor, "..."],
    target: Real[Tensor, "..."],
    parameters: ParameterCount,
) -> Score:
    """A score of the mapped predictions; where the fit fails, NaN and the reason."""
    try:
        curve = fit_logistic(prediction, target, parameters)
    except FitError as error:
        return as_scalar(np.nan), f"no logistic fit: {error}"
    return score(curve(prediction), target)


def _search(z: _Array, y: _Array, parameters: ParameterCount) -> tuple[float, float, list[float]]:
    """Centre, slope and linear parameters of the best curve over standardised scores."""

    def residual(point: _Array) -> _Array:
        columns = _columns(z, point, parameters)
        return columns @ _solve(columns, y) - y

    starts = product(np.quantile(z, _START_CENTRES), np.log(_START_SLOPES))
    start = min(
        (np.array(s) for s in starts), key=lambda point: float(np.sum(residual(point) ** 2))
    )
    bounds = ((z.min(), np.log(_SLOPES[0])), (z.max(), np.log(_SLOPES[1])))
    # The other bounded method, "trf", creeps along the bounds where scores and targets are unrelated.
    found = least_squares(residual, start, method="dogbox", bounds=bounds, max_nfev=_EVALUATIONS)
    if not found.success:
        raise FitError(f"it did not converge within {_EVALUATIONS} evaluations")
    linear = _solve(_columns(z, found.x, parameters), y)
    return float(found.x[0]), float(np.exp(found.x[1])), [float(b) for b in linear]


def _columns(z: _Array, point: _Array, parameters: ParameterCount) -> _Array:
    """What the linear parameters multiply, given the centre and the logarithm of the slope."""
    rise = expit(np.exp(point[1]) * (z - point[0]))
    if parameters == 4:
        return np.stack([rise, 1 - rise], axis=1)
    return np.stack([rise - 0.5, z, np.ones_like(z)], axis=1)


def _solve(columns: _Array, y: _Array) -> _Array:
    return np.linalg.lstsq(columns, y)[0].astype(np.float64, copy=False)
