"""The few collective operations of learners and of the loop; with one process each is the identity.

They use the group that `shared_core.launch.accelerator` connected. Every rank must call them, in
the same order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor


def is_connected() -> bool:
    """Whether this process is connected to others."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def part() -> None:
    """Leave the other processes once all have come to this end; before it, the end is an abort.

    A rank whose peer tears the connections down first may be ended by gloo's threads (SIGABRT).
    """
    if not is_connected():
        return
    with suppress(RuntimeError):  # a rank that has failed meanwhile is gone, and has said why
        dist.barrier()
    dist.destroy_process_group()


def all_reduce_sum(tensor: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """Sum a tensor over the ranks, differentiably; each rank gets the sum.

    For a loss of global statistics, L(s) with s = sum_r s_r, where rank r computes s_r(θ) from its
    share of the batch. Each rank evaluates the same L, so each has the same g = dL/ds. The backward
    pass sums the gradients over the W ranks as well: rank r receives W·g for its s_r, and its
    parameters get W (ds_r/dθ)ᵀ g. DistributedDataParallel (and ZeRO, FSDP) then takes the mean:

        (1/W) sum_r W (ds_r/dθ)ᵀ g = sum_r (ds_r/dθ)ᵀ g = dL/dθ,

    the gradient of the one global loss. Without the sum in the backward pass it would be W times
    too small. The loss must come from `s` alone, not from `s_r` beside it.

    Args:
        tensor: the same shape and type on every rank; it is not changed.
    """
    if not is_connected():
        return tensor
    summed: Tensor = _SumOverRanks.apply(tensor)
    return summed


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:  # noqa: ARG004 - the signature is torch's
        return _summed(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        return _summed(gradients[0])


def _summed(tensor: Tensor) -> Tensor:
    total = tensor.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total, op=dist.ReduceOp.SUM)
    return total


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their mean over the ranks, in place, in one exchange for each type of number.

    For gradients and statistics of modules that are not called through a wrapper of processes. Each
    rank gets the same bits. Tensors of whole numbers are left as they are.

    Args:
        tensors: of the same shapes, in the same order, on every rank.
    """
    if not is_connected():
        return
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.is_floating_point():
            by_type.setdefault(tensor.dtype, []).append(tensor)
    for members in by_type.values():
        flat = torch.cat([tensor.reshape(-1) for tensor in members])
        dist.all_reduce(flat, op=dist.ReduceOp.SUM)
        flat /= dist.get_world_size()
        parts = torch.split(flat, [tensor.numel() for tensor in members])
        for tensor, part in zip(members, parts, strict=True):
            tensor.copy_(part.view_as(tensor))


def any_rank(flags: Sequence[bool]) -> list[bool]:
    """For each flag, whether it is set on any rank: one small all-reduce (0.2 ms on a CPU)."""
    if not is_connected():
        return list(flags)
    agreed = torch.tensor(flags, dtype=torch.int32, device=_device())
    dist.all_reduce(agreed, op=dist.ReduceOp.MAX)
    return [bool(flag) for flag in agreed.tolist()]


def from_rank_zero(value: Any) -> Any:
    """Rank 0's value on every rank, as JSON gives it back (tuples are lists, keys are strings).

    The values of the other ranks are ignored.

    Raises:
        TypeError: rank 0's value cannot be written as JSON.
    """
    if not is_connected():
        return json.loads(json.dumps(value))
    text = json.dumps(value).encode() if dist.get_rank() == 0 else b""
    size = torch.tensor([len(text)], dtype=torch.int64, device=_device())
    dist.broadcast(size, src=0)
    payload = torch.zeros(int(size), dtype=torch.uint8, device=_device())
    if text:
        payload.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
    dist.broadcast(payload, src=0)
    return json.loads(payload.cpu().numpy().tobytes())


def _device() -> torch.device:
    """Where the connected backend expects small tensors."""
    on_gpu = "nccl" in str(dist.get_backend())
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
