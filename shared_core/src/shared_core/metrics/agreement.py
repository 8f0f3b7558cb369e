"""Agreement of two raters of the same scale: the concordance correlation coefficient."""

from __future__ import annotations

from jaxtyping import Float64, Real
from torch import Tensor

from shared_core.metrics.moments import Moments
from shared_core.metrics.pairs import as_scalar


def ccc(prediction: Real[Tensor, "..."], target: Real[Tensor, "..."]) -> Float64[Tensor, ""]:
    """Concordance correlation coefficient (Lin, 1989), in [-1, 1]; higher is better.

    CCC = 2 cov(p, t) / (var(p) + var(t) + (mean(p) - mean(t))^2), population moments in float64.
    One of the two constant: 0. Both constant, or fewer than 2 values: undefined, NaN.

    Raises:
        ValueError: the shapes differ.
        NonFiniteError: a value is NaN or infinite; names the first index.
    """
    return as_scalar(Moments.of(prediction, target).concordance())
