"""How far the demos are: one display that stays in its place, or plain lines where there is no terminal."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

_READ = 1 << 14  # bytes from the end of a log
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[^\S\n ]|[\x00-\x09\x0b-\x1f\x7f-\x9f]")
_STYLES = {"waiting": "dim", "running": "cyan", "done": "green", "FAILED": "bold red"}


@dataclass
class _Row:
    """One demo: its log once it has begun, and its end."""

    program: str
    log: Path | None = None
    begun: float = 0.0
    seconds: float = 0.0
    status: int | None = None

    @property
    def state(self) -> str:
        if self.log is None:
            return "waiting"
        if self.status is None:
            return "running"
        return "FAILED" if self.status else "done"

    def told(self) -> str:
        """What is said of it beside its state."""
        if self.log is None:
            return ""
        if self.status is None:
            lines = last_lines(self.log, 1)
            return f"{_clock(time.monotonic() - self.begun)}  {lines[0] if lines else ''}"
        how = f" with status {self.status}" if self.status else ""
        return f"in {self.seconds:.0f} s{how}"


class Progress:
    """The demos and how far each is, while it is entered as a context.

    Args:
        programs: that will run, in this order.
        console: where to show them.
    """

    def __init__(self, programs: Sequence[str], console: Console) -> None:
        self._rows = {program: _Row(program) for program in programs}
        self._console = console
        self._live = Live(
            get_renderable=self._table, console=console, refresh_per_second=4, auto_refresh=True
        )

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def begin(self, program: str, log: Path) -> None:
        """A demo has begun, and writes this log."""
        row = self._rows[program]
        row.begun, row.log = time.monotonic(), log
        self._line(f"{program}: running; its log is {log}")

    def end(self, program: str, status: int) -> None:
        """A demo has ended."""
        row = self._rows[program]
        row.seconds, row.status = time.monotonic() - row.begun, status
        self._line(f"{program}: {row.state} {row.told()}")

    def _line(self, text: str) -> None:
        if not self._console.is_terminal:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for row in self._rows.values():
            state = row.state  # read once: the demo's end comes from another thread
            table.add_row(row.program, Text(state, style=_STYLES[state]), Text(row.told()))
        return table


def last_lines(log: Path, count: int) -> list[str]:
    """The last lines of a log that are not blank, without what would move a terminal's cursor."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _READ))
            text = file.read().decode(errors="replace")
    except OSError:  # it was moved this moment
        return []
    lines = (_CONTROL.sub("", line).rstrip() for line in re.split(r"[\r\n]+", text))
    return [line for line in lines if line.strip()][-count:]


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
