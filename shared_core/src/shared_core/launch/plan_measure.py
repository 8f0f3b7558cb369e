"""What one update costs, measured: a package's own learner makes a few on made-up data."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor

from shared_core.data.loader import KeyedLoader
from shared_core.launch.accelerator import accelerator as connect
from shared_core.launch.plan_counting import Counting
from shared_core.training import loop
from shared_core.training.config import TrainSettings
from shared_core.training.learner import Learner
from shared_core.training.run import Run
from shared_core.training.schedules import Progress

UPDATES = 5
"""Updates that are timed, at most; what is said is their median."""

ENOUGH_SECONDS = 10.0
"""Updates are timed no longer than that, but for one."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What an update of `items` items costs the process that makes it."""

    unit: str
    """What an item is, in the plural."""
    items: int
    """Of an update, over its micro-batches."""
    update_seconds: float | None = None
    """From a batch to the optimiser's step; None where it was not measured."""
    read_seconds: float = 0.0
    """Processor time of reading and decoding the update's items."""
    processor_seconds: float | None = None
    """Time of all threads for both: on an idle machine with one thread, their sum."""
    flops: float
    """Multiplications and additions of matrix products and convolutions, forward and backward."""
    working_bytes: float
    """Largest sum of what an update makes and holds at a time, gradients included."""
    batch_bytes: float
    """Of the update's items on the device."""
    weights: int
    """Numbers of the model that are parameters."""
    trained: int
    """Those of them that learn."""
    parameter_bytes: int
    """Of all parameters."""
    gradient_bytes: int
    """As many as those of the parameters that learn."""
    optimizer_bytes: int
    """What the optimisers keep."""
    held_bytes: int = 0
    """What else stays: buffers of the model, a replay memory."""
    saved_bytes: int = 0
    """What of it a checkpoint holds."""
    read_bytes: float = 0.0
    """Of an item on the disk."""
    streamed_bytes: float = 0.0
    """Weights read one token after another while text is generated: bandwidth limits it."""
    updates_per_batch: int = 1
    """Updates made from the same items."""
    notes: tuple[str, ...] = ()
    """What a reader should know."""

    def drawn_out(self, larger: Cost, items: int) -> Cost:
        """The cost of `items`, on the straight line through this one and a larger one."""

        def on_line(name: str) -> Any:
            first, second = getattr(self, name), getattr(larger, name)
            if first is None or second is None:
                return None
            slope = (second - first) / (larger.items - self.items)
            return max(second, second + slope * (items - larger.items))  # a busy moment may tilt it

        scaled = (
            "update_seconds", "read_seconds", "processor_seconds", "flops", "working_bytes", "batch_bytes",
        )  # fmt: skip
        note = f"measured with {self.items} and {larger.items} {self.unit}, drawn out to {items}"
        return dataclasses.replace(
            larger,
            items=items,
            notes=(*larger.notes, note),
            **{name: on_line(name) for name in scaled},
        )


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A package's training on made-up data, as its `train` would begin it."""

    unit: str
    """What an item is, in the plural."""
    learner: Learner
    loader: KeyedLoader[Any, Any]
    read_bytes: float
    """Of an item on the disk."""
    epochs: tuple[int, ...] = (0,)
    """One epoch of each kind: the time is their mean, the memory that of the largest."""
    warm_up: int = 2
    """Updates of the first of them before the clock runs; of the others one is enough."""
    ready: Callable[[], None] = lambda: None
    """Called once the learner is prepared."""
    held_bytes: int = 0
    """What stays in memory beside the model and its optimisers."""
    saved_bytes: int = 0
    """What of it a checkpoint holds."""
    notes: tuple[str, ...] = ()


def measure(trial: Trial, config: TrainSettings, *, updates: int = UPDATES) -> Cost:
    """Make a few updates of a trial, and say what one of them costs.

    Args:
        trial: not yet prepared.
        config: of the run; one process, without loader processes.
        updates: how many are timed, where that does not take long.
    """
    run = Run(config, connect(config), program="plan")
    learner = trial.learner
    loop.prepare(learner, run)
    trial.ready()
    warm_ups = (trial.warm_up, *(1 for _ in trial.epochs[1:]))
    found = [
        _epoch(trial, run, epoch, warm_up, updates)
        for epoch, warm_up in zip(trial.epochs, warm_ups, strict=True)
    ]
    parameters = list(learner.bare_model.parameters())
    states = [opt.state for opt in learner.optimizers().values()]
    learnt = {id(p): p for opt in learner.optimizers().values() for p in _parameters_of(opt)}
    return Cost(
        unit=trial.unit,
        items=config.batch_size,
        update_seconds=statistics.fmean(one.seconds for one in found),
        read_seconds=statistics.fmean(one.read_seconds for one in found),
        processor_seconds=statistics.fmean(one.processor_seconds for one in found),
        flops=statistics.fmean(one.flops for one in found),
        working_bytes=max(one.peak for one in found),
        batch_bytes=max(one.batch for one in found),
        weights=sum(p.numel() for p in parameters),
        trained=sum(p.numel() for p in learnt.values()),
        parameter_bytes=_bytes(parameters),
        gradient_bytes=_bytes(list(learnt.values())),
        optimizer_bytes=_bytes(
            [v for state in states for of in state.values() for v in of.values()]
        ),
        held_bytes=trial.held_bytes + _bytes(list(learner.bare_model.buffers())),
        saved_bytes=trial.saved_bytes + _bytes(list(learner.bare_model.buffers())),
        read_bytes=trial.read_bytes,
        notes=trial.notes,
    )


@dataclass(frozen=True, kw_only=True)
class _Epoch:
    seconds: float
    read_seconds: float
    processor_seconds: float
    flops: int
    peak: int
    batch: int


def _epoch(trial: Trial, run: Run, epoch: int, warm_up: int, updates: int) -> _Epoch:
    read: list[float] = []
    made: list[float] = []
    busy: list[float] = []
    device = run.accelerator.device
    batches = _again_and_again(trial.loader, epoch)
    for number in range(warm_up + updates):
        if sum(made[warm_up:]) > ENOUGH_SECONDS:
            break
        before = time.process_time()
        place, micro_batches = next(batches)
        # What is made up lies in memory, so that reading is the processor's work alone.
        answered, read_at = time.perf_counter(), time.process_time()
        _update(trial.learner, run, epoch, number, place, send_to_device(micro_batches, device))
        _finish(device)
        read.append(read_at - before)
        made.append(time.perf_counter() - answered)
        busy.append(time.process_time() - before)
    place, micro_batches = next(batches)
    micro_batches = send_to_device(micro_batches, device)
    with Counting() as count:
        _update(trial.learner, run, epoch, len(made), place, micro_batches)
    return _Epoch(
        seconds=statistics.median(made[warm_up:]),
        read_seconds=statistics.median(read[warm_up:]),
        processor_seconds=statistics.median(busy[warm_up:]),
        flops=count.flops,
        peak=count.peak,
        batch=_bytes(_tensors(micro_batches)),
    )


def _again_and_again(loader: KeyedLoader[Any, Any], epoch: int) -> Iterator[tuple[int, list[Any]]]:
    """The full batches of one epoch without end, with their places in it; a short one costs less."""
    sizes = [len(batch) for batch in loader.plan.batches(epoch)]
    while True:
        for place, micro_batches in enumerate(loader.epoch(epoch)):
            if sizes[place] == max(sizes):
                yield place, micro_batches


def _update(
    learner: Learner, run: Run, epoch: int, step: int, place: int, micro_batches: list[Any]
) -> None:
    # Far from the end of the epoch, where some methods do more.
    run.progress = Progress(
        step=step, epoch=epoch, batch=place, steps_per_epoch=1_000_000, epochs=epoch + 2
    )
    loop.set_rates(learner, run)
    loop.update(learner, micro_batches, run)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]


def _bytes(values: Sequence[Any]) -> int:
    """Of the storages of tensors, each once."""
    storages = [v.untyped_storage() for v in values if isinstance(v, Tensor)]
    return sum({s.data_ptr(): s.nbytes() for s in storages}.values())


def _tensors(tree: Any) -> list[Tensor]:
    """All tensors of a batch, whatever its class."""
    if isinstance(tree, Tensor):
        return [tree]
    if is_dataclass(tree):
        return [t for field in fields(tree) for t in _tensors(getattr(tree, field.name))]
    if isinstance(tree, dict):
        return [t for value in tree.values() for t in _tensors(value)]
    if isinstance(tree, (tuple, list)):
        return [t for value in tree for t in _tensors(value)]
    return []
