"""The same seed again, with another number of loader processes; and another seed."""

from __future__ import annotations

from shared_core.reporting.events import read
from tools.faults.campaign import Start, difference
from tools.faults.processes import child, finish
from tools.faults.row import Options, Row, Trials, expect
from tools.faults.subject import Subject
from tools.faults.table import Figure

WANTED = "every bit again with 0 or 1 loader processes; another seed differs"


def run(subject: Subject, options: Options) -> Figure:
    """The undisturbed run read in its own process; the second one reads in another."""
    whole = subject.left(subject.whole)
    trials = Trials("same-seed", subject, WANTED)
    again = options.folder / "again"
    with trials.trial("one loader process"):
        finish(subject.train(subject.data, again, "--workers", "1"))
        found = difference(subject.left(again), whole)
        expect(not found, found)
    with trials.trial("another seed"):
        other = options.folder / "other"
        with child(subject.train(subject.data, other, seed=subject.seed + 1)) as started:
            Start(child=started, run=other, begun=0.0).wait_for_updates(3)
        events = [event for event in read(other) if event["kind"] == "train"]
        mine = [event["loss"] for event in events[:3]]
        theirs = [event["loss"] for event in whole["events"] if event["kind"] == "train"][:3]
        expect(mine != theirs, f"has the same losses: {mine}")
    return trials.figure()


ROWS = (Row(name="same-seed", wanted=WANTED, run=run),)
