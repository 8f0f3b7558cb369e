"""Run the benchmarks and judge them: see `python -m tools.bench --help`."""

from __future__ import annotations

import argparse
import ast
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from itertools import groupby
from pathlib import Path

import torch

from shared_core.errors import DataError, first_line
from tools.bench.results import Outcome, Results, changes, fallen, here
from tools.bench.timing import Row
from tools.packages import packages
from tools.tables import Table

_DESCRIPTION = (
    "Each benchmark holds the ratio of two figures of one run to a bound. Ends with 1 where a bound is "
    "missed, a benchmark fails, or a ratio is more than 15 percent worse than in the former results."
)
_COLUMNS = ("benchmark", "ours", "reference", "ratio", "bound", "before", "", "note")


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, write; the exit status."""
    arguments = _arguments(argv)
    torch.set_num_threads(1)
    try:
        before = _before(arguments)
    except DataError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    now = Results(environment=here(), benchmarks={})  # notes the load before it adds to it
    outcomes: dict[str, Outcome] = {}
    earlier = {} if before is None else before.rows
    for program, names in groupby(arguments.names or benchmarks(), key=_program):
        made = {name: measured(name) for name in names}
        outcomes |= made
        table = _table(program, list(made.values()), earlier)
        table.show()
        if arguments.markdown:
            with arguments.markdown.open("a", encoding="utf-8") as file:
                file.write(table.markdown() + "\n")
    now = replace(now, benchmarks=outcomes)
    for line in _remarks(now, before):
        print(line)
    if arguments.json:
        now.write(arguments.json)
    kept = all(one.passed for one in outcomes.values())
    return int(not kept or (before is not None and bool(fallen(now, before))))


def benchmarks() -> list[str]:
    """Names of the modules of this folder that have `measure() -> list[Row]`, packages together."""
    names = [path.stem for path in Path(__file__).parent.glob("*.py") if _measures(path)]
    return sorted(names, key=lambda name: (_program(name), name))


def measured(name: str) -> Outcome:
    """Run one benchmark; whatever stops it, the others go on."""
    start = time.monotonic()
    rows: list[Row] = []
    failure = None
    try:
        rows = import_module(f"tools.bench.{name}").measure()
    except Exception as error:  # noqa: BLE001  it stands under the tables
        traceback.print_exc()
        failure = first_line(error)
    return Outcome(rows=rows, seconds=round(time.monotonic() - start, 1), error=failure)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=_DESCRIPTION)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"any of: {', '.join(benchmarks())}; none: all"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the results there, in place of former ones"
    )
    parser.add_argument(
        "--previous",
        type=Path,
        metavar="FILE",
        help="former results, to compare with (default: what --json is about to replace)",
    )
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="add the tables at the end of this file"
    )
    arguments = parser.parse_args(argv)
    if unknown := sorted(set(arguments.names) - set(benchmarks())):
        parser.error(f"no such benchmark: {', '.join(unknown)}")
    return arguments


def _before(arguments: argparse.Namespace) -> Results | None:
    former = arguments.previous
    if former is None and arguments.json and arguments.json.exists():
        former = arguments.json
    return None if former is None else Results.read(former)


def _measures(path: Path) -> bool:
    """Whether a module has `measure`, without importing what it needs."""
    body = ast.parse(path.read_text("utf-8")).body
    return any(isinstance(node, ast.FunctionDef) and node.name == "measure" for node in body)


def _program(name: str) -> str:
    """The package that a benchmark is about; the core, where it is about none."""
    found = (package.program for package in packages() if name.startswith(package.module))
    return next(found, "shared-core")


def _table(program: str, outcomes: Sequence[Outcome], earlier: Mapping[str, Row]) -> Table:
    seconds = sum(one.seconds for one in outcomes)
    return Table(
        title=f"{program}, {seconds:.0f} s",
        columns=_COLUMNS,
        rows=[_cells(row, earlier.get(row.name)) for one in outcomes for row in one.rows],
    )


def _cells(row: Row, before: Row | None) -> list[str]:
    return [
        row.name,
        f"{row.ours:.3g} {row.unit}".rstrip(),
        f"{row.reference:.3g} {row.unit}".rstrip(),
        f"{row.ratio:.2f}",
        f"{'≥' if row.higher_is_better else '≤'} {row.bound:.3g}",
        "" if before is None else f"{before.ratio:.2f}",
        "passed" if row.passed else "missed",
        row.note,
    ]


def _remarks(now: Results, before: Results | None) -> Iterator[str]:
    """What follows the tables."""
    rows = now.rows.values()
    for name, one in now.benchmarks.items():
        if one.error is not None:
            yield f"FAILED: {name}: {one.error}"
    if before is not None:
        yield f"Compared with {before.measured} (load {before.load:g}, now {now.load:g}):"
        found = list(changes(now, before))
        yield from found or ["nothing fell"]
    seconds = sum(one.seconds for one in now.benchmarks.values())
    yield f"{sum(row.passed for row in rows)} of {len(rows)} bounds kept, {seconds:.0f} s"
