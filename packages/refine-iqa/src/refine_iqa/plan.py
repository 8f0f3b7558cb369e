"""What an update costs, for `refine-iqa doctor --plan`: measured, or by rule where the model is too large.

A model whose weights lie on this machine, and that one process may train, makes a few updates on drawn
pictures. Of any other one `config.json` is enough: its costs follow from its sizes.
"""

from __future__ import annotations

import math
import statistics
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from refine_iqa.config import TrainConfig
from refine_iqa.plan_rule import by_rule
from refine_iqa.synthetic import write_table
from shared_core.data.quarantine import Quarantine
from shared_core.launch.accelerator import accelerator
from shared_core.launch.plan_counting import Counting
from shared_core.launch.plan_measure import UPDATES, Cost
from shared_core.training.run import Run
from shared_core.training.schedules import Progress

WARM_UP = 2


def made_up(config: TrainConfig, folder: Path, items: int) -> TrainConfig:
    """Draw `items` pictures to be scored; returns the settings that read them.

    Args:
        config: of the run; its tables are not read.
        folder: an empty one.
        items: prompts of an epoch.
    """
    side = math.isqrt(config.max_pixels)
    table = write_table(folder / "data", count=items, seed=0, side=side)
    scores = config.stage == "scoring"
    return replace(
        config,
        data=(table,),
        data_root=None,
        eval_data=None,
        stage="scoring",
        rewards=config.rewards if scores else (),
        reward_weights=config.reward_weights if scores else (),
    )


def cost(config: TrainConfig, folder: Path) -> Cost:
    """What an update of `config.batch_size` prompts costs, with a group of completions each.

    Args:
        config: of the run; its tables are not read.
        folder: an empty one, for the drawn pictures.

    Raises:
        CheckpointError: the model is not on this machine, not even its `config.json`.
    """
    has_weights = any(Path(config.model).rglob("*.safetensors"))
    needs_zero = config.weights_dtype == "bfloat16" and not config.lora.rank
    return _measured(config, folder) if has_weights and not needs_zero else by_rule(config)


class _Watch(TrainerCallback):
    """Times each update, and counts what is computed and kept in the last cycle of them."""

    def __init__(self, cycle: int) -> None:
        self.cycle = cycle
        self.seconds: list[float] = []
        self.busy: list[float] = []
        self.count = Counting()
        self._while_counted = ExitStack()
        self._mark = (0.0, 0.0)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if state.global_step == (WARM_UP + UPDATES) * self.cycle:
            self._while_counted.enter_context(self.count)
        self._mark = (time.perf_counter(), time.process_time())

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self.seconds.append(time.perf_counter() - self._mark[0])
        self.busy.append(time.process_time() - self._mark[1])
        if state.global_step == (WARM_UP + UPDATES + 1) * self.cycle:
            self._while_counted.close()

    def of_an_update(self, times: list[float]) -> float:
        """The median of the cycles after the warm-up, for each of their updates."""
        cycles = [
            statistics.fmean(times[first : first + self.cycle])
            for first in range(0, len(times), self.cycle)
        ]
        return statistics.median(cycles[WARM_UP:-1])


def _measured(config: TrainConfig, folder: Path) -> Cost:
    from refine_iqa.grpo.build import build_trainer
    from refine_iqa.grpo.callback import RunCallback
    from refine_iqa.learner import PROGRAM, training_rows, updates_per_epoch

    cycles = WARM_UP + UPDATES + 1
    config = replace(
        made_up(config, folder, 2 * config.batch_size),
        run=folder / "run",  # which trl makes
        epochs=cycles,
        max_steps=cycles * config.num_iterations,
    )
    quarantine = Quarantine("raise")
    run = Run(config, accelerator(config), program=PROGRAM)
    rows = training_rows(config, quarantine)
    run.progress = Progress(
        steps_per_epoch=updates_per_epoch(config, len(rows)), epochs=config.epochs
    )
    trainer = build_trainer(config, rows, quarantine, run)
    trainer.remove_callback(RunCallback)
    watch = _Watch(config.num_iterations)
    trainer.add_callback(watch)
    trainer.train()
    weights = list(trainer.model.parameters())
    trained = [weight for weight in weights if weight.requires_grad]
    reference = [] if trainer.ref_model is None else list(trainer.ref_model.parameters())
    states = trainer.optimizer.state.values()
    pictures = [file.stat().st_size for file in folder.rglob("*.png")]
    return Cost(
        unit="prompts",
        items=config.batch_size,
        update_seconds=watch.of_an_update(watch.seconds),
        processor_seconds=watch.of_an_update(watch.busy),
        flops=watch.count.flops / config.num_iterations,
        working_bytes=watch.count.peak,
        batch_bytes=0,
        weights=sum(weight.numel() for weight in weights),
        trained=sum(weight.numel() for weight in trained),
        parameter_bytes=sum(weight.nbytes for weight in weights),
        gradient_bytes=sum(weight.nbytes for weight in trained),
        optimizer_bytes=sum(
            value.nbytes for state in states for value in state.values() if hasattr(value, "nbytes")
        ),
        held_bytes=sum(weight.nbytes for weight in reference),
        read_bytes=sum(pictures) / len(pictures),
        updates_per_batch=config.num_iterations,
        notes=(
            f"{config.num_generations} completions a prompt, {config.max_completion_length} tokens at most; "
            "reading pictures is part of computing, and held is the model that learning is compared with",
        ),
    )
