"""What a run tells while it goes: its events, the trackers that follow it, and the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from shared_core.config import to_dict
from shared_core.metrics.measure import Measure
from shared_core.reporting.events import Events
from shared_core.reporting.trackers import Trackers
from shared_core.training.config import TrainSettings
from shared_core.training.meters import Display, Meter, clock_time


class Record:
    """Process 0's record; on the others every method does nothing.

    Args:
        settings: the run's settings.
        config: the whole config, for the trackers.
        kept: whether this process keeps the record.
        planned_steps: updates until the run is done.
        lost: told when an event cannot be written, instead of an exception on this process alone.
    """

    def __init__(
        self,
        settings: TrainSettings,
        config: Any,
        *,
        kept: bool,
        planned_steps: int,
        lost: Callable[[OSError], None],
    ) -> None:
        self.meter = Meter()
        self._lost = lost
        self._settings = settings
        self._config = config
        self._kept = kept
        self._planned_steps = planned_steps
        self._display = Display(planned_steps, shown=kept)
        self._open_parts = ExitStack()

    def open(self) -> None:
        """Open the files and the bar.

        Raises:
            DataError: the events cannot be written.
            MissingExtraError: a tracker is not installed.
        """
        if self._kept:
            folder = self._settings.run
            trackers = Trackers(self._settings.trackers, folder, to_dict(self._config))
            self._events = self._open_parts.enter_context(Events(folder))
            self._open_parts.callback(trackers.close)
            self._trackers = trackers
            self._open_parts.enter_context(self._display.opened())

    def close(self) -> None:
        """Close what is open."""
        self._open_parts.close()

    def rewind(self, step: int) -> None:
        """Forget what was recorded after a step; -1 for everything."""
        if self._kept:
            self._events.rewind(step)

    def sync(self) -> None:
        """Wait until what was recorded is on the disk."""
        self._events.sync()

    def note(self, step: int, text: str) -> None:
        """Record and show a sentence."""
        self._write(step, "note", text=text)
        self.say(text)

    def say(self, text: str) -> None:
        """Show a sentence."""
        self._display.say(text)

    def trained(self, step: int, epoch: int, values: Mapping[str, Any]) -> None:
        """Record and show an update; `values` are its numbers, the loss among them."""
        speed = self.meter.speed(self._settings.batch_size)
        self._write(step, "train", epoch=epoch, **values, **speed)
        self._track(step, {f"train/{name}": value for name, value in {**values, **speed}.items()})
        self._display.update(step, epoch, lambda: self._line(step, values["loss"], speed))

    def evaluated(
        self, step: int, epoch: int, measures: Mapping[str, Measure], score_name: str | None
    ) -> None:
        """Record an evaluation, and show its score; without one, all that it measured."""
        told = {name: measure.to_json() for name, measure in measures.items()}
        self._write(step, "evaluate", epoch=epoch, measures=told, score=score_name)
        self._track(step, {f"evaluate/{name}": m.value for name, m in measures.items()})
        shown = measures if score_name is None else {score_name: measures[score_name]}
        listing = ", ".join(f"{name} {measure}" for name, measure in shown.items())
        self.say(f"after update {step}: {listing}")

    def _line(self, step: int, loss: float, speed: Mapping[str, float]) -> str:
        left = self.meter.seconds_left(self._planned_steps - step)
        parts = [f"loss {loss:.4g}", f"{speed['items_per_second']:.4g} items/s"]
        if "data_share" in speed:
            parts.append(f"waiting for data {speed['data_share']:.0%}")
        return "  ".join([*parts, f"{clock_time(left)} left"])

    def _write(self, step: int, kind: str, **values: Any) -> None:
        if not self._kept:
            return
        try:
            self._events.write(step, kind, **values)
        except OSError as error:
            self._lost(error)

    def _track(self, step: int, values: Mapping[str, float]) -> None:
        if self._kept:
            self._trackers.log(step, values)
