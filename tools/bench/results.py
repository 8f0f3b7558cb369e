"""What a run of the benchmarks found, as a file, and what changed since an earlier one."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared_core.data.tables import read_json, write_json
from shared_core.errors import DataError
from shared_core.launch.environment import version_of
from tools.bench.timing import Row

LARGEST_FALL = 0.15
"""How much worse a ratio may get without a word, as a share."""

_MACHINE = ("cpu", "cores", "platform")
_LIBRARIES = (
    *("numpy", "scipy", "pillow", "scikit-image", "scikit-learn"),
    *(
        "torch",
        "torchmetrics",
        "torchvision",
        "tensordict",
        "torchrl",
        "transformers",
        "trl",
        "tyro",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one benchmark.

    Attributes:
        rows: its comparisons; none where it failed.
        seconds: of wall time that it took.
        error: the first line of what stopped it; None: nothing did.
    """

    rows: Sequence[Row]
    seconds: float
    error: str | None = None

    @property
    def passed(self) -> bool:
        """Whether it ended, with every bound met."""
        return self.error is None and all(row.passed for row in self.rows)


@dataclass(frozen=True, kw_only=True)
class Results:
    """One run of some of the benchmarks.

    Attributes:
        environment: machine and versions.
        benchmarks: outcomes by the benchmarks' names.
        measured: when, in UTC, as ISO 8601.
        load: processes that wanted a core in the minute before, on average.
    """

    environment: Mapping[str, str]
    benchmarks: Mapping[str, Outcome]
    measured: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    load: float = field(default_factory=lambda: round(os.getloadavg()[0], 1))

    @property
    def rows(self) -> dict[str, Row]:
        """All rows by their names."""
        return {row.name: row for one in self.benchmarks.values() for row in one.rows}

    def write(self, path: Path) -> None:
        """Write them as JSON, whole or not at all.

        Raises:
            DataError: the file cannot be written.
        """
        benchmarks = {
            name: asdict(one) | {"rows": [asdict(row) | {"passed": row.passed} for row in one.rows]}
            for name, one in self.benchmarks.items()
        }
        write_json(path, asdict(self) | {"benchmarks": benchmarks})

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read what `write` wrote.

        Raises:
            DataError: there is no such file, or it holds something else.
        """
        found = read_json(path)
        try:
            return cls(
                environment={name: str(value) for name, value in found["environment"].items()},
                benchmarks={name: _outcome(one) for name, one in found["benchmarks"].items()},
                measured=str(found["measured"]),
                load=float(found["load"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                path,
                "something else",
                expected="results that `--json` wrote",
                remedy="Give another file, or remove this one to begin anew.",
            ) from error


def _outcome(found: Mapping[str, Any]) -> Outcome:
    return Outcome(
        rows=[_row(row) for row in found["rows"]],
        seconds=float(found["seconds"]),
        error=found["error"],
    )


def _row(found: Mapping[str, Any]) -> Row:
    figures = ("ours", "reference", "ratio", "bound")
    values: dict[str, Any] = {name: found[name] for name in Row.__dataclass_fields__}
    for name in figures:  # JSON has no NaN
        values[name] = math.nan if values[name] is None else float(values[name])
    return Row(**values | {"name": str(values["name"])})


def here() -> dict[str, str]:
    """This machine, and the versions of what is measured and compared with."""
    versions = {name: found for name in _LIBRARIES if (found := version_of(name))}
    return {
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "platform": platform.platform(),
        "python": platform.python_version(),
        **versions,
    }


def changes(now: Results, before: Results) -> Iterator[str]:
    """Sentences: what fell, what is no longer measured, and where both ran differ.

    Only benchmarks that both have run, and that did not fail now, are compared. A row that is held to a
    fixed limit has no ratio of two measurements, and is not compared.
    """
    yield from fallen(now, before)
    yield from vanished(now, before)
    yield from differences(now.environment, before.environment)


def fallen(now: Results, before: Results) -> list[str]:
    """The rows whose ratio is more than 15 percent worse."""
    earlier = before.rows
    return [
        f"FELL: {name}: the ratio was {earlier[name].ratio:.2f}, now {row.ratio:.2f}"
        for name, row in now.rows.items()
        if name in earlier and not row.is_limit and _fell(row, earlier[name].ratio)
    ]


def vanished(now: Results, before: Results) -> list[str]:
    """The rows that a benchmark had, and has no more."""
    present = now.rows
    return [
        f"GONE: {row.name}: {benchmark} no longer measures it"
        for benchmark, one in before.benchmarks.items()
        if benchmark in now.benchmarks and now.benchmarks[benchmark].error is None
        for row in one.rows
        if row.name not in present
    ]


def differences(now: Mapping[str, str], before: Mapping[str, str]) -> list[str]:
    """What differs between two machines or their versions."""
    differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    lines = [
        f"{name}: was {before.get(name, 'absent')}, now {now.get(name, 'absent')}"
        for name in differing
    ]
    if any(name in differing for name in _MACHINE):
        lines.insert(0, "ANOTHER MACHINE: the former ratios were measured elsewhere")
    return lines


def _fell(row: Row, before: float) -> bool:
    if row.higher_is_better:
        return row.ratio < before * (1 - LARGEST_FALL)
    return row.ratio > before * (1 + LARGEST_FALL)


def _cpu() -> str:
    described = Path("/proc/cpuinfo")
    if described.exists():
        for line in described.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
