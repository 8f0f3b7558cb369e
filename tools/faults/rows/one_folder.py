"""Several trainings that are started in one run folder at the same time."""

from __future__ import annotations

import time
from contextlib import ExitStack

from shared_core.testing.kills import updates
from shared_core.testing.processes import Child
from tools.faults.campaign import POLL_S
from tools.faults.processes import LONGEST_S, child
from tools.faults.row import Options, Row, Trials, expect
from tools.faults.subject import Subject
from tools.faults.table import Figure

WANTED = "exactly one trains, the others say why not"
EXPLAINED = ("another run (process", "this folder holds a run")
MOST = 8


def run(subject: Subject, options: Options) -> Figure:
    """Two starters; then a drawn number, up to eight."""
    draw = options.draw("one-folder", subject.module)
    trials = Trials("one-folder", subject, WANTED)
    counts = (2, draw.randrange(3, MOST + 1))
    for number, count in enumerate(counts):
        with trials.trial(f"{count} starters"):
            _race(subject, options, number, count)
    return trials.figure(f"{' and '.join(map(str, counts))} starters")


def _race(subject: Subject, options: Options, number: int, count: int) -> None:
    run = options.folder / f"run-{number}"
    line = subject.train(subject.data, run)
    with ExitStack() as stack:
        starters = [stack.enter_context(child(line)) for _ in range(count)]
        deadline = time.monotonic() + LONGEST_S
        while len(_running(starters)) > 1 or not updates(run):
            expect(bool(_running(starters)), f"none trains:\n{starters[0].output}")
            expect(time.monotonic() < deadline, f"{len(_running(starters))} still wait")
            time.sleep(POLL_S)
        winners = [one for one in starters if one.process.poll() in (None, 0)]
        expect(len(winners) == 1, f"{len(winners)} of {count} train")
        for loser in starters:
            if loser in winners:
                continue
            said = " ".join(loser.output.split())
            expect(loser.process.returncode == 2, f"{loser.process.returncode}:\n{said}")
            expect(any(reason in said for reason in EXPLAINED), f"does not explain:\n{said}")


def _running(starters: list[Child]) -> list[Child]:
    return [one for one in starters if one.process.poll() is None]


ROWS = (Row(name="one-folder", wanted=WANTED, run=run),)
