"""Names of files that are markup, formulas, options or no text at all: predicted for, and reported."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from tools.faults.corpus.forks import warm
from tools.faults.row import Options, Row, Trials, expect
from tools.faults.subject import Subject
from tools.faults.table import Figure

NAME = "hostile-name"
WANTED = "predicted or refused in one message; escaped in HTML"

_NAMES = (
    b"<img src=x onerror=alert(1)>",
    b"<script>alert(2)<",
    b'"onmouseover="alert(3)',
    b"'><svg onload=alert(4)>",
    b"<b id=injected>",
    b"=1+1",
    b"@SUM(A1)",
    b"{{7*7}}",
    b"%s%n",
    b"a\nb",
    b"-x",
    b"a b",
    "\u202egnp.exe".encode(),
    "e\u0301\u00e9".encode(),
    b"\xff\xfe",
    b"a" * 200,
    b"con",
    b"a;b,c\"d'",
    b"$(touch x)",
    b"[red]b[bold]",
)
_MARKS = ("alert(", "injected")


def run(subject: Subject, options: Options) -> Figure:
    """Each name alone, for a file that can be used."""
    trials = Trials(NAME, subject, WANTED)
    (source,) = subject.media(options.folder / "media", 1)
    predicted = 0
    for number, name in enumerate(_NAMES):
        folder = options.folder / str(number)
        folder.mkdir()
        path = folder / (name + source.suffix.encode()).decode("utf-8", "surrogateescape")
        with trials.trial(repr(path.name)):
            shutil.copy(source, path)
            out = folder / "out"
            ended = warm(subject.module)(*subject.predict(subject.whole, [path], out)[3:])
            expect(not ended.crashed, f"it crashed: {ended.last}")
            expect(ended.status in (0, 1, 2), ended.last)
            predicted += ended.status == 0
            for page in out.rglob("*.html"):
                _escaped(page)
            for cell in _cells(out):
                expect(not cell.startswith(("=", "@")), f"a spreadsheet computes {cell!r}")
    return trials.figure(f"{predicted} of {len(_NAMES)} predicted")


class _Injected(HTMLParser):
    """Collects what the markup of a name would have become."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        for name, value in attrs:
            injected = name.startswith("on") or (name == "id" and value == "injected")
            if injected and any(mark in (value or "") for mark in _MARKS):
                self.found.append(f"<{tag} {name}={value}>")

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style") and "alert(" in data:
            self.found.append(f"<{self._inside}>{data[:60]}")


def _escaped(page: Path) -> None:
    parser = _Injected()
    parser.feed(page.read_text("utf-8"))
    expect(not parser.found, f"{page.name} holds {parser.found[:3]}")


def _cells(out: Path) -> Iterator[str]:
    for path in out.rglob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                yield from row


ROWS = (Row(name=NAME, wanted=WANTED, run=run),)
