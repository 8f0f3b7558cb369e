"""What was found, as a table to read and as JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from shared_core.launch.environment import environment

Verdict = Literal["held", "short of", "broken"]

_COLOURS: dict[Verdict, str] = {"held": "green", "short of": "yellow", "broken": "red"}
_SHOWN_FAILURES = 5


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One row of the table, for one package."""

    row: str
    """What was done to it."""
    package: str
    held: int
    """Times that the promise held."""
    tried: int
    """Times that it was put to the test."""
    wanted: str
    """The promise."""
    measured: str = ""
    """What else was measured, such as `slowest exit 3.1 s`."""
    reason: str = ""
    """Why the figure cannot be reached here; empty where it can."""
    failures: tuple[str, ...] = ()
    """What happened where it did not hold."""
    seconds: float = 0.0
    """Time that the row took for the package."""

    @property
    def verdict(self) -> Verdict:
        """`held` every time; `short of` the figure, for a reason that is told; or `broken`."""
        if self.reason:
            return "short of"
        return "held" if self.held == self.tried > 0 else "broken"

    def to_json(self) -> dict[str, Any]:
        """Everything, and the verdict."""
        return asdict(self) | {"verdict": self.verdict}


def show(figures: Sequence[Figure], title: str) -> None:
    """Print the table, then what happened where a promise did not hold."""
    table = Table(title=title)
    for column in ("row", "package", "held / tried", "measured", "wanted", "verdict"):
        table.add_column(column)
    for figure in figures:
        table.add_row(
            figure.row,
            figure.package,
            f"{figure.held} / {figure.tried}",
            figure.measured,
            figure.wanted,
            f"[{_COLOURS[figure.verdict]}]{figure.verdict}[/]",
        )
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(table)
    for figure in figures:
        if figure.verdict == "short of":
            console.print(f"{figure.row}, {figure.package}: {figure.reason}", markup=False)
            continue  # its failures are in the JSON
        for failure in figure.failures[:_SHOWN_FAILURES]:
            console.print(f"{figure.row}, {figure.package}: {failure}", markup=False)
        if (hidden := len(figure.failures) - _SHOWN_FAILURES) > 0:
            console.print(f"{figure.row}, {figure.package}: and {hidden} more", markup=False)


def report(figures: Sequence[Figure], **settings: Any) -> dict[str, Any]:
    """The JSON of a run of the tool: its settings, the machine, the rows."""
    return {
        "settings": settings,
        "environment": environment(),
        "rows": [figure.to_json() for figure in figures],
    }
