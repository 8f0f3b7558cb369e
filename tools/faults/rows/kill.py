"""kill -9 at named and at random moments, of the command and of its loader."""

from __future__ import annotations

import itertools
import os
import random
import signal
import statistics
import sys

import psutil

from shared_core.faultpoints import VARIABLE
from tools.faults.campaign import Campaign, Disturbance, Over, Start
from tools.faults.processes import ended
from tools.faults.row import Options, Row, Trials, expect
from tools.faults.subject import Subject
from tools.faults.table import Figure

WANTED = "resumes; every weight, state, loss and measure bit for bit"
WANTED_LOST = "at most one interval between saves"
WANTED_RESTART = "first update in < 3 s"
RESTART_S = 3.0
MOST_UPDATES = 8
"""That a start makes before it is killed at random."""


def run(subject: Subject, options: Options) -> list[Figure]:
    """Kill at so many moments: half of them named, one in the loader's process, the others drawn."""
    whole = subject.left(subject.whole)
    trials = Trials("kill", subject, WANTED)
    campaign = Campaign(subject, options.folder, whole, trials)
    campaign.disturb(planned(subject, options))
    return [
        trials.figure(),
        _lost(subject, options, campaign.lost),
        _restart(subject, campaign.restarts),
    ]


def planned(subject: Subject, options: Options) -> list[Disturbance]:
    """The moments, drawn by the seed."""
    draw = options.draw("kill", subject.module)
    points = draw.sample(subject.points, len(subject.points))
    named = [_at(p) for p in itertools.islice(itertools.cycle(points), options.moments // 2)]
    # trl's loader has read all of so short an epoch, and is gone, when its first update is recorded.
    has_loader = options.moments > 2 and not subject.trl
    loader = [_loader_dies(draw.randrange(1, 4))] if has_loader else []
    by_chance = [_by_chance(draw) for _ in range(options.moments - len(named) - len(loader))]
    mixed = [*named, *loader, *by_chance]
    draw.shuffle(mixed)
    return mixed


def _at(point: str) -> Disturbance:
    def act(start: Start) -> None:
        start.wait_until(lambda: start.child.process.poll() == -signal.SIGKILL)

    return Disturbance(
        name=point,
        act=act,
        environment={VARIABLE: point},
        needs_checkpoint=point.startswith("load"),
    )


def _by_chance(draw: random.Random) -> Disturbance:
    count, delay = draw.randrange(MOST_UPDATES), draw.uniform(0.0, 0.1)
    workers = draw.randrange(2)

    def act(start: Start) -> None:
        start.wait_for_updates(1 + count)
        start.pause(delay)
        start.child.kill_all()
        if start.child.process.returncode == 0:
            raise Over

    name = f"{delay:.3f} s after {1 + count} updates, {workers} loader processes"
    return Disturbance(name=name, act=act, flags=("--workers", str(workers)))


def _loader_dies(count: int) -> Disturbance:
    def act(start: Start) -> None:
        start.wait_for_updates(count)
        workers = loader_processes(start)
        expect(bool(workers), "no loader process was found")
        for worker in workers:
            worker.kill()
        status = start.child.wait(120)
        if status == 0:
            raise Over
        expect(status == 1, f"ended with {status}, not 1:\n{start.child.output}")
        expect("loader" in start.child.output.lower(), f"says only:\n{start.child.output}")

    name = f"the loader's process alone after {count} updates"
    return Disturbance(name=name, act=act, flags=("--workers", "1"))


def loader_processes(start: Start, *, forked: bool = False) -> list[psutil.Process]:
    """Processes that read data: children of the fork server, itself a child of the command.

    Args:
        start: of a training with `--workers`.
        forked: they are children of the command, as trl's are.
    """
    children = psutil.Process(start.child.process.pid).children()
    return children if forked else [inner for server in children for inner in server.children()]


def _lost(subject: Subject, options: Options, lost: list[int]) -> Figure:
    interval = subject.settings(subject.data, options.folder / "unused").save_every
    trials = Trials("kill: lost work", subject, WANTED_LOST)
    for number in lost:
        with trials.trial("lost"):
            expect(number <= interval, f"{number} updates, with saves every {interval}")
    return trials.figure(f"most {max(lost, default=0)} of {interval} updates")


def _restart(subject: Subject, restarts: list[float]) -> Figure:
    """How long a start takes; a slow machine is told, not held against the package."""
    trials = Trials("kill: restart", subject, WANTED_RESTART)
    for seconds in restarts:
        with trials.trial("restart"):
            expect(seconds < RESTART_S, f"{seconds:.1f} s")
    typical = statistics.median(restarts) if restarts else 0.0
    return trials.figure(
        f"median {typical:.1f} s, slowest {max(restarts, default=0.0):.1f} s",
        reason="" if max(restarts, default=0.0) < RESTART_S else _why_slow(subject),
    )


def _why_slow(subject: Subject) -> str:
    room = f"{subject.module}.learner" if subject.program != "shared-core" else subject.module
    imports = ended([sys.executable, "-c", f"import {room}"]).seconds
    load = os.getloadavg()[0]
    return (
        f"importing torch and what else the training needs takes {imports:.1f} s of each start "
        f"(load average {load:.1f} on {os.cpu_count()} cores)"
    )


ROWS = (Row(name="kill", wanted=WANTED, run=run),)
