"""A training command that is killed again and again, at named and at random moments."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from shared_core.checkpoints.store import Store
from shared_core.errors import UserError
from shared_core.faultpoints import VARIABLE
from shared_core.reporting.events import read
from shared_core.testing.processes import Child

FILES = (
    "model.safetensors",
    "optimizer.safetensors",
    "learner.safetensors",
    "progress.json",
    "manifest.json",
)
POINTS = (
    *(f"{moment}:{file}:2" for file in FILES for moment in ("before", "after")),
    *("before-rename:2", "before-pointer:2", "evaluate:1", "load:learner"),
)
"""Moments of saving, judging and loading; the number is which occurrence in the process."""

RANDOM_KILLS = 10

Line = Sequence[str | Path]


def updates(run: Path) -> list[int]:
    """Steps of the updates that a run's record holds."""
    try:
        return [event["step"] for event in read(run) if event["kind"] == "train"]
    except UserError:
        return []


def finish(line: Line, timeout: float = 600) -> None:
    """Run a command to its good end."""
    with Child(line) as child:
        assert child.wait(timeout) == 0, child.output


def killed_at(line: Line, point: str) -> None:
    """Start a command, which kills itself when it gets to a named point."""
    with Child(line, environment={VARIABLE: point}) as child:
        assert child.wait(300) == -signal.SIGKILL, child.output


def killed_while_it_trains(line: Line, run: Path, count: int, seconds: float) -> None:
    """Start a command, and kill it so many updates and seconds after it has taken up its work."""
    before = updates(run)
    with Child(line) as child:
        child.wait_until(lambda: updates(run) != before, timeout=300)
        goal = len(updates(run)) + count
        child.wait_until(lambda: len(updates(run)) >= goal, timeout=300)
        time.sleep(seconds)
        child.kill_all()
        assert child.process.returncode == -signal.SIGKILL, child.output


def seeded_draw() -> tuple[int, random.Random]:
    """The seed of this test run, of the variable KILL_SEED if it is set, and its generator."""
    seed = int(os.environ.get("KILL_SEED", random.SystemRandom().randrange(10**6)))
    return seed, random.Random(seed)  # noqa: S311 - nothing secret


def kill_again_and_again(
    line: Line, run: Path, *, most_updates: int = 40, points: Sequence[str] = POINTS
) -> int:
    """Kill a training command at every named point and at random ones, then let it finish.

    Each start is killed once. Counted in updates, the run must be long enough that it is not over
    before all have been.

    Args:
        line: the command, without `--run` and `--resume`.
        run: its run folder.
        most_updates: updates that a start makes, at most, before it is killed at random.
        points: the named ones.

    Returns:
        How often it was killed.
    """
    seed, draw = seeded_draw()
    by_chance = [
        (draw.randrange(most_updates), draw.uniform(0.0, 0.1)) for _ in range(RANDOM_KILLS)
    ]
    moments: list[str | tuple[int, float]] = [*points, *by_chance]
    draw.shuffle(moments)
    killed_at([*line, "--run", run], "recorded:2")
    assert not Store(run / "checkpoints").steps()  # the next start begins again
    again = [*line, "--run", run, "--resume"]
    killed_at(again, "after-pointer")  # now there is something to load
    for moment in moments:
        print(f"seed={seed}: killed at {moment}, with {len(updates(run))} updates recorded")
        if isinstance(moment, str):
            killed_at(again, moment)
        else:
            killed_while_it_trains(again, run, *moment)
    finish(again)
    return len(moments) + 2
