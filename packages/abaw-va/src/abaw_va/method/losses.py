"""The objective: each loss is that of the global batch, on any number of processes.

A loss here is a function (prediction [B, T, K], target [B, T, K], valid [B, T]) -> scalar, over the
frames where `valid`, averaged over the K targets unless its name picks one. CCC is no mean over
samples, so averaging the losses of the processes would give another objective: what is added over
processes are the sums that a loss is made of. Moments are taken in float32 about the mean, also
under autocast. Where nothing is valid, a loss is 0 and so is its gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from abaw_va.config import LossName, TrainConfig
from abaw_va.method.distribution import bin_bounds, class_targets
from shared_core.launch.collectives import all_reduce_sum

Loss: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(prediction, target, valid) -> scalar."""

EPSILON = 1e-9
"""Keeps the CCC defined when both sides are constant."""


def mse(
    prediction: Float[Tensor, "B T K"], target: Float[Tensor, "B T K"], valid: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Mean over valid frames of (p - y)^2."""
    squares = _squares(prediction, target, valid)
    total = all_reduce_sum(torch.stack((squares, valid.sum().to(squares))))
    return total[0] / total[1].clamp(min=1)


def mse_sum(
    prediction: Float[Tensor, "B T K"], target: Float[Tensor, "B T K"], valid: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Sum over valid frames of (p - y)^2, the authors' `mse`; its gradient grows with the batch."""
    return all_reduce_sum(_squares(prediction, target, valid))


def _squares(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    difference = torch.where(valid[..., None], prediction.float() - target.float(), 0.0)
    return difference.square().sum() / target.shape[-1]


def batch_ccc(
    prediction: Float[Tensor, "B T K"], target: Float[Tensor, "B T K"], valid: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """1 - CCC over all valid frames of the global batch together, in [0, 2].

    CCC = 2 cov(p, y) / (var(p) + var(y) + (mean(p) - mean(y))^2 + 1e-9), with population moments. A
    constant prediction gives 1.
    """
    where, p, y = valid[..., None], prediction.float(), target.float()
    with torch.no_grad():
        sums = [torch.where(where, x, 0.0).sum(dim=(0, 1)) for x in (p, y)]
        sums_and_count = all_reduce_sum(torch.cat((*sums, valid.sum()[None])))
        count = sums_and_count[-1].clamp(min=1)
        shift_p, shift_y = (sums_and_count[:-1] / count).chunk(2)
    # The shifts are constants: what the means owe to the prediction is in the sums of dp.
    dp, dy = torch.where(where, p - shift_p, 0.0), torch.where(where, y - shift_y, 0.0)
    centred = torch.stack([x.sum(dim=(0, 1)) for x in (dp, dy, dp * dp, dy * dy, dp * dy)])
    mean_dp, mean_dy, pp, yy, py = all_reduce_sum(centred) / count
    ccc = _ccc(
        pp - mean_dp**2,
        yy - mean_dy**2,
        py - mean_dp * mean_dy,
        shift_p + mean_dp - shift_y - mean_dy,
    )
    return torch.where(sums_and_count[-1] > 0, (1 - ccc).mean(), 0.0)


def _ccc(var_p: Tensor, var_y: Tensor, cov: Tensor, shift: Tensor) -> Tensor:
    return 2 * cov / (var_p + var_y + shift**2 + EPSILON)


def ccc(
    prediction: Float[Tensor, "B T K"], target: Float[Tensor, "B T K"], valid: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Mean over sequences of 1 - CCC over valid frames; a sequence without any does not count."""
    per_sequence = _sequence_losses(prediction.float(), target.float(), valid)
    counts = valid.any(dim=1)
    total = torch.where(counts, per_sequence, 0.0).sum()
    total = all_reduce_sum(torch.stack((total, counts.sum().to(total))))
    return total[0] / total[1].clamp(min=1)


def ccc_with_padding(
    prediction: Float[Tensor, "B T K"], target: Float[Tensor, "B T K"], valid: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """The authors' `ccc`: frames that are not valid count as prediction 0 and label 0."""
    p, y = (torch.where(valid[..., None], x.float(), 0.0) for x in (prediction, target))
    per_sequence = _sequence_losses(p, y, torch.ones_like(valid))
    total = all_reduce_sum(
        torch.stack((per_sequence.sum(), per_sequence.new_tensor(float(len(p)))))
    )
    return total[0] / total[1]


def _sequence_losses(p: Tensor, y: Tensor, valid: Tensor) -> Float[Tensor, " B"]:
    """1 - CCC of each sequence, averaged over targets; 1 for a sequence without valid frames."""
    where = valid[..., None]
    count = valid.sum(dim=1)[:, None].clamp(min=1)

    mean_p, mean_y = (torch.where(where, x, 0.0).sum(dim=1) / count for x in (p, y))
    dp = torch.where(where, p - mean_p[:, None], 0.0)
    dy = torch.where(where, y - mean_y[:, None], 0.0)
    pp, yy, py = ((a * b).sum(dim=1) / count for a, b in ((dp, dp), (dy, dy), (dp, dy)))
    return (1 - _ccc(pp, yy, py, mean_p - mean_y)).mean(dim=-1)


def ce(
    logits: Float[Tensor, "B T 22 K"], target: Int[Tensor, "B T K"], valid: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Cross-entropy of the classes of the valid frames; `target` is -1 elsewhere."""
    entropies = functional.cross_entropy(
        logits.float().movedim(2, 1), target, ignore_index=-1, reduction="sum"
    )
    total = torch.stack((entropies / target.shape[-1], valid.sum().to(entropies)))
    total = all_reduce_sum(total)
    return total[0] / total[1].clamp(min=1)


def _of_valence(loss: Loss, prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    return loss(prediction[..., :1], target[..., :1], valid)


def _of_arousal(loss: Loss, prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    return loss(prediction[..., -1:], target[..., -1:], valid)


def _table(ccc: Loss) -> Mapping[LossName, Loss]:
    return {
        "mse": mse,
        "vmse": partial(_of_valence, mse),
        "amse": partial(_of_arousal, mse),
        "mse_sum": mse_sum,
        "vmse_sum": partial(_of_valence, mse_sum),
        "amse_sum": partial(_of_arousal, mse_sum),
        "ccc": ccc,
        "vccc": partial(_of_valence, ccc),
        "accc": partial(_of_arousal, ccc),
        "batch_ccc": batch_ccc,
        "batch_vccc": partial(_of_valence, batch_ccc),
        "batch_accc": partial(_of_arousal, batch_ccc),
        "ce": ce,
    }


LOSSES = _table(ccc)
"""Losses by name; `ce` takes logits and classes, the others predictions and labels."""

LOSSES_WITH_PADDING = _table(ccc_with_padding)
"""The same with the authors' per-sequence CCC."""


class Objective:
    """The weighted sum of losses that a run minimises."""

    def __init__(self, config: TrainConfig) -> None:
        table = LOSSES_WITH_PADDING if config.compat.ccc_padding else LOSSES
        self.terms = [
            (name, table[name], weight)
            for name, weight in zip(config.losses, config.loss_weights, strict=True)
        ]
        self.strict = config.compat.class_bounds
        self.bounds = torch.stack(
            [bin_bounds(name, config.weighted_bins) for name in config.target_names], dim=-1
        )

    def __call__(
        self,
        output: Float[Tensor, "B T ..."],
        prediction: Float[Tensor, "B T K"],
        target: Float[Tensor, "B T K"],
        valid: Bool[Tensor, "B T"],
    ) -> tuple[Float[Tensor, ""], dict[LossName, Float[Tensor, ""]]]:
        """The sum, and its terms without gradient and weight, by name.

        Args:
            output: what the network gave: logits, when `ce` is among the losses.
            prediction: its values.
            target: labels in [-1, 1]; anything where not `valid`.
            valid: frames that exist and are annotated.
        """
        total = prediction.new_zeros((), dtype=torch.float32)
        terms = {}
        for name, loss, weight in self.terms:
            if name == "ce":
                bounds = self.bounds.to(target.device)
                wanted = class_targets(target, valid, bounds, strict=self.strict)
                value = loss(output, wanted, valid)
            else:
                value = loss(prediction, target, valid)
            total = total + weight * value
            terms[name] = value.detach()
        return total, terms
