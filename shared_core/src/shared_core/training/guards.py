"""What keeps a long run safe: stop signals, stalls, failures of one process."""

from __future__ import annotations

import errno
import faulthandler
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TypeVar

from shared_core.errors import RunFolderError, UserError
from shared_core.launch.collectives import from_rank_zero

T = TypeVar("T")

_STDERR = 2

_ONE_PRESS_S = 1.0
"""A terminal and a launcher may both deliver one Ctrl-C: within this time it counts once."""


class Stopped(UserError):  # noqa: N818  nothing went wrong
    """A run ended early because it was asked to; its checkpoint is saved."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_status = 128 + number  # type: ignore[misc]  # the shell's convention: 130, 143


class StoppedElsewhere(UserError):  # noqa: N818
    """Another process of the run failed, and said why; this one ends with it."""

    def __init__(self, message: str, exit_status: int = 1) -> None:
        super().__init__(message)
        self.exit_status = exit_status  # type: ignore[misc]


class Signals:
    """SIGTERM and Ctrl-C ask for an orderly end; a second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._at = 0.0

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Note the signals within the block instead of dying of them (in the main thread only)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is None:
            self.received, self._at = number, now
        elif number == signal.SIGINT and now - self._at > _ONE_PRESS_S:
            raise KeyboardInterrupt


class StallWatch:
    """Ends a process that makes no progress, and leaves a dump of where each of its threads stood.

    A process that waits for another one's data or message cannot be woken from inside; its end
    lets the launcher end the others, so that the run is seen as dead and can be resumed.
    """

    def __init__(self, seconds: float, dump: Path) -> None:
        self.seconds = seconds
        self.dump = dump
        self._beaten_at = time.monotonic()
        self._paused = False
        self._over = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch while the block runs."""
        self.beat()
        threading.Thread(target=self._watch, name="stall-watch", daemon=True).start()
        try:
            yield
        finally:
            self._over.set()

    def beat(self) -> None:
        """Say that progress was made."""
        self._beaten_at = time.monotonic()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the block out of the count: an evaluation may take as long as it takes."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False
            self.beat()

    def _watch(self) -> None:
        while not self._over.wait(min(1.0, self.seconds / 4)):
            if not self._paused and time.monotonic() - self._beaten_at > self.seconds:
                self._end()

    def _end(self) -> None:
        message = (
            f"no progress for {self.seconds:g} s: this process ends. Where it stood is in "
            f"{self.dump}. Continue with --resume; if an update may take that long, raise "
            "--stall-seconds.\n"
        )
        try:
            os.write(_STDERR, message.encode())
            faulthandler.dump_traceback(_STDERR)
            with self.dump.open("w") as file:
                file.write(message)
                file.flush()
                faulthandler.dump_traceback(file)
        finally:
            os._exit(1)


def disk_error(error: OSError, place: Path) -> RunFolderError:
    """The message for a run folder that cannot be written."""
    if error.errno == errno.ENOSPC:
        free = shutil.disk_usage(place).free
        return RunFolderError(
            f"{place}: the disk is full ({free / 2**20:.0f} MiB free). "
            "Make room and continue with --resume; the last checkpoint is intact."
        )
    return RunFolderError(f"{place}: cannot be written ({error.strerror or error}).")


def first_alone(action: Callable[[], T], *, is_first: bool) -> T:
    """Let process 0 do something alone; its result, or its failure, reaches all processes.

    Raises:
        UserError: what the action raised, on process 0.
        StoppedElsewhere: on the others, when the action raised a `UserError`.
    """
    result: T | None = None
    failure: UserError | None = None
    if is_first:
        try:
            result = action()
        except UserError as error:
            failure = error
    told = None if failure is None else (str(failure), failure.exit_status)
    result, told = from_rank_zero((result, told))
    if failure is not None:
        raise failure
    if told is not None:
        raise StoppedElsewhere(*told)
    return result
