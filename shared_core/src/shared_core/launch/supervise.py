"""`supervise`: keeps a training command going until it is done.

    abaw-va supervise --max-restarts 3 -- train --run runs/night --data DATA

starts `abaw-va train ...` and starts it anew when it dies, with `--resume` once the run folder holds
a run. It waits before each restart, twice as long after each one that brought no new checkpoint, and
gives up after too many of these. A command that ends with 0 is done; one that ends with 2 was asked
for something that no restart mends.

- It knows only the process that it started, and the group of it; it never looks for one by name.
- Ctrl-C and SIGTERM are handed on once, and the command's end is the end; a second one kills it.
- When the supervisor is gone, whatever killed it, its command is asked to end, and is killed after a
  grace (see `shared_core.launch.rank`).
- This process imports no torch, and holds no GPU.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from shared_core.errors import UsageError
from shared_core.launch.config import SuperviseConfig
from shared_core.launch.ranks import GRACE_SECONDS, say, stop_signals
from shared_core.lock import LOCK_FILE, FolderLock

POLL_SECONDS = 0.1

_CHECKPOINT = re.compile(r"[a-z]+-(\d+)")
"""`step-00000120`, or transformers' `checkpoint-120`; hidden names are being written or removed."""


def supervise(
    module: str,
    words: Sequence[str],
    *,
    run: Path,
    settings: SuperviseConfig,
    grace: float = GRACE_SECONDS,
) -> int:
    """Run `python -m module words...` until it is done, starting it anew when it dies.

    Args:
        module: such as "abaw_va".
        words: the training command: "train", "--run", "runs/night".
        run: the folder that it writes.
        settings: how often, how soon, and what counts as hanging.
        grace: seconds between SIGTERM and SIGKILL for a command that hangs, and for one whose
            supervisor is gone.

    Returns:
        The exit status of the command's last run (128 + signal for a killed one); 130 or 143 where
        the stop signal came while none was running.
    """
    failures, farthest = 0, newest_step(run)
    with stop_signals() as received, lifeline() as line:
        while True:
            began = time.monotonic()
            with Command(module, _resumed(words, run), line, grace) as command:
                status = command.wait(received, _hang_watch(run, settings.hang_seconds))
            if received or (status in (0, UsageError.exit_status) and not command.hung):
                return status
            reached = newest_step(run)
            failures = 1 if reached > farthest else failures + 1
            farthest = max(farthest, reached)
            end = f"{command.end} after {time.monotonic() - began:.0f} s"
            if failures > settings.max_restarts:
                say(f"supervise: {end}; given up, {failures - 1} restarts brought no checkpoint.")
                return status
            pause = back_off(failures, settings)
            say(
                f"supervise: {end}; restart {failures} of {settings.max_restarts} in {pause:g} s, "
                f"from {f'step {reached}' if reached >= 0 else 'the start'}."
            )
            _sleep(pause, lambda: bool(received))
            _until_free(run, 2 * grace, received)
            if received:
                return 128 + received[0]


def back_off(failures: int, settings: SuperviseConfig) -> float:
    """Seconds before the restart that follows so many failures (1 or more) without progress."""
    doublings = min(failures - 1, 64)  # a float does not overflow
    return min(settings.back_off * 2.0**doublings, settings.longest_back_off)


def newest_step(run: Path) -> int:
    """The number of the newest checkpoint in a run folder, -1 without one."""
    folder = run / "checkpoints"
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return max((int(found[1]) for found in map(_CHECKPOINT.fullmatch, names) if found), default=-1)


def _resumed(words: Sequence[str], run: Path) -> list[str]:
    holds_run = (run / "fingerprint.json").exists()
    return [*words, "--resume"] if holds_run and "--resume" not in words else [*words]


class Command:
    """One run of `python -m module words...`, in a session of its own, under a lifeline.

    A context manager that leaves none behind: what still runs at its end is killed, with all that it
    started.

    Args:
        module: such as "abaw_va".
        words: its arguments.
        lifeline: of this process (see `lifeline`).
        grace: seconds between SIGTERM and SIGKILL when this process is gone.
        output: file for what it prints; None: where this process prints.
    """

    def __init__(
        self,
        module: str,
        words: Sequence[str],
        lifeline: int,
        grace: float = GRACE_SECONDS,
        output: IO[bytes] | None = None,
    ) -> None:
        self.hung = False
        self._grace = grace
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "shared_core.launch.rank"),
                *(str(lifeline), str(grace), module, *words),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(lifeline,),
            start_new_session=True,
        )

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        self._process.wait()

    @property
    def end(self) -> str:
        """How it ended, in words."""
        code = self._process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return f"the command hung and {how}" if self.hung else f"the command {how}"

    def wait(self, received: Sequence[int], hangs: Callable[[], bool]) -> int:
        """Wait for its end and return its exit status, 128 + signal for a killed one.

        Args:
            received: stop signals, filled by handlers while this waits.
            hangs: whether it makes no progress.
        """
        handed_on = False
        killed_at = float("inf")
        while not self.has_ended():
            if received and not handed_on:
                handed_on = True
                say("supervise: handed on; once more to stop at once.")
                self._send(received[0])
            if not self.hung and not handed_on and hangs():
                self.hung = True
                killed_at = time.monotonic() + self._grace
                self._send(signal.SIGTERM)
            if len(received) > 1 or time.monotonic() > killed_at:
                self._kill()
            time.sleep(POLL_SECONDS)
        status = self.status()
        return 128 + received[0] if len(received) > 1 else status

    def status(self) -> int:
        """End what still runs, and return its exit status, 128 + signal for a killed one."""
        self._kill()
        code = self._process.wait()
        return code if code >= 0 else 128 - code

    def stop_all(self, number: int) -> None:
        """Send a signal to it and to all that it started."""
        if self._process.returncode is None:  # later, the number may belong to a stranger
            with contextlib.suppress(ProcessLookupError, PermissionError):  # only a zombie is left
                os.killpg(self._process.pid, number)

    def has_ended(self) -> bool:
        """Whether it has ended; its status is left untaken, so that its number stays its own."""
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return self._process.poll() is not None
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, options) is not None

    def _send(self, number: int) -> None:
        if self._process.returncode is None:
            os.kill(self._process.pid, number)

    def _kill(self) -> None:
        """Kill it with what it started, also what outlived it, such as loader workers."""
        self.stop_all(signal.SIGKILL)


@contextlib.contextmanager
def lifeline() -> Iterator[int]:
    """A pipe that ends when this process does; yields the end for the command."""
    read, write = os.pipe()
    try:
        yield read
    finally:
        os.close(write)
        os.close(read)


def _hang_watch(run: Path, seconds: float | None) -> Callable[[], bool]:
    """A function that says whether a run's events and checkpoints have not changed for so long."""
    if seconds is None:
        return lambda: False
    seen = _changes(run)
    looked = changed = time.monotonic()
    every = min(1.0, seconds / 4)  # a look walks over all files of the checkpoints

    def hangs() -> bool:
        nonlocal seen, changed, looked
        now = time.monotonic()
        if now - looked >= every:
            looked = now
            latest = _changes(run)
            if latest != seen:
                seen, changed = latest, now
        return now - changed > seconds

    return hangs


def _changes(run: Path) -> dict[Path, int]:
    """When the events and each file and folder of the checkpoints changed, in nanoseconds."""
    paths = [run / "events.jsonl", run / "checkpoints"]
    for folder, folders, files in os.walk(run / "checkpoints"):
        paths += [Path(folder, name) for name in (*folders, *files)]
    changes = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # a checkpoint is renamed or pruned meanwhile
            changes[path] = path.stat().st_mtime_ns
    return changes


def _until_free(run: Path, seconds: float, received: Sequence[int]) -> None:
    """Wait for ranks of the dead command that are still saving; a stop signal ends the wait."""
    lock = FolderLock(run / LOCK_FILE)
    _sleep(seconds, lambda: bool(received) or not lock.is_held())


def _sleep(seconds: float, over: Callable[[], bool]) -> None:
    """Wait for some seconds, or until it is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not over():
        time.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
