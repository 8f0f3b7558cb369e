"""What every metric of pairs asks of its input, and why a value may be undefined."""

from __future__ import annotations

import math
from typing import Any, SupportsFloat, TypeAlias

import torch
from jaxtyping import Float64, Real
from numpy.typing import NDArray
from torch import Tensor

from shared_core.errors import NonFiniteError

Score: TypeAlias = tuple[Tensor, str | None]
"""A 0-d float64 value, NaN where it is undefined, and the reason for that."""


def flat_pairs(
    prediction: Real[Tensor, "..."], target: Real[Tensor, "..."]
) -> tuple[Real[Tensor, " n"], Real[Tensor, " n"]]:
    """Both tensors flat and without gradient.

    Raises:
        ValueError: the shapes differ.
    """
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction has shape {tuple(prediction.shape)}, target {tuple(target.shape)}: "
            "expected the same shape"
        )
    return prediction.detach().reshape(-1), target.detach().reshape(-1)


def checked_pairs(
    prediction: Real[Tensor, "..."], target: Real[Tensor, "..."]
) -> tuple[Real[Tensor, " n"], Real[Tensor, " n"]]:
    """Both tensors flat, without gradient, and finite.

    Raises:
        ValueError: the shapes differ.
        NonFiniteError: a value is NaN or infinite; names the first index (of the flat tensor).
    """
    prediction, target = flat_pairs(prediction, target)
    require_finite("prediction", prediction)
    require_finite("target", target)
    return prediction, target


def require_finite(name: str, values: Real[Tensor, " n"]) -> None:
    """Pass if every value is finite.

    Raises:
        NonFiniteError: a value is NaN or infinite; names the first index.
    """
    # A sum is finite only if every term is, and costs one read without a temporary. The converse
    # fails where finite terms overflow, so the slow search has the last word.
    if math.isfinite(values.sum()):
        return
    bad = (~torch.isfinite(values)).nonzero()
    if len(bad):
        index = int(bad[0])
        raise NonFiniteError(f"{name}[{index}] is {values[index].item()}: expected finite values.")


def as_array(values: Real[Tensor, " n"]) -> NDArray[Any]:
    """The values for numpy, which starts its kernels and sorts several times faster than torch."""
    values = values.cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def why_no_concordance(n: int, constant_prediction: bool, constant_target: bool) -> str | None:
    """Why the agreement of n pairs is undefined; None where it is defined."""
    if n < 2:
        return f"it needs at least 2 values, there are {n}"
    if constant_prediction and constant_target:
        return "prediction and target are both constant"
    return None


def why_no_correlation(n: int, constant_prediction: bool, constant_target: bool) -> str | None:
    """Why the correlation of n pairs is undefined; None where it is defined."""
    if reason := why_no_concordance(n, constant_prediction, constant_target):
        return reason
    if constant_prediction:
        return "prediction is constant"
    return "target is constant" if constant_target else None


def as_scalar(value: SupportsFloat) -> Float64[Tensor, ""]:
    """A 0-d float64 tensor."""
    return torch.tensor(float(value), dtype=torch.float64)
