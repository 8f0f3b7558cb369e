"""A training that is disturbed at one start after the other, and then compared with an undisturbed one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

from shared_core.checkpoints.store import Store
from shared_core.errors import UserError
from shared_core.reporting.events import read
from shared_core.testing.kills import updates
from shared_core.testing.processes import Child
from tools.faults.processes import LONGEST_S, child, finish
from tools.faults.row import Broken, Trials, expect
from tools.faults.subject import Subject

POLL_S = 0.03


class Over(Exception):  # noqa: N818  nothing went wrong
    """The run came to its good end before it could be disturbed."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """A start of a training that something will be done to.

    Attributes:
        child: the command.
        run: its run folder.
        begun: when it was started, seconds since 1970.
    """

    child: Child
    run: Path
    begun: float

    def updates(self) -> int:
        """Updates that it has recorded itself, after what it resumed."""
        return len(self._train_events())

    def seconds_to_first_update(self) -> float | None:
        """From the start to its first update; None where it made none."""
        mine = self._train_events()
        return min(event["time"] for event in mine) - self.begun if mine else None

    def pause(self, seconds: float) -> None:
        """Let it go on for so long."""
        time.sleep(seconds)

    def wait_for_updates(self, count: int) -> None:
        """Wait until it has made so many.

        Raises:
            Over: it ended well before.
            Broken: it ended in another way, or takes too long.
        """
        self.wait_until(lambda: self.updates() >= count)

    def wait_until(self, condition: Callable[[], bool], timeout: float = LONGEST_S) -> None:
        """Wait until something is so.

        Raises:
            Over: it ended well before.
            Broken: it ended in another way, or takes too long.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            status = self.child.process.poll()
            if status is not None and condition():
                return
            if status == 0:
                raise Over
            expect(status is None, f"ended with {status}:\n{self.child.output}")
            expect(time.monotonic() < deadline, f"takes too long:\n{self.child.output}")
            time.sleep(POLL_S)

    def _train_events(self) -> list[dict[str, Any]]:
        try:
            return [
                event
                for event in read(self.run)
                if event["kind"] == "train" and event["time"] >= self.begun
            ]
        except UserError:  # there is no record yet
            return []


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """What is done to one start.

    Attributes:
        name: for messages, such as `before-rename:2`.
        act: does it, waits for the end, and checks that; raises `Over` where the run ended before.
        environment: variables of that start.
        flags: more words of its command.
        needs_checkpoint: only a resumed start gets there.
    """

    name: str
    act: Callable[[Start], None]
    environment: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    needs_checkpoint: bool = False


@dataclass
class Campaign:
    """Disturbs a training again and again; where it ends before all is done, a new one is begun.

    Attributes:
        subject: whose training.
        folder: for the run folders.
        whole: what an undisturbed run of the same command left (`Subject.left`).
        trials: where each disturbance counts as one.
        flags: words of every start, such as those for two processes.
        restarts: seconds from each start to its first update.
        lost: updates made, but not in a checkpoint, at each disturbance.
    """

    subject: Subject
    folder: Path
    whole: Mapping[str, Any]
    trials: Trials
    flags: tuple[str, ...] = ()
    restarts: list[float] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)

    def disturb(self, planned: Sequence[Disturbance]) -> None:
        """Do all of them, each at a start of its own, and compare each run at its end."""
        left = list(planned)
        number = 0
        while left:
            run = self.folder / f"run-{number}"
            done, failed = self._one_run(run, left)
            expect(bool(done), f"{left[0].name}: a whole run does not get there")
            self._count(run, done, failed)
            left = [one for one in left if one not in done]
            number += 1

    def _one_run(
        self, run: Path, left: Sequence[Disturbance]
    ) -> tuple[list[Disturbance], str | None]:
        """Disturb one run until it is over; what was done to it, and what went wrong at last."""
        line = self.subject.train(self.subject.data, run, *self.flags)
        done: list[Disturbance] = []
        for one in _in_order(left):
            resume = ["--resume"] if run.exists() else []
            begun = time.time()
            with child([*line, *resume, *one.flags], one.environment) as started:
                start = Start(child=started, run=run, begun=begun)
                try:
                    one.act(start)
                except Over:
                    return done, None
                except (Broken, TimeoutExpired) as broken:
                    return [*done, one], f"{one.name}: {broken}\n{started.output}"
            done.append(one)
            self._note(start)
        return done, None

    def _note(self, start: Start) -> None:
        seconds = start.seconds_to_first_update()
        if seconds is not None:
            self.restarts.append(seconds)
        made, saved = updates(start.run), Store(start.run / "checkpoints").steps()
        self.lost.append((made or [0])[-1] - (saved or [0])[-1])

    def _count(self, run: Path, done: Sequence[Disturbance], failed: str | None) -> None:
        """Finish and compare the run; what is wrong with it counts against all that was done to it."""
        found = failed or self._difference(run)
        for one in done:
            with self.trials.trial(one.name):
                expect(not found, found)

    def _difference(self, run: Path) -> str:
        line = self.subject.train(self.subject.data, run, *self.flags)
        try:
            finish([*line, "--resume"])
        except (RuntimeError, TimeoutError) as error:
            return f"cannot be finished: {error}"
        return difference(self.subject.left(run), self.whole)


def difference(found: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """What two runs do not share, in a few words; empty where they are equal bit for bit."""
    told = []
    for name, expected in whole.items():
        value = found[name]
        if value == expected:
            continue
        if isinstance(value, dict) and isinstance(expected, dict):
            keys = [key for key in value | expected if value.get(key) != expected.get(key)]
            told.append(f"{name} ({', '.join(map(str, keys[:4]))})")
        elif isinstance(value, list):
            pairs = enumerate(zip(value, expected, strict=False))
            at = next((n for n, (a, b) in pairs if a != b), min(len(value), len(expected)))
            told.append(f"{name} from the {at + 1}th on ({len(value)}, not {len(expected)})")
        else:
            told.append(name)
    return f"differs from the undisturbed run in {'; '.join(told)}" if told else ""


def _in_order(left: Sequence[Disturbance]) -> list[Disturbance]:
    """As they come, but something first that a run without a checkpoint gets to."""
    first = next((one for one in left if not one.needs_checkpoint), None)
    return list(left) if first is None else [first, *(one for one in left if one is not first)]
