"""What a training will need, from what an update costs: memory, time of an epoch, disk.

The arithmetic alone, without torch. `plan_measure` finds the costs, `plan_report` asks and prints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from shared_core.launch.plan_measure import Cost

Sharding = Literal["none", "zero1", "zero2", "zero3", "fsdp2"]
Precision = Literal["fp32", "bf16", "fp16"]

_FP32 = 4


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """What its maker states of a GPU.

    Attributes:
        memory_gb: in units of 10^9 bytes.
        bandwidth_gb: memory bandwidth, 10^9 bytes per second.
        fp32: peak of fp32 without tensor cores, 10^12 FLOPs per second.
        half: peak of dense bf16 and fp16 with tensor cores.
    """

    memory_gb: float
    bandwidth_gb: float
    fp32: float
    half: float

    def peak(self, precision: Precision) -> float:
        """FLOPs per second."""
        return 1e12 * (self.fp32 if precision == "fp32" else self.half)


GPUS: Mapping[str, Gpu] = {
    "h100": Gpu(memory_gb=80, bandwidth_gb=3350, fp32=67, half=989),
    "h200": Gpu(memory_gb=141, bandwidth_gb=4800, fp32=67, half=989),
    "a100": Gpu(memory_gb=80, bandwidth_gb=2039, fp32=19.5, half=312),
    "l4": Gpu(memory_gb=24, bandwidth_gb=300, fp32=30.3, half=121),
    "rtx4090": Gpu(memory_gb=24, bandwidth_gb=1008, fp32=82.6, half=165),
}
"""By the name that `--gpu` takes: h100 SXM, h200 SXM, a100 SXM of 80 GB."""


def memory(cost: Cost, sharding: Sharding = "none", processes: int = 1) -> dict[str, float]:
    """Bytes of each part on one process, while an update is at its largest.

    Args:
        cost: of an update of this process's share.
        sharding: what is spread over the processes.
        processes: how many.
    """
    zero = sharding.startswith("zero")
    cut_optimizer = sharding != "none"
    cut_gradients = sharding in ("zero2", "zero3", "fsdp2")
    cut_weights = sharding in ("zero3", "fsdp2")
    # DeepSpeed updates an fp32 copy of its share of the weights.
    copy = cost.trained * _FP32 if zero else 0
    parts = {
        "parameters": cost.parameter_bytes / (processes if cut_weights else 1),
        "gradients": cost.gradient_bytes / (processes if cut_gradients else 1),
        "optimiser": (cost.optimizer_bytes + copy) / (processes if cut_optimizer else 1),
        "activations": max(0.0, cost.working_bytes - cost.gradient_bytes),
        "batch": cost.batch_bytes,
        "held": float(cost.held_bytes),
    }
    if sharding == "none" and processes > 1:
        parts["exchange"] = float(cost.gradient_bytes)
    return parts


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How long the two halves of an update take, and which of them the other waits for."""

    compute_seconds: float
    read_seconds: float
    """Of one process's share without loader processes."""
    workers: int

    @property
    def update_seconds(self) -> float:
        """Without loader processes one after the other; with them the longer of the two."""
        if not self.workers:
            return self.compute_seconds + self.read_seconds
        return max(self.compute_seconds, self.read_seconds / self.workers)

    @property
    def limit(self) -> Literal["computing", "decoding"]:
        """What takes longer."""
        waits = self.read_seconds / max(1, self.workers)
        return "decoding" if waits > self.compute_seconds else "computing"

    @property
    def balancing_workers(self) -> int:
        """Loader processes with which reading keeps up with computing."""
        return max(1, math.ceil(self.read_seconds / max(self.compute_seconds, 1e-12)))


def assumed_seconds(cost: Cost, gpu: Gpu, precision: Precision, utilisation: float) -> float:
    """Of computing an update on a GPU that is not at hand.

    The FLOPs at a share of the GPU's peak, and the weights that generated text needs again for each
    token at its full bandwidth. Neither exchange between GPUs nor starting of kernels is in it.
    """
    computing = cost.flops / (gpu.peak(precision) * utilisation)
    return computing + cost.streamed_bytes / (1e9 * gpu.bandwidth_gb)


def share(batch_size: int, accumulate: int, processes: int) -> int:
    """Items of an update that each process has, as `data.loader.deal` deals them."""
    return math.ceil(math.ceil(batch_size / accumulate) / processes) * accumulate


def updates(items: int, batch_size: int, updates_per_batch: int = 1) -> int:
    """Of an epoch."""
    return math.ceil(items / batch_size) * updates_per_batch


def checkpoint_bytes(cost: Cost) -> int:
    """Size of one checkpoint: the model, its optimisers, and what else must survive."""
    return cost.parameter_bytes + cost.optimizer_bytes + cost.saved_bytes


def disk_bytes(cost: Cost, keep_last: int) -> int:
    """Of a run: the checkpoints kept, the best one, one that is being written, and the model."""
    return checkpoint_bytes(cost) * (keep_last + 2) + cost.parameter_bytes
