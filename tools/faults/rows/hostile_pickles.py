"""Pickles that run code when they are loaded, at every place where a package opens foreign files."""

from __future__ import annotations

import statistics
from pathlib import Path

from tools.faults.corpus.doors import Door, doors
from tools.faults.corpus.forks import Ended, warm
from tools.faults.corpus.pickles import hostile_pickles
from tools.faults.row import Options, Row, Trials, expect
from tools.faults.subject import Subject
from tools.faults.table import Figure

NAME = "hostile-pickle"
WANTED = "none executed, each refused in one message"
_EACH = 20
"""Payloads at a door beside the first, drawn from the corpus."""


def run(subject: Subject, options: Options) -> Figure:
    """All payloads through `convert`, and `_EACH` of them through every other door."""
    canary = options.folder / "canary"
    corpus = hostile_pickles(options.folder / "corpus", canary)
    trials = Trials(NAME, subject, WANTED)
    refusals: list[Ended] = []
    opened = list(doors(subject))
    for door in opened:
        names = sorted(corpus)
        if door.name != "convert":
            names = options.draw(NAME, door.name).sample(names, _EACH)
        for number, name in enumerate(names):
            with trials.trial(f"{door.name}, {name}"):
                new = options.folder / door.name.replace(" ", "_") / str(number)
                refusals.append(_refused(subject, door, corpus[name], new, canary))
    return trials.figure(_told(refusals, len(corpus), len(opened)))


def _refused(subject: Subject, door: Door, file: Path, new: Path, canary: Path) -> Ended:
    new.mkdir(parents=True)
    ended = warm(subject.module)(*door.line(file, new))
    ran = canary.exists()
    canary.unlink(missing_ok=True)
    expect(not ran, f"the payload was executed: {ended.last}")
    expect(not ended.crashed, f"it crashed: {ended.last}")
    expect(ended.status in (1, 2), f"it was not refused: {ended.last}")
    return ended


def _told(refusals: list[Ended], payloads: int, places: int) -> str:
    if not refusals:
        return ""
    times = sorted(1000 * ended.cpu for ended in refusals)
    within = sum(time < 100 for time in times)
    return (
        f"{payloads} payloads, {places} doors; CPU of a refusal: median "
        f"{statistics.median(times):.0f} ms, most {times[-1]:.0f} ms, {within} below 100 ms"
    )


ROWS = (Row(name=NAME, wanted=WANTED, run=run),)
