"""kill -9 of one of two connected processes."""

from __future__ import annotations

import re
import time

import psutil

from shared_core.testing.processes import alive
from tools.faults.campaign import POLL_S, Campaign, Disturbance, Over, Start
from tools.faults.processes import finish
from tools.faults.row import Options, Row, Trials, expect
from tools.faults.subject import Subject
from tools.faults.table import Figure

WANTED = "all end within 30 s and one line says why; resumes bit for bit"
LIMIT_S = 30.0
TWO = ("--launch", "cpu-2")
SAID = r"rank {rank} of 2 was killed by SIGKILL"


def run(subject: Subject, options: Options) -> Figure:
    """Each of the two processes dies once, after a drawn number of updates."""
    whole = options.folder / "whole"
    finish(subject.train(subject.data, whole, *TWO))
    draw = options.draw("dead-rank", subject.module)
    trials = Trials("dead-rank", subject, WANTED)
    seconds: list[float] = []
    campaign = Campaign(subject, options.folder, subject.left(whole), trials, flags=TWO)
    campaign.disturb([_dies(rank, draw.randrange(1, 8), seconds) for rank in (0, 1)])
    return trials.figure(f"slowest end {max(seconds, default=0.0):.1f} s")


def _dies(rank: int, count: int, seconds: list[float]) -> Disturbance:
    def act(start: Start) -> None:
        start.wait_for_updates(count)
        family = start.child.family()
        ranks = _ranks(family[0])
        expect(len(ranks) == 2, f"{len(ranks)} processes were found")
        begun = time.monotonic()
        ranks[rank].kill()
        status = start.child.wait(4 * LIMIT_S)
        if status == 0:
            raise Over
        while alive(family) and time.monotonic() - begun < LIMIT_S:
            time.sleep(POLL_S)
        seconds.append(time.monotonic() - begun)
        output = start.child.output
        expect(not alive(family), "a process of the run outlives it")
        expect(seconds[-1] <= LIMIT_S, f"took {seconds[-1]:.1f} s:\n{output}")
        expect(status == 128 + 9, f"ended with {status}:\n{output}")
        said = re.search(SAID.format(rank=rank), " ".join(output.split()))
        expect(said is not None, f"does not say which process died:\n{output}")

    return Disturbance(name=f"process {rank} after {count} updates", act=act)


def _ranks(command: psutil.Process) -> list[psutil.Process]:
    return sorted(
        (inner for inner in command.children() if "shared_core.launch.rank" in inner.cmdline()),
        key=lambda process: process.environ()["RANK"],
    )


ROWS = (Row(name="dead-rank", wanted=WANTED, run=run),)
