"""What a process of `run_ranks` does in the row `not-finite`: train, and spoil one value on the last process.

The rows call `trains` in processes that know nothing of the tool; so this imports the house alone.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import fields, is_dataclass, replace
from importlib import import_module
from typing import Any
from unittest.mock import patch

from accelerate.state import AcceleratorState
from torch import Tensor

from shared_core.config import from_dict
from shared_core.errors import UserError
from shared_core.training import folder
from shared_core.training.hands import Hands
from shared_core.training.run import Run

KINDS = ("loss", "gradient", "batch")


class Spoiler:
    """Spoils one update on the last process, and watches the weights on all.

    Args:
        kind: the loss, the gradient, or every number of the batch.
        update: which, from 1.
    """

    def __init__(self, kind: str, update: int) -> None:
        self.kind, self.update = kind, update
        self.here = int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1
        self.watched: list[Tensor] = []
        self.before = ""

    def watch(self, weights: Iterable[Tensor]) -> None:
        """Remember weights as they are before the update that is spoilt."""
        self.watched = list(weights)
        self.before = _digest(self.watched)

    def unchanged(self) -> bool:
        """Whether they still are."""
        return bool(self.watched) and _digest(self.watched) == self.before

    def spoil_gradient(self, weights: Iterable[Tensor]) -> None:
        """Make one gradient infinite, where it is this process's turn."""
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if self.here and self.kind == "gradient" and gradients:
            gradients[0].view(-1)[0] = float("inf")


def trains(
    module: str, orders: list[dict[str, Any]], update: int, trl: bool
) -> list[dict[str, Any]]:
    """Train once for each kind of value, until the spoilt update ends that run.

    Args:
        module: import name of the package.
        orders: for each run its `kind`, one of `KINDS`, and its `config` as a tree.
        update: which update is spoilt, from 1.
        trl: trl's trainer makes the updates, not the core's loop.

    Returns:
        For each run the error's class and message, and whether the weights are those before the
        update.
    """
    return [
        _trains(module, order["config"], Spoiler(order["kind"], update), trl) for order in orders
    ]


def _trains(module: str, config: dict[str, Any], spoiler: Spoiler, trl: bool) -> dict[str, Any]:
    AcceleratorState._reset_state()  # a process connects once
    settings = from_dict(import_module(f"{module}.config").TrainConfig, config)
    learner = import_module(f"{module}.learner")
    with ExitStack() as stack:
        for one in _in_trl(spoiler) if trl else _in_the_house(spoiler):
            stack.enter_context(one)
        stack.enter_context(redirect_stdout(io.StringIO()))
        stack.enter_context(patch.object(folder, "run_report", lambda _path: None))
        try:
            learner.train(settings)
        except UserError as error:
            name, text = type(error).__name__, str(error)
            return {"error": name, "message": text, "unchanged": spoiler.unchanged()}
    return {"error": "", "message": "the run came to its end", "unchanged": False}


def _in_the_house(spoiler: Spoiler) -> Sequence[Any]:
    backward, step, batches = Hands.backward, Hands.step, Run.batches

    def due(hands: Hands) -> bool:
        return hands._where.startswith(f"update {spoiler.update} ")

    def spoilt_backward(hands: Hands, loss: Tensor) -> None:
        bad = spoiler.here and spoiler.kind == "loss" and due(hands)
        backward(hands, loss * float("nan") if bad else loss)

    def spoilt_batches(run: Run, loader: Any) -> Iterator[Any]:
        for position, micro_batches in batches(run, loader):
            next_is_spoilt = run.progress.step + 1 == spoiler.update
            bad = spoiler.here and spoiler.kind == "batch" and next_is_spoilt
            yield position, _all_nan(micro_batches) if bad else micro_batches

    def spoilt_step(hands: Hands, optimizer: Any, *rest: Any, **named: Any) -> float:
        if due(hands):
            weights = [w for group in optimizer.param_groups for w in group["params"]]
            spoiler.watch(weights)
            spoiler.spoil_gradient(weights)
        return step(hands, optimizer, *rest, **named)

    return [
        patch.object(Hands, "backward", spoilt_backward),
        patch.object(Run, "batches", spoilt_batches),
        patch.object(Hands, "step", spoilt_step),
    ]


def _in_trl(spoiler: Spoiler) -> Sequence[Any]:
    from trl import GRPOTrainer

    loss, step = GRPOTrainer._compute_loss, GRPOTrainer.training_step

    def due(trainer: Any) -> bool:
        return bool(trainer.state.global_step + 1 == spoiler.update)

    def spoilt_loss(trainer: Any, model: Any, inputs: Any) -> Tensor:
        if due(trainer) and not spoiler.watched:
            spoiler.watch(model.parameters())
        found: Tensor = loss(trainer, model, inputs)
        bad = spoiler.here and spoiler.kind == "loss" and due(trainer)
        return found * float("nan") if bad else found

    def spoilt_step(trainer: Any, model: Any, *rest: Any, **named: Any) -> Any:
        found = step(trainer, model, *rest, **named)
        if due(trainer):
            spoiler.spoil_gradient(model.parameters())
        return found

    return [
        patch.object(GRPOTrainer, "_compute_loss", spoilt_loss),
        patch.object(GRPOTrainer, "training_step", spoilt_step),
    ]


def _all_nan(batch: Any) -> Any:
    """The batch with NaN for each of its numbers that is not whole; what holds them keeps its kind."""
    if isinstance(batch, Tensor):
        return batch * float("nan") if batch.is_floating_point() else batch
    if is_dataclass(batch) and not isinstance(batch, type):
        spoilt = {each.name: _all_nan(getattr(batch, each.name)) for each in fields(batch)}
        return replace(batch, **spoilt)
    if isinstance(batch, dict):
        return {name: _all_nan(value) for name, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(_all_nan, batch))
    if isinstance(batch, list | tuple):
        return type(batch)(map(_all_nan, batch))
    return batch


def _digest(tensors: Sequence[Tensor]) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
