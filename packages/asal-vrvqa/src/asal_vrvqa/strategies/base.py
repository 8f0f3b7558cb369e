"""What a strategy is: the loss of an update, and what happens between two tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from asal_vrvqa.config.training import check_strategy
from asal_vrvqa.data.items import ClipBatch
from asal_vrvqa.method.memory import Memory
from asal_vrvqa.model.network import Output, QualityModel
from shared_core.training.learner import Outcome, mean_outcome

if TYPE_CHECKING:
    from asal_vrvqa.learner import StreamLearner
    from shared_core.training.hands import Hands


class Strategy:
    """Learns each task as it comes, and does nothing about the past: the base of all others.

    A subclass gives `further` terms of the loss, or its own `update`, and what it does when a task begins
    or ends. All of it happens on every process alike, and depends on nothing that is not in `state`.

    Args:
        learner: the run that it works for.
    """

    paper: ClassVar[str]
    """Where it is published."""

    def __init__(self, learner: StreamLearner) -> None:
        self.learner = learner
        self.settings = learner.config.replay
        self.memory: Memory | None = None

    def begin(self, task: int) -> None:
        """Before the first update of a task, from 0."""

    def end(self, task: int) -> None:
        """After the last update of a task."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What the optimiser gets: all weights alike."""
        return [{"params": list(self.learner.network.parameters())}]

    def update(self, micro_batches: Sequence[ClipBatch], hands: Hands) -> Outcome:
        """Make one update: the mean of the micro-batches' losses, and one step."""
        learner = self.learner
        outcomes = []
        for batch in hands.accumulate(learner.model, micro_batches):
            with hands.autocast():
                outcome = self.loss(batch)
            hands.backward(outcome.loss)
            outcomes.append(replace(outcome, loss=outcome.loss.detach()))
        self.before_step()
        whole = mean_outcome(outcomes)
        norm = hands.step(learner.optimizer, learner.clip_groups(), skip=whole.skipped)
        self.after_step()
        return replace(whole, logs={**whole.logs, "gradient_norm": norm})

    def before_step(self) -> None:
        """With the gradients at hand, before they move the weights."""

    def after_step(self) -> None:
        """After the weights have moved."""

    def loss(self, batch: ClipBatch) -> Outcome:
        """Loss of the current clips, and whatever `further` adds to it."""
        current = batch.that_count()
        output = self.current_output(current)
        terms = {"score_loss": self.current_loss(output, current, len(batch.valid))}
        terms |= self.of_variance(output) | self.further(output, current)
        return outcome_of(terms, skipped=not len(current))

    def current_output(self, current: ClipBatch) -> Output:
        """What the network says of the current clips, with noise."""
        noise = self.learner.draws().noise(current.index.tolist(), current.frames.shape[1])
        return self.learner.look(current.frames, noise)

    def current_loss(self, output: Output, current: ClipBatch, places: int) -> Tensor:
        """The loss of the settings on the current clips."""
        return self.learner.score_loss(output.score, current.score, places)

    def of_variance(self, output: Output) -> dict[str, Tensor]:
        """The divergence of the regressor's variances, weighted, where it is asked for."""
        loss = self.learner.variance_loss(output)
        return {} if loss is None else {"kl_loss": loss}

    def further(self, output: Output, current: ClipBatch) -> dict[str, Tensor]:  # noqa: ARG002
        """Further terms of the loss, by name and weighted."""
        return {}

    @property
    def memory_bytes(self) -> int:
        """What it keeps of the past, in bytes."""
        return 0 if self.memory is None else self.memory.bytes

    def state(self) -> Mapping[str, Any]:
        """What must survive a restart."""
        return {} if self.memory is None else {"memory": self.memory.state()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        if self.memory is not None:
            self.memory.load_state(state["memory"])

    # What several strategies do

    def copy_of_network(self, weights: Mapping[str, Tensor]) -> QualityModel:
        """A network like the run's, with these weights, that only looks."""
        network = self.learner.network
        copy = QualityModel(network.config)
        copy.load_state_dict(weights)
        return copy.to(next(network.parameters()).device).eval().requires_grad_(False)

    def share(self, slots: Sequence[int]) -> tuple[list[int], int]:
        """This process's part of some slots, and the most that a process can have."""
        world, rank = self.learner.world, self.learner.rank
        places = -(-len(slots) // world)
        return list(slots[rank * places : (rank + 1) * places]), places

    def replayed(self, memory: Memory, slots: Sequence[int]) -> tuple[Output, list[int], int]:
        """Output for this process's part of some slots, these slots, and the most of a process."""
        mine, places = self.share(slots)
        frames = memory["frames"][mine]
        noise = self.learner.draws().replay_noise(mine, frames.shape[1])
        return self.learner.look(frames, noise), mine, places


def outcome_of(terms: Mapping[str, Tensor], *, skipped: bool) -> Outcome:
    """The sum of weighted terms, each of which is logged."""
    total = torch.stack([term.float() for term in terms.values()]).sum()
    logs: dict[str, float | Tensor] = {name: term.detach() for name, term in terms.items()}
    return Outcome(loss=total, logs=logs, skipped=skipped)


_CLASSES = {
    "finetune": "Finetune",
    "joint": "Joint",
    "er": "ExperienceReplay",
    "der": "DarkReplay",
    "derpp": "DarkReplayPlus",
    "lwf": "LearningWithoutForgetting",
    "ewc": "OnlineEwc",
    "si": "SynapticIntelligence",
    "agem": "AGem",
    "gdumb": "GDumb",
    "magr": "Magr",
    "asal": "Asal",
}


def strategy(name: str) -> type[Strategy]:
    """The class of a strategy.

    Raises:
        ConfigError: there is none of this name; says so where it cannot be adapted to regression.
    """
    check_strategy(name)
    module = import_module(f"asal_vrvqa.strategies.{name}")
    found: type[Strategy] = vars(module)[_CLASSES[name]]
    return found
