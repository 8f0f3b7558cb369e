"""A table of text, as the tools print it: in the terminal, and in Markdown."""

from __future__ import annotations

import html
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

_COLOURS = {"passed": "green", "missed": "red", "differs": "red", "failed": "red"}


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells under a title.

    Attributes:
        title: above the table.
        columns: their names; an empty one for verdicts.
        rows: a cell for each column; a verdict such as "passed" is coloured.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def show(self) -> None:
        """Print it, as wide as the terminal, or 130 columns where there is none."""
        table = RichTable(*self.columns, title=self.title, title_justify="left")
        for row in self.rows:
            table.add_row(*(Text(cell, _COLOURS.get(cell, "")) for cell in row))
        Console(width=None if sys.stdout.isatty() else 130).print(table)

    def markdown(self) -> str:
        """The title in bold, an empty line, and the table as GitHub and MkDocs read it."""
        rows = [self.columns, ["---"] * len(self.columns), *self.rows]
        lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
        return "\n".join([f"**{self.title}**", "", *lines, ""])


def _cell(text: str) -> str:
    """What stands between two bars; a tag in it is text."""
    return html.escape(text, quote=False).replace("|", r"\|")
