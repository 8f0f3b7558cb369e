"""First and second moments of pairs: all that CCC and PLCC need, in six float64 numbers that merge.

Sums are taken in float64 about a value close to the mean, so that neither a large offset nor float32
input costs digits; a constant has centred sums of exactly zero, also after merging.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Real
from numpy.typing import NDArray
from torch import Tensor

from shared_core.metrics.pairs import (
    PairMetric,
    as_array,
    finite_sum,
    flat_pairs,
    why_no_concordance,
    why_no_correlation,
)

_BLOCK = 1 << 16
"""Pairs centred at once: short enough for the cache, long enough for few turns of the loop."""


@dataclass(frozen=True)
class Moments:
    """Moments of n pairs (prediction, target), or a whole batch of such moments.

    Attributes:
        values: last axis: n, mean of the predictions, mean of the targets, and the sums of squared
            prediction deviations, of squared target deviations, and of their products.
    """

    values: Float64[Tensor, "*batch 6"]

    @classmethod
    def of(cls, prediction: Real[Tensor, "..."], target: Real[Tensor, "..."]) -> Moments:
        """Moments of two tensors of the same shape, on the CPU; every element is one pair.

        Raises:
            ValueError: the shapes differ.
            NonFiniteError: a value is NaN or infinite; names the first index.
        """
        prediction, target = flat_pairs(prediction, target)
        if len(prediction) == 0:
            return cls(torch.zeros(6, dtype=torch.float64))
        totals = finite_sum("prediction", prediction), finite_sum("target", target)
        values = _moments(as_array(prediction), as_array(target), *totals)
        return cls(torch.tensor(values, dtype=torch.float64))

    @classmethod
    def stack(cls, parts: Sequence[Moments]) -> Moments:
        """A batch of moments, such as one per video, of shape [len(parts)]."""
        return cls(torch.stack([part.values for part in parts]))

    def merge(self) -> Moments:
        """The moments of all pairs behind the last batch axis together (Chan et al., 1983).

        n = sum n_i;  m = sum n_i m_i / n;  S = sum S_i + sum n_i (m_i - m)^2, products alike.
        """
        return Moments(merge_values(self.values))

    @property
    def n(self) -> Float64[Tensor, "*batch"]:
        """Number of pairs."""
        return self.values[..., 0]

    def concordance(self) -> Float64[Tensor, "*batch"]:
        """Concordance correlation coefficient (Lin, 1989), in [-1, 1]; NaN where it is undefined.

        CCC = 2 cov(p, t) / (var(p) + var(t) + (mean(p) - mean(t))^2), with population moments.
        """
        n, mean_p, mean_t, square_p, square_t, product = self.values.unbind(-1)
        spread = square_p + square_t
        value = 2 * product / (spread + n * (mean_p - mean_t).square())
        return value.masked_fill(spread == 0, torch.nan)

    def correlation(self) -> Float64[Tensor, "*batch"]:
        """Pearson's linear correlation, in [-1, 1]; NaN where it is undefined.

        r = cov(p, t) / (std(p) std(t)).
        """
        square_p, square_t, product = self.values[..., 3:].unbind(-1)
        # Constant: 0 / 0 = NaN. Rounding may step over the ends by one unit.
        return (product / (square_p.sqrt() * square_t.sqrt())).clamp(-1, 1)

    def why_no_concordance(self) -> str | None:
        """Why CCC is undefined for these moments (not a batch); None where it is defined."""
        return self._overflow() or why_no_concordance(*self._constants())

    def why_no_correlation(self) -> str | None:
        """Why PLCC is undefined for these moments (not a batch); None where it is defined."""
        return self._overflow() or why_no_correlation(*self._constants())

    def _overflow(self) -> str | None:
        if bool(torch.isfinite(self.values).all()):
            return None
        return "the squares of the values overflow float64"

    def _constants(self) -> tuple[int, bool, bool]:
        n, _, _, square_prediction, square_target, _ = self.values.tolist()
        return int(n), square_prediction == 0, square_target == 0


def _moments(p: NDArray[Any], t: NDArray[Any], total_p: float, total_t: float) -> tuple[float, ...]:
    """The six numbers, from float64 sums about a centre near the mean."""
    centre_p, centre_t = _centre(p, total_p), _centre(t, total_t)
    n, size = len(p), min(len(p), _BLOCK)
    buffer_p, buffer_t = np.empty(size), np.empty(size)
    sum_p = sum_t = square_p = square_t = product = 0.0
    for start in range(0, n, _BLOCK):
        block = slice(start, start + _BLOCK)
        length = min(_BLOCK, n - start)
        deviation_p = np.subtract(p[block], centre_p, out=buffer_p[:length])
        deviation_t = np.subtract(t[block], centre_t, out=buffer_t[:length])
        sum_p += float(deviation_p.sum())
        sum_t += float(deviation_t.sum())
        square_p += float(deviation_p @ deviation_p)
        square_t += float(deviation_t @ deviation_t)
        product += float(deviation_p @ deviation_t)
    # From the centre to the mean: small corrections, because the two are close.
    return (
        n,
        centre_p + sum_p / n,
        centre_t + sum_t / n,
        square_p - sum_p**2 / n,
        square_t - sum_t**2 / n,
        product - sum_p * sum_t / n,
    )


def _centre(values: NDArray[Any], total: float) -> np.float64:
    """A float64 near the mean; of a constant that constant itself, so that it deviates by 0."""
    constant = values[0] == values[-1] and values.min() == values.max()
    return np.float64(values[0] if constant else total / len(values))


def merge_values(values: Float64[Tensor, "*batch parts 6"]) -> Float64[Tensor, "*batch 6"]:
    """Merge the moments along the axis before the last; parts without pairs count nothing."""
    n, means, sums = values[..., :1], values[..., 1:3], values[..., 3:]
    total = n.sum(dim=-2)
    # About the mean of the largest part: equal means stay exactly equal, so a constant stays one.
    largest = n.argmax(dim=-2, keepdim=True).expand(*n.shape[:-2], 1, 2)
    reference = means.gather(-2, largest)
    shift = means - reference
    mean_shift = (n * shift).sum(dim=-2, keepdim=True) / total.clamp(min=1).unsqueeze(-2)
    gap = shift - mean_shift
    between = torch.cat([gap.square(), gap.prod(dim=-1, keepdim=True)], dim=-1)
    merged_means = (reference + mean_shift).squeeze(-2)
    return torch.cat([total, merged_means, sums.sum(dim=-2) + (n * between).sum(dim=-2)], dim=-1)


class MomentsMetric(PairMetric):
    """Base of the metrics that six numbers suffice for, however long the stream."""

    state: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        empty = torch.zeros(6, dtype=torch.float64)
        self.add_state("state", default=empty, dist_reduce_fx=merge_values)

    def update(self, prediction: Real[Tensor, "..."], target: Real[Tensor, "..."]) -> None:
        """Add pairs.

        Raises:
            ValueError: the shapes differ.
            NonFiniteError: a value is NaN or infinite; names the first index of this call.
        """
        seen = Moments.of(prediction, target).values.to(self.device)
        self.state = merge_values(torch.stack([self.state, seen]))

    @property
    def moments(self) -> Moments:
        """Moments of what this process has seen."""
        return Moments(self.state)
