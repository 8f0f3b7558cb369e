"""How fast a run goes, where its time goes, and how that is shown while it runs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

T = TypeVar("T")

_LINE_EVERY_S = 5.0


class Meter:
    """Times of the last updates: waiting for data, computing, and what that makes of the rest.

    Args:
        window: how many of the last updates count.
        clock: seconds from any start; only differences are used.
    """

    def __init__(self, window: int = 50, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._waited: deque[float] = deque(maxlen=window)
        self._computed: deque[float] = deque(maxlen=window)
        self._started = self._mark = clock()
        self._updates = 0

    def waiting(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches; notes how long each one was waited for."""
        iterator = iter(batches)
        while True:
            asked = self._clock()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self._mark = self._clock()
            self._waited.append(self._mark - asked)
            yield batch

    def updated(self) -> None:
        """Note the end of an update: of the last batch, or of what was done since the update before."""
        now = self._clock()
        self._computed.append(now - self._mark)
        self._mark = now  # a loop that tells of no batch is measured from update to update
        self._updates += 1

    def skip(self) -> None:
        """Leave what happened since the last update, such as a save, out of the next one's time."""
        self._mark = self._clock()

    def speed(self, items: int) -> dict[str, float]:
        """What the record says of the last updates; the share of data only where it was noted."""
        speed = {"items_per_second": self.items_per_second(items)}
        return {**speed, "data_share": self.data_share} if self._waited else speed

    @property
    def data_share(self) -> float:
        """Part of the updates' time that was spent waiting for data, 0..1."""
        return sum(self._waited) / max(self._busy, 1e-12)

    def items_per_second(self, items: int) -> float:
        """Throughput of the last updates, `items` in each, without evaluations and saves."""
        return items * len(self._computed) / max(self._busy, 1e-12)

    def seconds_left(self, updates: int) -> float:
        """Time for that many more updates at the pace so far, with its evaluations and saves."""
        return updates * self.seconds / self._updates if self._updates else float("nan")

    @property
    def seconds(self) -> float:
        """Since the meter was made."""
        return self._clock() - self._started

    @property
    def _busy(self) -> float:
        return sum(self._waited) + sum(self._computed)


class Display:
    """The run on the terminal: a bar, or a line every few seconds where output goes to a file."""

    def __init__(self, total: int, *, shown: bool, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._total = total
        self._shown = shown
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}  {task.fields[text]}"),
            console=self._console,
            disable=not (shown and self._console.is_terminal),
        )
        self._task = self._bar.add_task("", total=total, epoch=1, text="")
        self._line_at = -_LINE_EVERY_S

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Show the bar while the block runs."""
        with self._bar:
            yield

    def update(self, step: int, epoch: int, text: Callable[[], str]) -> None:
        """Show where the run is; `text` is called only when it is shown."""
        if not self._shown:
            return
        if self._console.is_terminal:
            self._bar.update(self._task, completed=step, epoch=epoch + 1, text=text())
        elif time.monotonic() - self._line_at >= _LINE_EVERY_S or step == self._total:
            self._line_at = time.monotonic()
            self._console.print(
                f"epoch {epoch + 1}  {step}/{self._total}  {text()}", soft_wrap=True, markup=False
            )

    def say(self, message: str) -> None:
        """A line that stays."""
        if self._shown:
            self._console.print(message, soft_wrap=True, markup=False, highlight=False)


def clock_time(seconds: float) -> str:
    """Such as `1:02:03` or `0:42`; `?` where it is unknown."""
    if seconds != seconds:
        return "?"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
