"""First and second moments of pairs: all that CCC and PLCC need, in six float64 numbers that merge.

Sums are taken in float64 about a value close to the mean, so that neither a large offset nor
float32 input costs digits; a constant has centred sums of exactly zero, also after merging.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float64, Real
from numpy.typing import NDArray
from torch import Tensor

from shared_core.metrics.pairs import (
    as_array,
    flat_pairs,
    require_finite,
    why_no_concordance,
    why_no_correlation,
)

_Numbers: TypeAlias = NDArray[np.float64] | np.float64

_BLOCK = 1 << 17
"""Pairs centred at once: short enough for the cache, long enough for few turns of the loop."""
_STRIDE = 64
"""Every so many values give the centre."""


@dataclass(frozen=True)
class Moments:
    """Moments of n pairs (prediction, target), or a whole batch of such moments, on the CPU.

    Attributes:
        values: last axis: n, mean of the predictions, mean of the targets, and the sums of squared
            prediction deviations, of squared target deviations, and of their products.
    """

    values: Float64[np.ndarray, "*batch 6"]

    @classmethod
    def of(cls, prediction: Real[Tensor, "..."], target: Real[Tensor, "..."]) -> Moments:
        """Moments of two tensors of the same shape; every element is one pair.

        Raises:
            ValueError: the shapes differ.
            NonFiniteError: a value is NaN or infinite; names the first index.
        """
        prediction, target = flat_pairs(prediction, target)
        if len(prediction) == 0:
            return cls(np.zeros(6))
        values = _moments(as_array(prediction), as_array(target))
        if not np.isfinite(values).all():
            require_finite("prediction", prediction)
            require_finite("target", target)
        return cls(values)

    @classmethod
    def stack(cls, parts: Sequence[Moments]) -> Moments:
        """A batch of moments, such as one per video, of shape [len(parts)]."""
        return cls(np.stack([part.values for part in parts]))

    @np.errstate(invalid="ignore", over="ignore")
    def merge(self) -> Moments:
        """The moments of all pairs behind the last batch axis together (Chan et al., 1983).

        n = sum n_i;  m = sum n_i m_i / n;  S = sum S_i + sum n_i (m_i - m)^2, products alike.
        Parts without pairs count nothing.
        """
        n, means, sums = np.split(self.values, [1, 3], axis=-1)
        total = n.sum(axis=-2)
        # About the mean of the largest part: equal means stay equal, so a constant stays constant.
        reference = np.take_along_axis(means, n.argmax(axis=-2, keepdims=True), axis=-2)
        shift = means - reference
        mean_shift = (n * shift).sum(axis=-2, keepdims=True) / np.maximum(total, 1)[..., None]
        gap = shift - mean_shift
        between = np.concatenate([gap**2, gap.prod(axis=-1, keepdims=True)], axis=-1)
        mean = (reference + mean_shift)[..., 0, :]
        return Moments(
            np.concatenate([total, mean, sums.sum(axis=-2) + (n * between).sum(axis=-2)], axis=-1)
        )

    def concordance(self) -> Float64[np.ndarray, "*batch"]:
        """Concordance correlation coefficient (Lin, 1989), in [-1, 1]; NaN where it is undefined.

        CCC = 2 cov(p, t) / (var(p) + var(t) + (mean(p) - mean(t))^2), with population moments.
        """
        n, mean_p, mean_t, square_p, square_t, product = np.moveaxis(self.values, -1, 0)
        spread = square_p + square_t
        return _ratio(2 * product, spread + n * (mean_p - mean_t) ** 2, where=spread)

    def correlation(self) -> Float64[np.ndarray, "*batch"]:
        """Pearson's linear correlation, in [-1, 1]; NaN where it is undefined.

        r = cov(p, t) / (std(p) std(t)).
        """
        square_p, square_t, product = np.moveaxis(self.values[..., 3:], -1, 0)
        scale = np.sqrt(square_p) * np.sqrt(square_t)
        # Rounding may step over the ends by one unit.
        return np.asarray(np.clip(_ratio(product, scale, where=scale), -1, 1))

    def root_mean_squared_error(self) -> Float64[np.ndarray, "*batch"]:
        """Root of the mean squared error, in the units of the data; NaN without pairs.

        MSE = var(p) + var(t) - 2 cov(p, t) + (mean(p) - mean(t))^2.
        """
        n, mean_p, mean_t, square_p, square_t, product = np.moveaxis(self.values, -1, 0)
        with np.errstate(invalid="ignore"):
            spread = np.maximum(square_p + square_t - 2 * product, 0) / n
        return np.asarray(np.sqrt(spread + (mean_p - mean_t) ** 2))

    def why_no_concordance(self) -> str | None:
        """Why CCC is undefined for these moments (not a batch); None where it is defined."""
        return self._overflow() or why_no_concordance(*self._constants())

    def why_no_correlation(self) -> str | None:
        """Why PLCC is undefined for these moments (not a batch); None where it is defined."""
        return self._overflow() or why_no_correlation(*self._constants())

    def _overflow(self) -> str | None:
        if np.isfinite(self.values).all():
            return None
        return "the squares of the values overflow float64"

    def _constants(self) -> tuple[int, bool, bool]:
        n, _, _, square_prediction, square_target, _ = self.values.tolist()
        return int(n), square_prediction == 0, square_target == 0


def _ratio(numerator: _Numbers, denominator: _Numbers, *, where: _Numbers) -> NDArray[np.float64]:
    """The quotient; NaN unless `where` is positive and finite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((where > 0) & (where < np.inf), numerator / denominator, np.nan)


@np.errstate(invalid="ignore", over="ignore")
def _moments(p: NDArray[Any], t: NDArray[Any]) -> NDArray[np.float64]:
    """The six numbers, from sums about a centre near the mean; not finite if a value is not."""
    centre_p, centre_t = _centre(p), _centre(t)
    n, size = len(p), min(len(p), _BLOCK)
    buffer_p, buffer_t = np.empty(size), np.empty(size)
    sum_p = sum_t = square_p = square_t = product = 0.0
    for start in range(0, n, _BLOCK):
        block = slice(start, start + _BLOCK)
        length = min(_BLOCK, n - start)
        deviation_p = np.subtract(p[block], centre_p, out=buffer_p[:length])
        deviation_t = np.subtract(t[block], centre_t, out=buffer_t[:length])
        sum_p += deviation_p.sum()
        sum_t += deviation_t.sum()
        square_p += deviation_p @ deviation_p
        square_t += deviation_t @ deviation_t
        product += deviation_p @ deviation_t
    # From the centre to the mean: small corrections, because the two are close.
    return np.array(
        [
            n,
            centre_p + sum_p / n,
            centre_t + sum_t / n,
            square_p - sum_p * sum_p / n,
            square_t - sum_t * sum_t / n,
            product - sum_p * sum_t / n,
        ]
    )


def _centre(values: NDArray[Any]) -> np.float64:
    """A float64 near the mean; of a constant that constant itself, so that it deviates by 0.

    The mean of every k-th value is at most sqrt(k) standard deviations away from the mean of all
    (Cauchy-Schwarz), so the corrections to the mean cancel less than two of sixteen digits.
    """
    if values[0] == values[-1] and values.min() == values.max():
        return np.float64(values[0])
    return np.float64(values[::_STRIDE].mean(dtype=np.float64))
