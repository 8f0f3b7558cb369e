"""One run as the loop sees it: where it stands, what is due, what is kept in its folder.

    runs/night/
      run.lock              held by the process that writes here
      config.yaml           the resolved settings
      fingerprint.json      hash of the settings that change the numbers, and these settings
      environment.json      versions and devices
      events.jsonl          what happened, a line each (`reporting.events`)
      checkpoints/          `checkpoints.store`; what is in each: `training.snapshot`
      quarantine.json       rows that were left out, if any
      stalled-0.txt         where process 0 stood, if it stalled
      model/                the finished model: the best weights, or the last ones without a best
      summary.json          how it ended; its presence says that the run is finished
      report.html           the report to read

Process 0 alone writes here. What can fail there (a full disk, a folder in use) is agreed on by all
processes, so that none waits for one that has ended.
"""

from __future__ import annotations

import dataclasses
import math
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, send_to_device

from shared_core.checkpoints.store import Store
from shared_core.data.loader import KeyedLoader, Position
from shared_core.data.quarantine import Quarantine
from shared_core.errors import CheckpointError
from shared_core.faultpoints import reach
from shared_core.launch.collectives import all_reduce_sum, any_rank
from shared_core.metrics.measure import Measure
from shared_core.training.config import TrainSettings
from shared_core.training.folder import RunFolder
from shared_core.training.guards import (
    Signals,
    StallWatch,
    Stopped,
    StoppedElsewhere,
    disk_error,
    first_alone,
)
from shared_core.training.hands import Hands
from shared_core.training.learner import Outcome
from shared_core.training.record import Record
from shared_core.training.schedules import Progress

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How a run ended."""

    steps: int
    """Updates made."""
    epochs: int
    """Whole epochs among them."""
    best: int | None
    """Updates made when the best score was measured; none without a score."""
    score: float | None
    """The best score."""
    stopped_by: str
    """`epochs`, `max_steps` or `early_stop`."""
    seconds: float
    """Time since the process that finished it began, or took up, the run."""


class Source(Protocol):
    """What a run must know of its training data; a `KeyedLoader` is one."""

    @property
    def quarantine(self) -> Quarantine:
        """The rows that were left out."""

    def steps(self, epoch: int) -> int:
        """Updates in an epoch."""


class Run:
    """A run as the loop sees it; the same on all processes.

    Args:
        settings: the run's settings.
        accelerator: from `shared_core.launch.accelerator`.
        program: the command that trains, such as `abaw-va`.
        config: the whole config, whose fingerprint counts, where `settings` is only a part of it.
    """

    def __init__(
        self,
        settings: TrainSettings,
        accelerator: Accelerator,
        *,
        program: str,
        config: Any = None,
    ) -> None:
        self.settings = settings
        self.accelerator = accelerator
        self.program = program
        self.config = settings if config is None else config
        self.progress = Progress(steps_per_epoch=0, epochs=settings.epochs)
        self.summary: Summary | None = None
        """Set once the run is finished."""
        self.signals = Signals()
        self.hands = Hands(
            accelerator,
            clip_norm=settings.clip_norm,
            fp16=settings.precision == "fp16",
            stop_asked=lambda: self.signals.received is not None,
        )
        self.store = Store(settings.run / "checkpoints", keep_last=settings.keep_last)
        self.watch = StallWatch(
            settings.stall_seconds, settings.run / f"stalled-{accelerator.process_index}.txt"
        )

    @contextmanager
    def opened(self, source: Source) -> Iterator[None]:
        """While the block runs, hold the folder, catch signals, watch for stalls, show the run.

        Raises:
            RunFolderError: the folder is in use, holds another run, or cannot be written.
        """
        self._source = source
        self._folder = RunFolder(self.settings.run)
        with ExitStack() as stack:
            stack.callback(self._folder.release)
            finished = self._alone(
                lambda: self._folder.claim(
                    self.config, program=self.program, resume=self.settings.resume
                )
            )
            self.summary = None if finished is None else Summary(**finished)
            whole = source.steps(0) * self.settings.epochs
            self._record = Record(
                self.settings,
                self.config,
                kept=bool(self.accelerator.is_main_process),
                planned_steps=min(whole, self.settings.max_steps or whole),
                lost=self._lost,
            )
            if self.summary is not None:
                self._record.say(f"{self.settings.run}: this run is finished.")
            stack.callback(self._record.close)
            self._alone(self._record.open)
            stack.enter_context(self.signals.caught())
            stack.enter_context(self.watch.watching())
            yield

    # Where it stands

    @property
    def place(self) -> str:
        """The update that comes next, for messages; counted from 1."""
        at = self.progress
        return f"update {at.step + 1} (epoch {at.epoch + 1}, batch {at.batch + 1})"

    @property
    def complete(self) -> str | None:
        """What has brought the run to its planned end: `epochs`, `max_steps`, `early_stop`."""
        progress, settings = self.progress, self.settings
        if progress.epoch >= settings.epochs:
            return "epochs"
        if settings.max_steps is not None and progress.step >= settings.max_steps:
            return "max_steps"
        if settings.early_stop and progress.evaluations_since_best >= settings.early_stop:
            return "early_stop"
        return None

    @property
    def over(self) -> bool:
        """Whether the loop ends here: by plan, or because all processes agreed to stop."""
        return self.complete is not None or self.hands.stopping

    def due(self, every: int | None) -> bool:
        """Whether now is the time for what happens `every` so many updates, or once an epoch."""
        if self.complete:
            return True
        return self.progress.batch == 0 if every is None else self.progress.step % every == 0

    @property
    def has_new_best(self) -> bool:
        """Whether the evaluation after the last update was the best so far."""
        return self.progress.best_step == self.progress.step

    # Going on

    def restore(self, load: Callable[[Path], Progress]) -> None:
        """Go back to where the newest checkpoint was made, or to the start.

        Args:
            load: takes what is trained out of a checkpoint's folder, and says where it stood.
        """
        saved = self._alone(self._newest)
        if saved is None:
            self.progress = self._at(Position(), step=0)
            self._alone(lambda: self._record.rewind(-1))
            if self.settings.resume:
                self._record.say(
                    f"{self.settings.run}: no checkpoint to go on from; this begins anew"
                )
        else:
            self._go_on(saved, load)
        self._record.meter.skip()

    def batches(self, loader: KeyedLoader[Any, Any]) -> Iterator[tuple[Position, list[Any]]]:
        """The rest of the run's batches on this process's device, with the position after each."""
        start = Position(self.progress.epoch, self.progress.batch)
        stream = self._record.meter.waiting(loader.after(start))
        while not self.over:
            position, micro_batches = next(stream)
            device = self.accelerator.device
            yield position, send_to_device(micro_batches, device, non_blocking=True)

    def record(self, outcome: Outcome, rate: float, position: Position) -> None:
        """Count an update, and write it down where its turn is."""
        self.watch.beat()
        self._record.meter.updated()
        epoch = self.progress.epoch
        self.progress = self._at(position, step=self.progress.step + 1)
        if self.progress.step % self.settings.log_every and not self.over:
            return
        values = self._mean_over_ranks({"loss": outcome.loss, **outcome.logs})
        values["learning_rate"] = rate
        if self.hands.left_out:
            values["left_out"] = True
        if self.hands.overflows:
            values["overflow"] = True
        self._record.trained(self.progress.step, epoch, values)
        reach("recorded")

    def judge(self, measures: Mapping[str, Measure], score_name: str | None) -> None:
        """Write an evaluation down; what process 0 measured decides on the best for all."""
        told = self._alone(lambda: {name: dataclasses.asdict(m) for name, m in measures.items()})
        measures = {name: Measure(**fields) for name, fields in told.items()}
        if not measures:
            return
        self._record.evaluated(self.progress.step, self.progress.epoch, measures, score_name)
        if score_name is not None:
            self.progress = _scored(self.progress, measures[score_name])
        self._record.meter.skip()
        reach("judged")

    def save(self, write: Callable[[Path], None]) -> None:
        """Save a checkpoint of this moment, whole or not at all.

        Args:
            write: puts its files into a folder; every process calls it.

        Raises:
            CheckpointError: it cannot be written; those before it are intact.
        """
        step = self.progress.step
        failure: CheckpointError | None = None
        self._alone(lambda: str(self.store.begin(step)))
        try:
            with self.store.writing(step) as folder:
                write(folder)
        except CheckpointError as error:
            failure = error
        if any_rank([failure is not None])[0]:
            self._alone(lambda: self.store.abandon(step))
            raise failure or StoppedElsewhere("another process could not write the checkpoint.")
        quarantined = gather_object(self._source.quarantine.to_json())
        self._alone(lambda: self._commit(quarantined))
        self.watch.beat()
        self._record.meter.skip()

    def finish(self, export: Callable[[Path, Path], None]) -> Summary:
        """Export the model and write the report; a run that was asked to stop ends here instead.

        Args:
            export: writes the model into the first folder, from the checkpoint in the second.

        Raises:
            Stopped: by a signal; the checkpoint is saved.
        """
        if self.complete is None:
            raise self._stopped()
        self.summary = summary = Summary(
            steps=self.progress.step,
            epochs=self.progress.epoch,
            best=self.progress.best_step,
            score=self.progress.best_score,
            stopped_by=self.complete,
            seconds=self._record.meter.seconds,
        )
        with self.watch.paused():
            self._alone(lambda: self._export(export, summary))
        self._record.say(
            f"written to {self.settings.run}; open {self.settings.run / 'report.html'}"
        )
        return summary

    # Helpers

    def _go_on(self, saved: Mapping[str, Any], load: Callable[[Path], Progress]) -> None:
        reach("load")
        self.progress = load(Path(saved["folder"]))
        if self.accelerator.is_main_process:
            self._source.quarantine.merge(saved["quarantine"])
        self._alone(lambda: self._record.rewind(self.progress.step))
        self._tell_of_going_on(saved["processes"])
        reach("loaded")

    def _tell_of_going_on(self, before: int) -> None:
        """Say that the run continues, and whether it can still end with the same bits."""
        now = self.accelerator.num_processes
        told = f"continued after update {self.progress.step}"
        if now != before:
            told += (
                f" in {now} process(es) instead of {before}: the same batches, other last digits"
            )
        self._record.note(self.progress.step, told)

    def _alone(self, action: Callable[[], T]) -> T:
        """Let process 0 act; all get its result or failure, also one of the record that waits."""

        def act() -> T:
            if self.hands.failure is not None:
                raise self.hands.failure
            try:
                return action()
            except OSError as error:
                raise disk_error(error, self.settings.run) from error

        return first_alone(act, is_first=bool(self.accelerator.is_main_process))

    def _lost(self, error: OSError) -> None:
        """An event could not be written: all processes are told at their next agreement."""
        self.hands.failure = disk_error(error, self.settings.run)

    def _newest(self) -> dict[str, Any] | None:
        saved = self.store.latest()
        if saved is None:
            return None
        return {"folder": str(saved.folder), **saved.note}

    def _at(self, position: Position, step: int) -> Progress:
        before = self.progress
        known = before.steps_per_epoch and position.epoch == before.epoch
        return replace(
            before,
            step=step,
            epoch=position.epoch,
            batch=position.batch,
            steps_per_epoch=before.steps_per_epoch if known else self._source.steps(position.epoch),
        )

    def _mean_over_ranks(self, values: Mapping[str, Any]) -> dict[str, Any]:
        if self.accelerator.num_processes == 1:
            return {name: float(value) for name, value in values.items()}
        device = self.accelerator.device
        mine = [torch.as_tensor(v, dtype=torch.float64, device=device) for v in values.values()]
        mean = all_reduce_sum(torch.stack(mine).detach()) / self.accelerator.num_processes
        return dict(zip(values, mean.tolist(), strict=True))

    def _commit(self, quarantined: list[dict[str, Any]]) -> None:
        self._record.sync()
        note = {"quarantine": quarantined, "processes": self.accelerator.num_processes}
        self.store.commit(self.progress.step, best=self.has_new_best, note=note)
        if quarantined:
            self._folder.write_json("quarantine.json", quarantined)

    def _export(self, export: Callable[[Path, Path], None], summary: Summary) -> None:
        kept = self.store.best() or self.store.latest()
        if kept is None:
            raise CheckpointError(self.store.folder, "no checkpoint to export the model from")
        self._folder.export(lambda folder: export(folder, kept.folder))
        self._folder.finish(dataclasses.asdict(summary))

    def _stopped(self) -> Stopped:
        received = self.signals.received
        interrupted, _ = any_rank([received == signal.SIGINT, received == signal.SIGTERM])
        number = signal.SIGINT if interrupted else signal.SIGTERM
        self._record.note(self.progress.step, f"stopped by {number.name}")
        return Stopped(
            number,
            f"stopped by {number.name} after update {self.progress.step}; the checkpoint is saved. "
            "Continue with --resume.",
        )


def _scored(progress: Progress, measure: Measure) -> Progress:
    """The history with one more score; one that is not finite is undefined and never the best."""
    signed = measure.value if measure.higher_is_better else -measure.value
    score = signed if math.isfinite(signed) else math.nan
    grown = replace(progress, scores=(*progress.scores, score))
    if math.isnan(score) or grown.evaluations_since_best:
        return grown
    return replace(grown, best_step=progress.step, best_score=measure.value)
