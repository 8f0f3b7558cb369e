"""A run that is resumed with other settings, or with another number of processes."""

from __future__ import annotations

import shutil
from typing import Any

from shared_core.faultpoints import VARIABLE
from shared_core.reporting.events import read
from tools.faults.processes import ended
from tools.faults.row import Options, Row, Trials, expect
from tools.faults.subject import Subject
from tools.faults.table import Figure

WANTED = "refused by name, or continued and said so; never in silence"


def run(subject: Subject, options: Options) -> Figure:
    """Another seed, batch, length; two processes instead of one."""
    begun = options.folder / "begun"
    line = subject.train(subject.data, begun)
    ended(line, environment={VARIABLE: "after-pointer"})
    config = subject.settings(subject.data, begun)
    changes: dict[str, Any] = {
        "seed": subject.seed + 1,
        "batch_size": 2 * config.batch_size,
        "epochs": config.epochs + 1,
    }
    trials = Trials("changed-settings", subject, WANTED)
    for name, value in changes.items():
        with trials.trial(name):
            _refused(subject, options, name, value)
    with trials.trial("two processes"):
        _told(subject, options)
    return trials.figure()


def _refused(subject: Subject, options: Options, name: str, value: object) -> None:
    run = options.folder / name
    shutil.copytree(options.folder / "begun", run)
    before = (run / "events.jsonl").read_bytes()
    found = ended(subject.train(subject.data, run, "--resume", **{name: value}))
    expect(found.status == 2, f"ended with {found.status}:\n{found.output}")
    expect(name in found.output, f"does not name {name}:\n{found.output}")
    expect((run / "events.jsonl").read_bytes() == before, "the record was changed")


def _told(subject: Subject, options: Options) -> None:
    """Two processes make the same global batches: either is fine, but not without a word."""
    run = options.folder / "two"
    shutil.copytree(options.folder / "begun", run)
    found = ended(subject.train(subject.data, run, "--resume", "--launch", "cpu-2"))
    said = " ".join(found.output.split())
    if found.status != 0:
        expect("Traceback" not in said, f"fails without a message:\n{found.output}")
        expect("process" in said, f"does not name the processes:\n{found.output}")
        return
    notes = [event["text"] for event in read(run) if event["kind"] == "note"]
    told = any("process" in text for text in [*notes, said])
    expect(told, f"continued in silence: {notes}")


ROWS = (Row(name="changed-settings", wanted=WANTED, run=run),)
