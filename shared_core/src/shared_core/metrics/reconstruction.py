"""Errors of reconstructed pictures, in the unit of the pixels; 0 or more, lower is better.

The field's RMSE pools all pixels of all pictures, which is not the mean of the pictures' RMSE. Both
follow from one row per picture (`squared_errors`). `error.RMSE` streams the pooled value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64, Real
from torch import Tensor

from shared_core.metrics.pairs import checked_pairs


def squared_errors(
    prediction: Real[Tensor, "B ..."], target: Real[Tensor, "B ..."]
) -> Float64[Tensor, "B 2"]:
    """Of each picture, how many values it has, and the sum of their squared errors, in float64.

    Args:
        prediction: in the unit of the target; channels and pixels alike are values.
        target: of the same shape.

    Raises:
        ValueError: the shapes differ.
        NonFiniteError: a value is NaN or infinite; names the first index (of the flat tensor).
    """
    size = math.prod(target.shape[1:])
    flat_prediction, flat_target = checked_pairs(prediction, target)
    errors = (flat_prediction.double() - flat_target.double()).reshape(-1, size)
    count = errors.new_full((len(errors),), size)
    return torch.stack((count, errors.square().sum(dim=1)), dim=1)


def root_mean(errors: Float64[Tensor, "*B 2"]) -> Float64[Tensor, "*B"]:
    """Root of the mean squared error of each row of counts and sums; NaN where there are no values.

    Rows may be those of `squared_errors`, or sums of such rows.
    """
    count, total = errors.unbind(dim=-1)
    return (total / count).sqrt()


@dataclass(frozen=True)
class PixelScore:
    """RMSE over the pixels of all drawn pictures together, for a bootstrap (`intervals.Resampled`).

    For the mean of the pictures' own RMSE: `MeanScore(root_mean(errors))`.

    Attributes:
        errors: rows of `squared_errors`, one a picture.
        noun: what the groups are.
    """

    errors: Float64[Tensor, "groups 2"]
    noun: str = "images"

    def __len__(self) -> int:
        return len(self.errors)

    def __call__(self, drawn: Int64[Tensor, " samples groups"]) -> Float64[Tensor, " samples"]:
        """The pooled RMSE of each resample."""
        return root_mean(self.errors.cpu()[drawn].sum(dim=1))

    def value(self) -> float:
        """The pooled RMSE of all pictures; NaN without any."""
        return float(root_mean(self.errors.sum(dim=0)))
