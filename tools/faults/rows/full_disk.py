"""The disk is full at some place inside a save: the old checkpoint stays, and the run goes on later."""

from __future__ import annotations

import os
import re

import psutil
import pytest

from shared_core.checkpoints.manifest import files_in
from shared_core.checkpoints.store import Store
from shared_core.testing.faults import fill_disk, small_disk
from tools.faults.campaign import Campaign, Disturbance, Over, Start
from tools.faults.row import Options, Row, Trials, expect, not_offered
from tools.faults.subject import Subject
from tools.faults.table import Figure

WANTED = "old checkpoint intact, bytes needed and free are named, resumes bit for bit"
NO_DISK = "a small file system can be mounted by root on Linux alone"
SLACK = 32 << 20
SHARE = 3
"""One in so many of the moments: each costs a start."""


def run(subject: Subject, options: Options) -> Figure:
    """The run folder lies on a small file system, which is filled up to a part of a checkpoint."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return not_offered("full-disk", subject, WANTED, NO_DISK)
    whole = subject.whole
    step = max((whole / "checkpoints").glob("step-*"))
    size = sum(path.stat().st_size for path in files_in(step))
    taken = sum(path.stat().st_size for path in files_in(whole))
    draw = options.draw("full-disk", subject.module)
    parts = [draw.uniform(0.1, 0.9) for _ in range(max(2, options.moments // SHARE))]
    trials = Trials("full-disk", subject, WANTED)
    try:
        with small_disk(options.folder / "disk", 2 * taken + SLACK) as disk:
            campaign = Campaign(subject, disk, subject.left(whole), trials)
            campaign.disturb([_filled(part, size) for part in parts])
    except pytest.skip.Exception:
        return not_offered("full-disk", subject, WANTED, NO_DISK)
    return trials.figure(f"checkpoints of {size / 2**20:.1f} MiB")


def _filled(part: float, size: int) -> Disturbance:
    def act(start: Start) -> None:
        store = Store(start.run / "checkpoints")
        start.wait_until(lambda: bool(store.steps()) and start.updates() > 0)
        command = psutil.Process(start.child.process.pid)
        command.suspend()  # or it writes while the disk is filled
        filler = fill_disk(start.run.parent, leave=int(part * size))
        command.resume()
        try:
            status = start.child.wait(300)
        finally:
            filler.unlink()
        if status == 0:
            raise Over
        output = " ".join(start.child.output.split())
        expect(status in (1, 2), f"ended with {status}:\n{output}")
        expect("Traceback" not in output, f"fails without a message:\n{output}")
        named = re.search(r"takes at least \d+ bytes, \d+ were left", output)
        expect(named is not None, f"does not name the bytes:\n{output}")
        for step in store.steps():
            store.at(step)

    return Disturbance(name=f"{part:.0%} of a checkpoint left", act=act)


ROWS = (Row(name="full-disk", wanted=WANTED, run=run),)
