"""A power cut at any moment of saving: what was not synced is lost, and no checkpoint is half."""

from __future__ import annotations

import json
import sys

from tools.faults.processes import finish
from tools.faults.row import Options, Row, Trials, expect
from tools.faults.subject import Subject, Words
from tools.faults.table import Figure

WANTED = "an old or a new checkpoint, whole; none in between"


def run(subject: Subject, options: Options) -> Figure:
    """The store's own calls are recorded in a process of its own (see `tools.faults.power_cut`)."""
    told = options.folder / "told.json"
    words: Words = [sys.executable, "-m", "tools.faults.power_cut", options.folder / "store", told]
    finish(words)
    trials = Trials("power-cut", subject, WANTED)
    found = json.loads(told.read_text())
    for state in found:
        with trials.trial(state["moment"]):
            expect(not state["fault"], state["fault"])
    return trials.figure("each change of the folder x synced files alone, half, nothing of others")


ROWS = (Row(name="power-cut", wanted=WANTED, run=run, per_package=False),)
