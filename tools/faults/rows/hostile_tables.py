"""Hostile tables, records and settings through the commands of each package that read them."""

from __future__ import annotations

from pathlib import Path

from tools.faults.corpus.forks import Ended, warm
from tools.faults.corpus.tables import Table, tables
from tools.faults.row import Options, Row, Trials, expect
from tools.faults.subject import Subject
from tools.faults.table import Figure

NAME = "hostile-table"
WANTED = "0 crashes; refused within 1 s of CPU; nothing written outside"
LONGEST_S = 1.0
"""Processor seconds of a refusal beyond what the same command takes to refuse an empty file."""
LONGEST_WORK_S = 10.0
"""Processor seconds where the text is taken, and the command does its work."""


def run(subject: Subject, options: Options) -> Figure:
    """Each table with each text."""
    trials = Trials(NAME, subject, WANTED)
    opened = list(tables(subject))
    canary = options.folder / "canary"
    extra: list[float] = []
    for place, table in enumerate(opened):
        folder = options.folder / str(place)
        empty = _tried(subject, table, b"", folder / "empty")
        for number, (name, content) in enumerate(table.texts.items()):
            new = folder / str(number)
            with trials.trial(f"{table.name}, {name}"):
                before = {path.name for path in folder.iterdir()}
                asked = content.replace(b"CANARY", bytes(canary))
                ended = _tried(subject, table, asked, new)
                if ended.cpu - empty.cpu > LONGEST_S:  # a busy machine counts twice
                    ended = min(ended, _tried(subject, table, asked, new / "again"), key=_cpu)
                extra.append(ended.cpu - empty.cpu)
                expect(not ended.crashed, f"it crashed: {ended.last}")
                limit = LONGEST_S if ended.status else LONGEST_WORK_S
                expect(extra[-1] <= limit, f"{extra[-1]:.1f} s of CPU more: {ended.last}")
                expect(not canary.exists(), "it was executed")
                left = {path.name for path in folder.iterdir()} - before - {new.name}
                expect(not left, f"it wrote outside of its folder: {left}")
    most = max(extra, default=0.0)
    told = f"{len(opened)} tables, {len(extra)} texts; most CPU beyond an empty file {most:.2f} s"
    return trials.figure(told)


def _cpu(ended: Ended) -> float:
    return ended.cpu


def _tried(subject: Subject, table: Table, content: bytes, new: Path) -> Ended:
    new.mkdir(parents=True)
    return warm(subject.module)(*table.line(content, new))


ROWS = (Row(name=NAME, wanted=WANTED, run=run),)
