"""The smallest whole training run: `python -m shared_core.testing.tiny_run train --run FOLDER`.

A network of two layers with dropout learns a linear function of random items. Tests run it as a
command (killed, signalled, in several processes) or call `train` in their own process.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shared_core import commands
from shared_core.data.loader import PADDING, ItemKey, KeyedLoader, ShuffledPlan, generator
from shared_core.launch.accelerator import accelerator
from shared_core.metrics.measure import Measure
from shared_core.reporting.events import read
from shared_core.testing.tiny_config import UNDEFINED, TinyConfig
from shared_core.training.hands import Hands
from shared_core.training.learner import Learner, Outcome
from shared_core.training.loop import fit
from shared_core.training.run import Run, Summary
from shared_core.training.seeding import seed_everything

ITEMS = 24
WIDTH = 4

Batch = tuple[Tensor, Tensor, Tensor]
"""Inputs [items, WIDTH], targets [items], valid [items]."""


class TinyData:
    """Random inputs and a linear function of them; each reading adds noise that its key decides."""

    def __len__(self) -> int:
        return ITEMS

    def __getitem__(self, key: ItemKey) -> tuple[Tensor, Tensor, bool]:
        if key.index == PADDING:
            return torch.zeros(WIDTH), torch.zeros(()), False
        inputs = torch.randn(WIDTH, generator=generator(key.index))
        noise = 0.1 * torch.randn(WIDTH, generator=key.generator())
        return inputs + noise, inputs.sum(), True


def collate(items: list[tuple[Tensor, Tensor, bool]]) -> Batch:
    """A batch of items."""
    inputs, targets, valid = zip(*items, strict=True)
    return torch.stack(inputs), torch.stack(targets), torch.tensor(valid)


class TinyLearner(Learner):
    """Squared error, a sum over items that may be cut anywhere; with faults on request."""

    score_name = "score"

    def __init__(self, config: TinyConfig, rank: int = 0, world: int = 1) -> None:
        seed_everything(config.seed)
        self.config = config
        self.model = nn.Sequential(
            nn.Linear(WIDTH, 8), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(8, 1)
        )
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate)
        self.updates = 0
        self.evaluations = 0
        self._is_last = rank == world - 1
        self._share = config.batch_size / (config.accumulate * world)

    def loss(self, batch: Batch) -> Outcome:
        """Sum of the squared errors of what is valid."""
        inputs, targets, valid = batch
        errors = (self.model(inputs).squeeze(-1) - targets).square()
        if self.updates + 1 == self.config.nan_at and self._is_last:
            errors = errors * float("nan")
        if self.updates + 1 == self.config.skip_at:
            return Outcome(loss=0.0 * errors.sum(), skipped=True)
        # Divided by a constant: the mean over micro-batches and processes is the batch's sum.
        return Outcome(loss=(errors * valid).sum() / self._share, logs={"items": valid.sum()})

    def update(self, micro_batches: Sequence[Batch], hands: Hands) -> Outcome:
        """An update, after the faults that come before it."""
        time.sleep(self.config.pause)
        while self.updates + 1 == self.config.stall_at:
            time.sleep(0.01)
        outcome = super().update(micro_batches, hands)
        self.updates += 1
        return outcome

    def evaluate(self) -> Mapping[str, Measure]:
        """Error on the items without noise."""
        inputs = torch.stack([torch.randn(WIDTH, generator=generator(i)) for i in range(ITEMS)])
        self.evaluations += 1
        error = (self.bare_model(inputs).squeeze(-1) - inputs.sum(-1)).square().mean()
        return {"score": self._score(-float(error)), "error": Measure(value=float(error))}

    def _score(self, measured: float) -> Measure:
        if self.config.scores is None:
            return Measure(value=measured)
        value = self.config.scores[min(self.evaluations, len(self.config.scores)) - 1]
        if value == UNDEFINED:
            return Measure(value=float("nan"), reason="asked for")
        return Measure(value=value)

    def describe(self, micro_batches: Sequence[Batch]) -> str:
        """How many items."""
        return f"{sum(len(batch[1]) for batch in micro_batches)} items"

    def state(self) -> Mapping[str, int]:
        """The counters that the faults go by."""
        return {"updates": self.updates, "evaluations": self.evaluations}

    def load_state(self, state: Mapping[str, int]) -> None:
        """Take the counters back."""
        self.updates, self.evaluations = state["updates"], state["evaluations"]


def train(config: TinyConfig) -> Summary:
    """The whole run, in this process or this rank."""
    connected = accelerator(config)
    rank, world = connected.process_index, connected.num_processes
    loader = KeyedLoader(
        TinyData(),
        ShuffledPlan(ITEMS, config.batch_size, config.seed),
        seed=config.seed,
        collate=collate,
        accumulate=config.accumulate,
        workers=config.workers,
        rank=rank,
        world=world,
    )
    run = Run(config, connected, program="tiny-run")
    return fit(TinyLearner(config, rank, world), loader, run)


def trace(folder: Path, *, timed_files: Sequence[str] = ()) -> dict[str, Any]:
    """Everything of a finished run that must not depend on how often it was interrupted.

    Args:
        folder: of the run.
        timed_files: names of files of a checkpoint that hold times.
    """
    last = max((folder / "checkpoints").glob("step-*"))
    timed = ("time", "items_per_second", "data_share")
    return {
        "events": [
            {
                name: value
                for name, value in event.items()
                if name not in timed and not name.startswith("seconds/")
            }
            for event in read(folder)
            if event["kind"] != "note"
        ],
        "checkpoint": {
            str(path.relative_to(last)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(last.rglob("*"))
            if path.is_file() and path.name not in timed_files
        },
        "model": hashlib.sha256((folder / "model/model.safetensors").read_bytes()).hexdigest(),
    }


def train_command(config: TinyConfig) -> None:
    """What the verb `train` does."""
    train(config)


VERBS = (
    commands.Verb(
        "train",
        "shared_core.testing.tiny_config:TinyConfig",
        "shared_core.testing.tiny_run:train_command",
        "Train.",
        launch=True,
    ),
)

if __name__ == "__main__":
    sys.exit(commands.main("tiny-run", "shared_core.testing.tiny_run", VERBS))
