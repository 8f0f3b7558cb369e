"""Tuning a vision-language model: from a `TrainConfig` to a run folder with a model.

trl's `GRPOTrainer` is the loop. The house's run keeps the folder, the record, the checkpoints and the
report, and ends in order when it is told to.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from refine_iqa.config import TrainConfig
from refine_iqa.data.rows import Row, read_rows
from refine_iqa.rewards.registry import covers
from shared_core.data.quarantine import Quarantine
from shared_core.errors import ConfigError, DataError
from shared_core.launch.accelerator import accelerator
from shared_core.training.run import Run, Summary
from shared_core.training.schedules import Progress
from shared_core.training.snapshot import read_progress

PROGRAM = "refine-iqa"


@dataclass(frozen=True)
class Planned:
    """What a run must know of its training data."""

    quarantine: Quarantine
    updates: int
    """In an epoch."""

    def steps(self, epoch: int) -> int:  # noqa: ARG002 - the epochs are alike
        """Updates in an epoch."""
        return self.updates


def command(config: TrainConfig) -> int:
    """`refine-iqa train`."""
    train(config)
    return 0


def train(config: TrainConfig) -> Summary:
    """Tune a model, or go on where the run in the folder stopped.

    Returns:
        How the run ended; its folder holds the model, the record and the report.

    Raises:
        Stopped: the run was asked to stop; its checkpoint is saved.
        NonFiniteError: a loss was not finite; the weights are those before the update.
        UserError: a mistake in the settings or in the data.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # or it warns at every forked loader
    unusable = Quarantine(config.on_bad_row)
    rows, validation = training_rows(config, unusable), validation_rows(config, unusable)
    quarantine = Quarantine(config.on_bad_row)
    run = Run(config, accelerator(config), program=PROGRAM)
    with run.opened(Planned(quarantine, updates_per_epoch(config, len(rows)))):
        if run.summary is not None:
            return run.summary
        # trl takes seconds to import: mistakes in what was asked for are told before.
        from refine_iqa.grpo.build import build_trainer, export
        from refine_iqa.grpo.trainer import trainer_files

        trainer = build_trainer(config, rows, quarantine, run, validation=validation)
        resumed: Path | None = None

        def load(folder: Path) -> Progress:
            nonlocal resumed
            progress = read_progress(folder)
            resumed = trainer_files(folder, progress.step)
            return progress

        run.restore(load)
        if run.accelerator.is_main_process:  # every process has read the same tables
            _list_once(unusable, quarantine)
        if not run.over:
            trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
        return run.finish(partial(export, config))


def training_rows(config: TrainConfig, quarantine: Quarantine) -> list[Row]:
    """The rows of all tables, one after the other; of a table with splits, those to train on.

    Raises:
        DataError: a table or a row cannot be used, or there are fewer rows than an update takes.
        ConfigError: a row's task has no reward.
    """
    rows = [
        row
        for table in config.data
        for row in read_rows(table, data_root=config.data_root, quarantine=quarantine)
        if row.split is None or row.split.startswith("train")
    ]
    if len(rows) < config.batch_size:
        raise DataError(
            config.data[0],
            f"{len(rows)}",
            expected=f"{config.batch_size} rows or more, as many as an update takes",
            remedy="Lower --batch-size.",
        )
    _refuse_unrewarded(rows, config)
    return rows


def validation_rows(config: TrainConfig, quarantine: Quarantine) -> list[Row]:
    """The rows that the policy is judged on; of a table with splits, all but those to train on.

    Raises:
        DataError: the table cannot be used, or has no such row.
        ConfigError: a row has no score.
    """
    if config.eval_data is None:
        return []
    unusable = Quarantine(config.on_bad_row)  # the limit is of this table alone
    rows = [
        row
        for row in read_rows(config.eval_data, data_root=config.data_root, quarantine=unusable)
        if row.split is None or not row.split.startswith("train")
    ]
    quarantine.merge(unusable.rows)
    if not rows:
        raise DataError(config.eval_data, "none", expected="rows to judge the model on")
    for row in rows:
        if row.task != "scoring":
            expected = f"rows with scores; {row.where} has none"
            raise ConfigError("eval_data", str(config.eval_data), expected)
    return rows


def updates_per_epoch(config: TrainConfig, rows: int) -> int:
    """Updates of an epoch: of whole batches only; which rows are left over differs between epochs."""
    return rows // config.batch_size * config.num_iterations


def _list_once(found: Quarantine, quarantine: Quarantine) -> None:
    """Add rows that each start of a run finds anew, unless a checkpoint has kept them."""
    kept = {(row.path, row.where) for row in quarantine.rows}
    quarantine.merge(row for row in found.rows if (row.path, row.where) not in kept)


def _refuse_unrewarded(rows: Sequence[Row], config: TrainConfig) -> None:
    for row in rows:
        if not set(covers(row.task)) & set(config.reward_names):
            raise ConfigError(
                "rewards", config.reward_names, f"one for the task {row.task!r} of {row.where}"
            )
