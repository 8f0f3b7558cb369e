"""`doctor --plan`: asks a package what an update costs, and says what a training will need."""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import psutil
import torch
from rich.console import Console
from rich.table import Table

from shared_core.errors import UsageError
from shared_core.launch.config import DoctorConfig
from shared_core.launch.plan import (
    GPUS,
    Sharding,
    Speed,
    assumed_seconds,
    checkpoint_bytes,
    disk_bytes,
    memory,
    share,
    updates,
)
from shared_core.launch.plan_measure import Cost
from shared_core.launch.presets import preset_asked
from shared_core.training.config import TrainSettings

Room = Callable[[Any, Path], Cost]
"""A package's `plan.cost`: from its config and an empty folder to what an update costs."""

PATIENCE = 3.0
"""Seconds of an update: larger ones are drawn out from smaller ones instead of made."""
_FIRST_ITEMS = 2
"""Batch norms need two."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `doctor --plan` says; bytes and seconds."""

    device: str
    measured: bool
    """Whether the time was measured on this device, and not assumed."""
    items: int
    gpus: int
    cost: Cost
    memory: dict[str, float]
    """Of one process, by part."""
    room_bytes: float
    """Memory of the device."""
    updates_per_epoch: int
    speed: Speed
    keep_last: int

    @property
    def memory_bytes(self) -> float:
        """The sum of the parts."""
        return sum(self.memory.values())

    @property
    def fits(self) -> bool:
        """Whether the parts have room on the device."""
        return self.memory_bytes <= self.room_bytes

    @property
    def epoch_seconds(self) -> float:
        """Time of the updates of an epoch; evaluations and checkpoints come on top."""
        return self.updates_per_epoch * self.speed.update_seconds

    def to_json(self) -> dict[str, Any]:
        """Everything, and what follows from it."""
        return asdict(self) | {
            "memory_bytes": self.memory_bytes,
            "fits": self.fits,
            "epoch_seconds": self.epoch_seconds,
            "update_seconds": self.speed.update_seconds,
            "limited_by": self.speed.limit,
            "balancing_workers": self.speed.balancing_workers,
            "checkpoint_bytes": checkpoint_bytes(self.cost),
            "disk_bytes": disk_bytes(self.cost, self.keep_last),
        }


def command(asked: DoctorConfig, room: Room, config: TrainSettings) -> int:
    """Print the plan of a training; 1 where its memory does not fit, else 0.

    Raises:
        UsageError: several GPUs are asked for without saying which.
    """
    plan = make(asked, room, config)
    if asked.json:
        Console(soft_wrap=True, highlight=False).print_json(json.dumps(plan.to_json()))
    else:
        _print(plan, config, asked.utilisation)
    return 0 if plan.fits else 1


def make(asked: DoctorConfig, room: Room, config: TrainSettings) -> Plan:
    """The plan of a training: an update of one process's share is measured, the rest follows.

    Args:
        asked: items, GPUs and their kind.
        room: the package's `plan.cost`.
        config: of the training; its data need not exist.

    Raises:
        UsageError: the number of items is missing, or several GPUs are asked for without their kind.
    """
    if asked.items is None:
        raise UsageError("doctor --plan: say how many items an epoch has, such as --items 10000")
    if asked.gpus > 1 and asked.gpu is None:
        raise UsageError(
            f"doctor --plan --gpus {asked.gpus}: say of which kind, such as --gpu h100. "
            "Without it, the plan is for one process on this machine."
        )
    cost = cost_of(room, config, share(config.batch_size, config.accumulate, asked.gpus))
    here = asked.gpu is None and cost.update_seconds is not None
    return Plan(
        device=asked.gpu or _here(config),
        measured=here,
        items=asked.items,
        gpus=asked.gpus,
        cost=cost,
        memory=memory(cost, _sharding(config), asked.gpus),
        room_bytes=_room(asked, config),
        updates_per_epoch=updates(asked.items, config.batch_size, cost.updates_per_batch),
        speed=Speed(
            compute_seconds=_compute_seconds(asked, cost, config),
            read_seconds=cost.read_seconds,
            workers=config.workers,
        ),
        keep_last=config.keep_last,
    )


def cost_of(room: Room, config: TrainSettings, items: int) -> Cost:
    """What an update of `items` costs: made as it is, or drawn out from two smaller ones.

    Two items come first; then as many as an update of `PATIENCE` has, up to `items`.
    """
    parts = config.accumulate
    first = min(items, max(_FIRST_ITEMS, parts))
    small = _tried(room, config, first)
    if first == items:
        return small
    seconds = (small.update_seconds or 0.0) + small.read_seconds
    affordable = items if not seconds else int(PATIENCE / seconds * first) // parts * parts
    second = min(items, max(2 * first, affordable))
    large = _tried(room, config, second)
    return large if second == items else small.drawn_out(large, items)


def _tried(room: Room, config: TrainSettings, items: int) -> Cost:
    alone = dataclasses.replace(
        config,
        batch_size=items,
        workers=0,
        launch=None,
        processes=None,
        trackers=(),
        resume=False,
        # a CPU has no fp16; what bf16 keeps is as large
        precision="bf16" if config.precision == "fp16" and not _cuda(config) else config.precision,
    )
    # A large network takes minutes, which nobody should spend in silence; stdout may be JSON.
    sys.stderr.write(f"working out an update of {items} items\n")
    with tempfile.TemporaryDirectory() as folder:
        return room(dataclasses.replace(alone, run=Path(folder) / "run"), Path(folder))


def _sharding(config: TrainSettings) -> Sharding:
    preset = preset_asked(config)
    if preset is None or preset.sharding == "none":
        return "none"
    if preset.sharding == "fsdp":
        return "fsdp2"
    return cast("Sharding", f"zero{preset.zero_stage}")


def _compute_seconds(asked: DoctorConfig, cost: Cost, config: TrainSettings) -> float:
    if asked.gpu is not None:
        return assumed_seconds(cost, GPUS[asked.gpu], config.precision, asked.utilisation)
    if cost.update_seconds is None:
        raise UsageError(
            "doctor --plan: this model's time cannot be measured here; name a GPU, such as --gpu h100"
        )
    return cost.update_seconds


def _cuda(config: TrainSettings) -> bool:
    return torch.cuda.is_available() and config.device != "cpu"


def _here(config: TrainSettings) -> str:
    return torch.cuda.get_device_name() if _cuda(config) else "this machine's CPU"


def _room(asked: DoctorConfig, config: TrainSettings) -> float:
    if asked.gpu is not None:
        return 1e9 * GPUS[asked.gpu].memory_gb
    if _cuda(config):
        return float(torch.cuda.get_device_properties(0).total_memory)
    return float(psutil.virtual_memory().total)


def _print(plan: Plan, config: TrainSettings, utilisation: float) -> None:
    console = Console()
    assumed = f"assumed at {utilisation:.0%} of the peak, not measured"
    device = plan.device if plan.gpus == 1 else f"{plan.gpus} x {plan.device}"
    console.print(_memory_table(plan, device))
    told = "measured" if plan.measured else assumed
    console.print(_time_table(plan, config, f"{device}, {told}"))
    for note in plan.cost.notes:
        console.print(f"note: {note}", highlight=False)


def _memory_table(plan: Plan, device: str) -> Table:
    table = Table("part", "GB", title=f"memory of a process, {device}", title_justify="left")
    for part, size in plan.memory.items():
        table.add_row(part, f"{size / 1e9:.3f}")
    answer = "fits into" if plan.fits else "[red]does not fit into[/]"
    table.add_section()
    table.add_row(f"all; {answer} {plan.room_bytes / 1e9:.0f} GB", f"{plan.memory_bytes / 1e9:.3f}")
    return table


def _time_table(plan: Plan, config: TrainSettings, device: str) -> Table:
    cost, speed = plan.cost, plan.speed
    table = Table("", "", title=f"time, {device}", title_justify="left", show_header=False)
    rate = config.batch_size / (cost.updates_per_batch * speed.update_seconds)
    balance = f"{speed.balancing_workers} loader processes each would balance"
    rows = {
        f"{cost.unit} in an update": f"{config.batch_size}; {cost.items} on each process",
        "updates of an epoch": f"{plan.updates_per_epoch:,}",
        "computing an update": f"{1e3 * speed.compute_seconds:,.1f} ms, "
        f"{cost.flops / 1e12:.4g} TFLOP a process",
        "reading for an update": f"{1e3 * speed.read_seconds:,.1f} ms on one core of this machine",
        "processor time of both": "not measured"
        if cost.processor_seconds is None
        else f"{1e3 * cost.processor_seconds:,.1f} ms on this machine, all threads",
        "limited by": f"{speed.limit}; {balance}" if speed.read_seconds else speed.limit,
        f"{cost.unit} a second": f"{rate:,.1f}, {rate * cost.read_bytes / 1e6:,.1f} MB/s from disk",
        "an epoch": _duration(plan.epoch_seconds) + ", without evaluations and checkpoints",
        "a checkpoint": f"{checkpoint_bytes(cost) / 1e9:.3f} GB",
        "disk of a run": f"{disk_bytes(cost, plan.keep_last) / 1e9:.3f} GB "
        f"(--keep-last {plan.keep_last}, the best, one being written, the model)",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2f} seconds"
