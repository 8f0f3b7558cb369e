"""Run every package's demonstration, one after the other, and write one page over their results."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from shared_core.launch.ranks import GRACE_SECONDS, POLL_SECONDS, stop_signals
from shared_core.launch.supervise import Command, lifeline
from tools.demo.index import Result, write_index
from tools.demo.progress import Progress, last_lines
from tools.packages import Package, packages

_TAIL = 15  # lines of a failed demo's log that are shown


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demos; 1 where one of them failed, 130 after Ctrl-C and 143 after SIGTERM."""
    known = {package.program: package for package in packages()}
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="PACKAGE", help=f"of {', '.join(known)}")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder to write")
    options = parser.parse_args(argv)
    if unknown := sorted(set(options.names) - set(known)):
        parser.error(f"no such package: {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = [known[name] for name in dict.fromkeys(options.names)] or list(known.values())
    options.out.mkdir(parents=True, exist_ok=True)
    os.environ["PYTHONUNBUFFERED"] = "1"  # or a demo's log would lag behind it
    console = Console()
    with stop_signals() as received:
        results = _run_all(chosen, options.out, received, console)
        if received:
            console.print("Stopped; no page was written.")
            return 128 + received[0]
        page = write_index(options.out, results)
    _tell(results, console)
    console.print(f"Report of all: {page}", soft_wrap=True)
    return int(any(result.status for result in results))


def _run_all(
    chosen: Sequence[Package], out: Path, received: Sequence[int], console: Console
) -> list[Result]:
    """Run the demos until the last is done, or a stop signal was received."""
    results: list[Result] = []
    with lifeline() as line, Progress([of.program for of in chosen], console) as progress:
        for package in chosen:
            result = Result.to_come(package.program, out)
            progress.begin(package.program, result.log)
            result = _run(package.module, result, line, received)
            if received:
                break
            progress.end(package.program, result.status)
            results.append(result)
    return results


def _run(module: str, result: Result, line: int, received: Sequence[int]) -> Result:
    """Run one demo in a session of its own; what it prints goes to its log."""
    begun = time.monotonic()
    result.forget()
    words = ["demo", "--out", str(result.folder)]
    with (
        result.log.open("wb") as log,
        Command(module, words, line, output=log) as command,
    ):
        while not command.has_ended() and not received:
            time.sleep(POLL_SECONDS)
        if received:
            _stop(command, received)
        status = command.status()
    return result.ended(status, time.monotonic() - begun)


def _stop(command: Command, received: Sequence[int]) -> None:
    """Ask a demo to end with all that it started; a second signal, or the grace's end, ends the wait."""
    command.stop_all(received[0])
    deadline = time.monotonic() + GRACE_SECONDS
    while not command.has_ended() and len(received) < 2 and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _tell(results: Sequence[Result], console: Console) -> None:
    """The end of each failed demo's log."""
    for result in results:
        if result.status:
            console.rule(f"the end of {result.log}", align="left")
            tail = "\n".join(last_lines(result.log, _TAIL))
            console.print(tail, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
