"""SIGTERM and Ctrl-C: an orderly end with a checkpoint, and the same bits after it."""

from __future__ import annotations

import os
import signal
import time

from shared_core.checkpoints.store import Store
from shared_core.testing.kills import updates
from tools.faults.campaign import Campaign, Disturbance, Over, Start
from tools.faults.row import Options, Row, Trials, expect
from tools.faults.subject import Subject
from tools.faults.table import Figure

WANTED = "checkpoint, status 143 or 130; resumes bit for bit"
WANTED_SECONDS = "checkpoint and end within 5 s"
LIMIT_S = 5.0
STATUSES = {signal.SIGTERM: 143, signal.SIGINT: 130}
SHARE = 3
"""One in so many of the moments: each costs a start."""


def run(subject: Subject, options: Options) -> list[Figure]:
    """Both signals in turn, after a drawn number of updates."""
    draw = options.draw("stop-signals", subject.module)
    trials = Trials("stop-signals", subject, WANTED)
    campaign = Campaign(subject, options.folder, subject.left(subject.whole), trials)
    seconds: list[float] = []
    count = max(2, options.moments // SHARE)
    kinds = [*STATUSES] * count
    campaign.disturb([_signal(kind, draw.randrange(1, 8), seconds) for kind in kinds[:count]])
    return [trials.figure(), _in_time(subject, seconds)]


def _signal(number: signal.Signals, count: int, seconds: list[float]) -> Disturbance:
    def act(start: Start) -> None:
        start.wait_for_updates(count)
        begun = time.monotonic()
        start.child.send(number)
        status = start.child.wait(120)
        if status == 0:
            raise Over
        seconds.append(time.monotonic() - begun)
        output = start.child.output
        expect(status == STATUSES[number], f"status {status}:\n{output}")
        expect("Continue with --resume" in output, f"does not say how to continue:\n{output}")
        made, saved = updates(start.run)[-1], Store(start.run / "checkpoints").steps()
        expect(saved[-1:] == [made], f"{made} updates were made, checkpoints are of {saved}")

    return Disturbance(name=f"{number.name} after {count} updates", act=act)


def _in_time(subject: Subject, seconds: list[float]) -> Figure:
    trials = Trials("stop-signals: time", subject, WANTED_SECONDS)
    for one in seconds:
        with trials.trial("end"):
            expect(one <= LIMIT_S, f"{one:.1f} s")
    slowest = max(seconds, default=0.0)
    late = slowest > LIMIT_S
    load = f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    reason = f"the update in hand is finished and saved first ({load})" if late else ""
    return trials.figure(f"slowest {slowest:.1f} s", reason=reason)


ROWS = (Row(name="stop-signals", wanted=WANTED, run=run),)
