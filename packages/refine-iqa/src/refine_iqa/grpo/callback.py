"""What the house does around trl's loop: the record, evaluations, checkpoints, and a stop in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import TrainerCallback

from shared_core.data.loader import Position
from shared_core.faultpoints import reach
from shared_core.metrics.measure import Measure
from shared_core.training.learner import Outcome
from shared_core.training.run import Run

SCORE = "srcc"
"""The measure that decides which checkpoint is the best."""


class RunCallback(TrainerCallback):
    """Tells a run of every update, and carries out what the run then finds due.

    Args:
        run: opened.
        cycle: updates from the same completions; the run is left alone in the middle of them.
        judge: measures the policy on validation rows; none: nothing is judged.
    """

    def __init__(
        self, run: Run, *, cycle: int, judge: Callable[[], Mapping[str, Measure]] | None
    ) -> None:
        self._run = run
        self._cycle = cycle
        self._judge = judge

    def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
        """After every update; trl's last log, of the whole run, has no loss."""
        logs: dict[str, float] = given["logs"]
        if "loss" not in logs:
            return
        run, step = self._run, int(state.global_step)
        # A reward that judged no row of the update has no mean.
        values = {n: v for n, v in logs.items() if n not in _KNOWN and v is not None}
        per_epoch = run.progress.steps_per_epoch
        run.record(
            Outcome(loss=torch.tensor(logs["loss"]), logs=values),
            logs["learning_rate"],
            Position(epoch=step // per_epoch, batch=step % per_epoch),
        )
        if step % self._cycle:
            return
        if self._judge is not None and run.due(run.settings.evaluate_every):
            reach("evaluate")
            with run.watch.paused():
                measures = self._judge()
            run.judge(measures, SCORE)
        control.should_save = run.due(run.settings.save_every) or run.has_new_best or run.over
        control.should_training_stop = control.should_training_stop or run.over


_KNOWN = ("loss", "learning_rate", "epoch", "step_time")  # `seconds/...` say more than the last
