"""Where a method meets the loop: a learner owns model, optimiser and the maths of one update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils import DistributedType
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from shared_core.checkpoints.pretrained import Pretrained
from shared_core.checkpoints.weights import save_weights
from shared_core.metrics.measure import Measure
from shared_core.training.schedules import Progress

if TYPE_CHECKING:
    from accelerate import Accelerator

    from shared_core.training.hands import Hands


@dataclass(frozen=True)
class Outcome:
    """What one micro-batch, or one update, came to."""

    loss: Float[Tensor, ""]
    """To be minimised; an update follows the mean over its micro-batches and processes."""
    logs: Mapping[str, float | Tensor] = field(default_factory=dict)
    """Further scalars for the events, averaged in the same way."""
    skipped: bool = False
    """Nothing in it counts. The loss still hangs on the model (such as `0 * prediction.sum()`), so
    that the processes stay in step; where all of them skip, the optimiser takes no step."""


class Learner:
    """One method's training: subclasses set `model` and `optimizer` and give `loss` or `update`."""

    model: nn.Module
    """The model as the loop sees it; after `prepare` possibly inside a wrapper of processes."""
    optimizer: Optimizer
    score_name: str | None = None
    """The measure of `evaluate` that chooses the best checkpoint; none: no best is kept."""
    progress: Progress | None = None
    """How far the run is, set before each update; None outside of a run."""
    _bare_model: nn.Module | None = None
    _accelerator: Accelerator | None = None

    @property
    def bare_model(self) -> nn.Module:
        """The model without wrappers: for its parts, and to evaluate unequal shares with."""
        return self.model if self._bare_model is None else self._bare_model

    @property
    def rank(self) -> int:
        """Number of this process; 0 before `prepare`."""
        return 0 if self._accelerator is None else int(self._accelerator.process_index)

    @property
    def world(self) -> int:
        """How many processes train together; 1 before `prepare`."""
        return 1 if self._accelerator is None else int(self._accelerator.num_processes)

    @property
    def weights_are_sharded(self) -> bool:
        """Whether a process holds a part of the weights only, so that each forward is a common one."""
        kinds = (DistributedType.DEEPSPEED, DistributedType.FSDP)
        return self._accelerator is not None and self._accelerator.distributed_type in kinds

    def shares(self) -> tuple[int, int]:
        """Rank and world for an evaluation that the processes share among themselves.

        Where the weights are sharded each process makes the whole of it: (0, 1).
        """
        return (0, 1) if self.weights_are_sharded else (self.rank, self.world)

    def sum_of_shares(self, table: np.ndarray) -> np.ndarray:
        """Add up what the processes found, each in its share, with zeros elsewhere (see `shares`)."""
        if self._accelerator is None or self.shares()[1] == 1:
            return table
        on_device = torch.from_numpy(table).to(self._accelerator.device)
        return np.asarray(self._accelerator.reduce(on_device, "sum").cpu())

    def prepare(self, accelerator: Accelerator) -> None:
        """Put model and optimiser on their device and under the processes' wrappers."""
        self._bare_model = self.model
        self._accelerator = accelerator
        self.model, self.optimizer = accelerator.prepare(self.model, self.optimizer)

    def optimizers(self) -> Mapping[str, Optimizer]:
        """All optimisers by name, for rates and checkpoints."""
        return {"optimizer": self.optimizer}

    def loss(self, batch: Any) -> Outcome:
        """Loss of one micro-batch on this process's device, attached to the graph."""
        raise NotImplementedError(
            f"{type(self).__name__} gives neither loss() nor its own update()"
        )

    def update(self, micro_batches: Sequence[Any], hands: Hands) -> Outcome:
        """Make one update from this process's share of a global batch.

        A learner that overrides it calls `hands.step` at least once, on every process alike.
        """
        outcomes = []
        for batch in hands.accumulate(self.model, micro_batches):
            with hands.autocast():
                outcome = self.loss(batch)
            hands.backward(outcome.loss)
            outcomes.append(replace(outcome, loss=outcome.loss.detach()))
        whole = mean_outcome(outcomes)
        norm = hands.step(self.optimizer, self.clip_groups(), skip=whole.skipped)
        return replace(whole, logs={**whole.logs, "gradient_norm": norm})

    def clip_groups(self) -> Sequence[nn.Module]:
        """Modules whose gradients are clipped, each by its own norm."""
        return [self.bare_model]

    def schedule(self, progress: Progress) -> float:  # noqa: ARG002
        """Factor on every base learning rate for the update that comes next."""
        return 1.0

    def evaluate(self) -> Mapping[str, Measure]:
        """Judge the model, in evaluation mode and without gradients; called on every process."""
        return {}

    def describe(self, micro_batches: Sequence[Any]) -> str:  # noqa: ARG002
        """Name what is in a batch (videos, files), for a message about a value not finite."""
        return ""

    def state(self) -> Mapping[str, Any]:
        """What else must survive a restart, as a tree of tensors, numbers and strings.

        Every process calls it, and what process 0 returns is saved: what differs between the
        processes is gathered here.
        """
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back, on every process, what `state` gave on process 0."""

    def own_state(self) -> Mapping[str, Any]:
        """What each process must keep for itself, too large to be gathered; a tree as for `state`."""
        return {}

    def load_own_state(self, state: Mapping[str, Any] | None) -> None:
        """Take back what `own_state` gave on the process of this number.

        Args:
            state: None where there was no such process when it was saved.
        """

    def export(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the finished model into `folder`: the best weights, or the last without a best."""
        model = self.bare_model
        if isinstance(model, Pretrained):
            finished = type(model)(model.config)
            finished.load_state_dict(weights)
            finished.save_pretrained(folder)
        else:
            save_weights(folder / "model.safetensors", weights, {})


def mean_outcome(outcomes: Sequence[Outcome]) -> Outcome:
    """The mean of losses and logs; skipped when all of them are."""
    names = {name for outcome in outcomes for name in outcome.logs}
    logs: dict[str, float | Tensor] = {}
    for name in sorted(names):
        values = [outcome.logs[name] for outcome in outcomes if name in outcome.logs]
        logs[name] = sum(values[1:], start=values[0]) / len(values)
    losses = [outcome.loss for outcome in outcomes]
    return Outcome(
        loss=sum(losses[1:], start=losses[0]) / len(losses),
        logs=logs,
        skipped=all(outcome.skipped for outcome in outcomes),
    )
