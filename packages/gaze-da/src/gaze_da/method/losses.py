"""What is minimised: each loss is that of the global batch, on any number of processes.

What is added over processes are the sums and counts that a loss is made of, so that a process with
fewer rows, or with none, has its due share and no more. Where nothing counts a loss is 0, and so is its
gradient.

Where an update is cut into micro-batches each has its losses, and the update follows their mean: a row
weighs more in a micro-batch in which fewer rows count, and one in which none does counts as 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn import functional

from shared_core.launch.collectives import all_reduce_sum


def global_mean(sums: Float[Tensor, ""], count: int | Int[Tensor, ""]) -> Float[Tensor, ""]:
    """Sum over count, both over all processes; 0 where nothing counts."""
    total = all_reduce_sum(torch.stack((sums, torch.as_tensor(count).to(sums))))
    return total[0] / total[1].clamp(min=1)


def task_loss(
    prediction: Float[Tensor, "B 1 O O"],
    target: Float[Tensor, "B O O"],
    inside: Bool[Tensor, "B 1"],
) -> Float[Tensor, ""]:
    """Squared error of heat maps: mean over cells, then over the rows whose target is inside."""
    counts = inside[:, 0]
    # The authors' rounding can make maps of targets outside NaN, and 0 times the gradient of NaN is NaN.
    target = torch.where(counts[:, None, None], target, 0.0)
    errors = (prediction[:, 0].float() - target).square().mean(dim=(1, 2))
    return global_mean(torch.where(counts, errors, 0.0).sum(), counts.sum())


def inout_loss(logit: Float[Tensor, "B 1"], inside: Bool[Tensor, "B 1"]) -> Float[Tensor, ""]:
    """Binary cross-entropy of the target being inside, mean over rows."""
    each = functional.binary_cross_entropy_with_logits(
        logit.float(), inside.float(), reduction="sum"
    )
    return global_mean(each, len(logit))


def domain_loss(log_probabilities: Float[Tensor, "B 2"], domain: int) -> Float[Tensor, ""]:
    """Negative log-likelihood of a domain (0 source, 1 target), mean over rows."""
    return global_mean(-log_probabilities[:, domain].float().sum(), len(log_probabilities))


def reconstruction_loss(
    rebuilt: Float[Tensor, "B 3 O O"], original: Float[Tensor, "B 3 S S"]
) -> Float[Tensor, ""]:
    """Mean squared error against the network's own input, shrunk to the size of what was rebuilt."""
    size = rebuilt.shape[-1]
    # Shrinking needs a row; where there is none, there is nothing to add either.
    small = original[:, :, :size, :size]
    if len(original):
        small = functional.interpolate(
            original, (size, size), mode="bilinear", align_corners=False, antialias=True
        )
    squares = (rebuilt.float() - small.float()).square()
    return global_mean(squares.sum(), squares.numel())


def upstream_scale(rows: int, batch_size: int, size: int) -> float:
    """What the authors' reconstruction loss is, in terms of the mean: `compat.reconstruction_scale`.

    Squared errors are summed over columns and rows, averaged over channels and lines, and divided by
    the configured batch size: size times the mean, less for a batch that is not full.

    Args:
        rows: in this batch, over all processes.
        batch_size: as configured.
        size: columns.
    """
    return size * rows / batch_size


def rows_of_all(own: Shaped[Tensor, " *shape"]) -> int:
    """How many rows a tensor has over all processes."""
    return int(all_reduce_sum(torch.tensor([len(own)], device=own.device))[0])
