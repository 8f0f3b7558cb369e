"""Run the rows and count: see `python -m tools.faults --help`."""

from __future__ import annotations

import argparse
import json
import logging
import math
import pkgutil
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import FrameType

from tools.faults import rows as rooms
from tools.faults.processes import end_all
from tools.faults.row import Options, Row, not_offered
from tools.faults.subject import Subject
from tools.faults.table import Figure, report, show
from tools.packages import packages

_DESCRIPTION = (
    "Each row does one kind of fault to real runs of every package, and counts how often the "
    "promise about it held. Ends with 1 where one did not hold."
)
_CORE = "shared_core"
_POLL_S = 0.1
_NO_TIME = "not run: the --minutes were over"


@dataclass(frozen=True)
class _Job:
    row: Row
    subject: Subject
    options: Options
    until: float = math.inf  # of the monotonic clock

    def figures(self) -> list[Figure]:
        """What the row finds; a row that fails is itself a promise that did not hold."""
        begun = time.monotonic()
        if begun > self.until:
            return [not_offered(self.row.name, self.subject, self.row.wanted, _NO_TIME)]
        self.options.folder.mkdir(parents=True)
        try:
            found = self.row.run(self.subject, self.options)
        except Exception as error:  # noqa: BLE001  the other rows go on
            found = self._failed(error)
        shutil.rmtree(self.options.folder, ignore_errors=True)
        seconds = time.monotonic() - begun
        figures = [found] if isinstance(found, Figure) else list(found)
        for figure in figures:
            print(
                f"{figure.row}, {figure.package}: {figure.held} / {figure.tried} "
                f"{figure.verdict}, {seconds:.0f} s",
                flush=True,
            )
            for failure in figure.failures if figure.verdict == "broken" else ():
                print(f"  {failure}", flush=True)
        return [replace(figure, seconds=round(seconds, 1)) for figure in figures]

    def _failed(self, error: Exception) -> Figure:
        return Figure(
            row=self.row.name,
            package=self.subject.program,
            held=0,
            tried=1,
            wanted=self.row.wanted,
            failures=(f"{type(error).__name__}: {error}",),
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, write; the exit status."""
    arguments = _arguments(argv)
    print(f"seed={arguments.seed} moments={arguments.moments}", flush=True)
    logging.getLogger("shared_core").setLevel(logging.ERROR)  # rows look at damage on purpose
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with tempfile.TemporaryDirectory() as folder:
            figures = run(_jobs(arguments, Path(folder)), arguments.jobs)
    except KeyboardInterrupt:
        print("faults: interrupted.", file=sys.stderr)
        return 128 + signal.SIGINT
    finally:
        signal.signal(signal.SIGTERM, before)
    settings = {name: getattr(arguments, name) for name in ("seed", "moments", "jobs")}
    show(figures, ", ".join(f"{name} {value}" for name, value in settings.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(report(figures, **settings), indent=2) + "\n", "utf-8")
    return int(any(figure.verdict == "broken" for figure in figures) or not figures)


def run(jobs: Sequence[_Job], at_once: int) -> list[Figure]:
    """Do some at once; the figures in the order of the jobs. No process is left, also on Ctrl-C."""
    with ThreadPoolExecutor(at_once) as pool:
        futures = [pool.submit(job.figures) for job in jobs]
        try:
            found = [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in futures):
                end_all()  # also what a row starts meanwhile: it goes on where a command has failed
                time.sleep(_POLL_S)
            raise
    return [figure for figures in found for figure in figures]


def all_rows() -> list[Row]:
    """The rows of all modules of `tools.faults.rows`."""
    names = sorted(module.name for module in pkgutil.iter_modules(rooms.__path__))
    return [row for name in names for row in import_module(f"{rooms.__name__}.{name}").ROWS]


def all_subjects() -> list[str]:
    """Modules of the packages that have a subject, by name."""
    folder = Path(__file__).parent / "subjects"
    named = [package.module for package in packages()]
    return [module for module in named if (folder / f"{module}.py").is_file()]


def subject_of(module: str, folder: Path, seed: int) -> Subject:
    """The subject of a package, or of the core."""
    made: Subject = import_module(f"tools.faults.subjects.{module}").Tiny(folder, seed)
    return made


def _jobs(arguments: argparse.Namespace, folder: Path) -> list[_Job]:
    modules = [program.replace("-", "_") for program in arguments.packages]
    subjects = [subject_of(module, folder / module, arguments.seed) for module in modules]
    core = subject_of(_CORE, folder / _CORE, arguments.seed)
    rows = {row.name: row for row in all_rows()}
    chosen = [rows[name] for name in arguments.rows] or list(rows.values())
    until = math.inf if arguments.minutes is None else time.monotonic() + 60 * arguments.minutes
    return [
        _Job(
            row,
            subject,
            Options(
                moments=arguments.moments,
                seed=arguments.seed,
                folder=folder / "rows" / row.name / subject.module,
            ),
            until,
        )
        for row in chosen
        for subject in (subjects if row.per_package else [core])
    ]


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    names = [row.name for row in all_rows()]
    programs = [module.replace("_", "-") for module in all_subjects()]
    parser = argparse.ArgumentParser(prog="python -m tools.faults", description=_DESCRIPTION)
    parser.add_argument(
        "rows",
        nargs="*",
        metavar="ROW",
        help=f"any of, in that order: {', '.join(names)}; none: all",
    )
    parser.add_argument(
        "--packages", nargs="+", metavar="P", default=programs, help="none named: all"
    )
    parser.add_argument("--moments", type=int, default=10, help="drawn for a row (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: 0)")
    parser.add_argument("--jobs", type=int, default=2, help="rows at the same time (default: 2)")
    parser.add_argument(
        "--minutes",
        type=float,
        metavar="N",
        help="begin no row after so long; it is listed as not run",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    arguments = parser.parse_args(argv)
    for kind, given, known in (
        ("row", arguments.rows, names),
        ("package", arguments.packages, programs),
    ):
        if unknown := sorted(set(given) - set(known)):
            parser.error(f"no such {kind}: {', '.join(unknown)}; there are: {', '.join(known)}")
    for name in ("moments", "jobs"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name}: expected 1 or more")
    return arguments


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
