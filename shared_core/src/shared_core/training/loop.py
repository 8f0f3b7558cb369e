"""The loop. It knows no method, no precision and no process layout: only what happens when."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from shared_core.checkpoints.weights import load_weights
from shared_core.data.loader import KeyedLoader
from shared_core.faultpoints import reach
from shared_core.metrics.measure import Measure
from shared_core.training import snapshot
from shared_core.training.learner import Learner, Outcome
from shared_core.training.run import Run, Summary
from shared_core.training.seeding import seed_everything


def fit(learner: Learner, loader: KeyedLoader[Any, Any], run: Run) -> Summary:
    """Train until the run's plan is done; exact to resume from any of its checkpoints.

    One step is: a global batch, the update, its line in the record, then, when they are due, an
    evaluation and a checkpoint. The evaluation comes before the checkpoint of the same step: a run
    that dies between them repeats it, and no step is judged twice in the record.

    Args:
        learner: makes the updates; not yet prepared.
        loader: deals the training data to this process.
        run: the run folder and everything that is kept there.

    Returns:
        How the run ended; a run that had been finished before is not touched.

    Raises:
        Stopped: the run was asked to stop; its checkpoint is saved.
        NonFiniteError: a loss or gradient was not finite; the weights are those before the update.
        RunFolderError: the folder is in use, holds another run, or cannot be written.
        CheckpointError: no checkpoint can be written, or none can be read.
    """
    with run.opened(loader):
        if run.summary is not None:
            return run.summary
        prepare(learner, run)
        run.restore(lambda folder: snapshot.restore(folder, learner, run.accelerator))
        for position, micro_batches in run.batches(loader):
            rate = set_rates(learner, run)
            outcome = update(learner, micro_batches, run)
            run.record(outcome, rate, position)
            if run.due(run.settings.evaluate_every):
                run.judge(evaluate(learner, run), learner.score_name)
            if run.due(run.settings.save_every) or run.has_new_best or run.over:
                run.save(partial(_write, learner, run))
        return run.finish(partial(_export, learner))


def _write(learner: Learner, run: Run, folder: Path) -> None:
    snapshot.write(folder, learner, run.accelerator, run.progress)


def _export(learner: Learner, folder: Path, checkpoint: Path) -> None:
    learner.export(folder, load_weights(checkpoint / snapshot.WEIGHTS))


def prepare(learner: Learner, run: Run) -> None:
    """Note the base rates, then put the learner on its device and under its wrappers."""
    for optimizer in learner.optimizers().values():
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
    learner.prepare(run.accelerator)
    learner.model.train()


def set_rates(learner: Learner, run: Run) -> float:
    """Set every learning rate to its base rate times the learner's schedule; returns the first."""
    factor = learner.schedule(run.progress)
    groups = [g for opt in learner.optimizers().values() for g in opt.param_groups]
    for group in groups:
        group["lr"] = group["initial_lr"] * factor
    return float(groups[0]["lr"])


def update(learner: Learner, micro_batches: list[Any], run: Run) -> Outcome:
    """Make one update. What it draws at random depends on its place in the run, not on history."""
    progress = learner.progress = run.progress
    seed_everything(
        run.settings.seed, progress.epoch, progress.batch, run.accelerator.process_index
    )
    run.hands.start(run.place, describe=partial(learner.describe, micro_batches))
    reach("loop:update")
    outcome = learner.update(micro_batches, run.hands)
    reach("loop:updated")
    return outcome


def evaluate(learner: Learner, run: Run) -> Mapping[str, Measure]:
    """Judge the model in evaluation mode, without gradients."""
    reach("evaluate")
    progress = run.progress
    seed_everything(run.settings.seed, progress.step, run.accelerator.process_index, 0, 0)
    learner.model.eval()
    try:
        with torch.no_grad(), run.watch.paused():
            measures = learner.evaluate()
    finally:
        learner.model.train()
    reach("evaluated")
    return measures
