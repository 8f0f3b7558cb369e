"""Run the benchmarks and judge them: see `python -m tools.bench --help`."""

from __future__ import annotations

import argparse
import json
import pkgutil
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from tools import bench
from tools.bench.timing import Row

_DESCRIPTION = (
    "Each benchmark holds the ratio of two figures of one run to a bound. Ends with 1 where a "
    "bound is missed or a ratio is more than 15 percent worse than in the previous run."
)
_LARGEST_FALL = 0.15
_NO_BENCHMARKS = {
    "__main__",
    "runner",
    "straightforward",
    "straightforward_adaglimpse",
    "straightforward_asal",
    "straightforward_gaze",
    "straightforward_refine_iqa",
    "timing",
}
_LIBRARIES = ("numpy", "scipy", "torch", "torchmetrics")


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, write; the exit status."""
    arguments = _arguments(argv)
    torch.set_num_threads(1)
    previous = _previous_ratios(arguments.previous) if arguments.previous else {}
    rows = [row for name in arguments.names or _names() for row in _measure(name)]
    fallen = [row for row in rows if _fell(row, previous.get(row.name))]
    Console(width=None if sys.stdout.isatty() else 130).print(_table(rows, previous))
    if arguments.json:
        arguments.json.write_text(json.dumps(_report(rows), indent=2) + "\n")
    for row in fallen:
        print(f"{row.name}: the ratio was {previous[row.name]:.2f}, now {row.ratio:.2f}")
    return int(bool(fallen) or not all(row.passed for row in rows))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=_DESCRIPTION)
    parser.add_argument("names", nargs="*", help=f"any of: {', '.join(_names())}; none: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument("--previous", type=Path, metavar="FILE", help="such results, to compare")
    arguments = parser.parse_args(argv)
    if unknown := sorted(set(arguments.names) - set(_names())):
        parser.error(f"no such benchmark: {', '.join(unknown)}")
    return arguments


def _names() -> list[str]:
    modules = (module.name for module in pkgutil.iter_modules(bench.__path__))
    return [name for name in modules if name not in _NO_BENCHMARKS]


def _measure(name: str) -> list[Row]:
    rows: list[Row] = import_module(f"{bench.__name__}.{name}").measure()
    return rows


def _previous_ratios(path: Path) -> dict[str, float]:
    return {row["name"]: row["ratio"] for row in json.loads(path.read_text())["rows"]}


def _fell(row: Row, before: float | None) -> bool:
    if before is None:
        return False
    if row.higher_is_better:
        return row.ratio < before * (1 - _LARGEST_FALL)
    return row.ratio > before / (1 - _LARGEST_FALL)


def _table(rows: Sequence[Row], previous: dict[str, float]) -> Table:
    table = Table("benchmark", "ours", "reference", "ratio", "bound", "before", "", "note")
    for row in rows:
        before = previous.get(row.name)
        sign = "≥" if row.higher_is_better else "≤"
        table.add_row(
            row.name,
            f"{row.ours:.3g} {row.unit}",
            f"{row.reference:.3g} {row.unit}",
            f"{row.ratio:.2f}",
            f"{sign} {row.bound:g}",
            "" if before is None else f"{before:.2f}",
            "[green]passed" if row.passed else "[red]missed",
            row.note,
        )
    return table


def _report(rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "environment": {
            "cpu": _cpu(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            **{library: version(library) for library in _LIBRARIES},
        },
        "rows": [asdict(row) | {"passed": row.passed} for row in rows],
    }


def _cpu() -> str:
    described = Path("/proc/cpuinfo")
    if described.exists():
        for line in described.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
