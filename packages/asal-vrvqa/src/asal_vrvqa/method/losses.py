"""The losses: correlation for the order of scores, a little squared error for their scale."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

EPS = 1e-8
"""Added to standard deviations."""


def mse_loss(prediction: Float[Tensor, " n"], target: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Mean squared error."""
    return torch.mean((prediction - target) ** 2)


def plcc_loss(prediction: Float[Tensor, " n"], target: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Correlation loss in [0, 1/2], whatever the scale of the predictions.

    With zp and zt the standardised values (population deviations) and rho = mean(zp zt):
    (mean((zp - zt)^2) + mean((rho zp - zt)^2)) / 8. It says nothing with one clip, and has no gradient
    with two, nor where prediction and target are exactly opposed.
    """
    zp, zt = _standardised(prediction), _standardised(target)
    rho = torch.mean(zp * zt)
    return (torch.mean((zp - zt) ** 2) + torch.mean((rho * zp - zt) ** 2)) / 8


def _standardised(values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    deviation = values.std(correction=0) if len(values) else values.new_zeros(())
    return (values - values.mean()) / (deviation + EPS)


def score_loss(
    prediction: Float[Tensor, " n"],
    target: Float[Tensor, " n"],
    *,
    kind: str,
    mse_weight: float | int = 1.0,
    plcc_weight: float | int = 1.0,
) -> Float[Tensor, ""]:
    """The loss of the settings: `mse`, `plcc`, or `mix` with both weights."""
    if kind == "mse":
        return mse_loss(prediction, target)
    if kind == "plcc":
        return plcc_loss(prediction, target)
    return mse_weight * mse_loss(prediction, target) + plcc_weight * plcc_loss(prediction, target)


def divergence(log_variance: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Divergence of N(0, variance) from N(0, 1) for each; it keeps variances from vanishing."""
    return (log_variance.exp() - log_variance - 1) / 2
