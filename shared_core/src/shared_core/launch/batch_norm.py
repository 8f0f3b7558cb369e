"""Batch norm over the batch of all processes, so that several learn what one would.

torch's `SyncBatchNorm` works on GPUs only. The class here works on every device that the processes
are connected on, has the same parameters, buffers and keys as torch's batch norm, and takes shares
of unequal size: a process may have no rows at all.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from shared_core.launch.collectives import all_reduce_sum, is_connected


class ConnectedBatchNorm(_BatchNorm):
    """Batch norm whose batch is that of all processes together; with one process, torch's own.

    Rows are whatever is left of a tensor [N, C, ...] without its channels. Statistics are those of
    the global batch, biased for the output and unbiased for the running variance, as torch's. Where
    no process has a row, the running statistics stay as they are.
    """

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - the name is torch's
        if input.dim() < 2:
            raise ValueError(f"expected [N, C, ...], found {input.dim()} dimensions")

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name is torch's
        """Normalise each channel, then scale and shift it."""
        if not self.training or not is_connected():
            return super().forward(input)
        axes = [axis for axis in range(input.dim()) if axis != 1]
        x = input.to(
            torch.promote_types(input.dtype, torch.float32)
        )  # half floats overflow in sums
        rows = x.new_full((1,), x.numel() // max(1, self.num_features))
        sums = all_reduce_sum(torch.cat((x.sum(dim=axes), rows)))
        count = sums[-1].detach()
        mean = sums[:-1] / count.clamp(min=1)
        shape = [1, -1, *[1] * (input.dim() - 2)]
        centred = x - mean.view(shape)
        variance = all_reduce_sum((centred**2).sum(dim=axes)) / count.clamp(min=1)
        self._remember(mean.detach(), variance.detach(), count)
        scaled = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            scaled = scaled * self.weight.view(shape) + self.bias.view(shape)
        return scaled.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if (
            self.running_mean is None
            or self.running_var is None
            or self.num_batches_tracked is None
        ):
            return
        counts = (count > 0).to(mean)  # arithmetic, not a branch: no waiting for a GPU
        self.num_batches_tracked += counts.long()
        share = (
            1 / self.num_batches_tracked.clamp(min=1) if self.momentum is None else self.momentum
        )
        variance = self.unbiased(variance, count)
        self.running_mean.lerp_(mean.to(self.running_mean), counts * share)
        self.running_var.lerp_(variance.to(self.running_var), counts * share)

    def unbiased(self, variance: Tensor, count: Tensor) -> Tensor:
        """What the running variance learns from a batch's, over `count` rows."""
        return variance * count / (count - 1).clamp(min=1)


def synchronise(module: nn.Module) -> nn.Module:
    """Replace each batch norm inside by one over all processes; parameters and keys stay the same.

    Call it on every process, before the module gets its wrappers.

    Returns:
        The module, or its replacement where it is a batch norm itself.
    """
    if isinstance(module, _BatchNorm) and not isinstance(module, ConnectedBatchNorm):
        replacement = ConnectedBatchNorm(
            module.num_features,
            module.eps,
            module.momentum,
            affine=False,
            track_running_stats=False,
        )
        # The parameters and buffers themselves, so that optimisers that know them still do.
        replacement.affine = module.affine
        replacement.track_running_stats = module.track_running_stats
        replacement._parameters = module._parameters
        replacement._buffers = module._buffers
        replacement.training = module.training
        return replacement
    for name, child in module.named_children():
        if (replaced := synchronise(child)) is not child:
            setattr(module, name, replaced)
    return module
