"""The page over all demonstrations, from the `demo.json` that each of them leaves.

    {"title": "abaw-va", "shows": "a sentence", "seconds": 61.5, "measures": [
        {"label": "trained", "value": 0.7, "low": 0.6, "high": 0.8, "reason": null}, ...]}

`shows` is what may be claimed. `value`, `low` and `high` may be null (undefined, or without an
interval; `reason` says why); `"baseline": true` marks what is there only to be compared with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared_core.data.tables import read_json
from shared_core.errors import DataError
from shared_core.launch.environment import environment
from shared_core.reporting.figures import Bar, intervals
from shared_core.reporting.page import Page, Section


@dataclass(frozen=True)
class Result:
    """How one demo ended.

    Attributes:
        program: the package's command.
        folder: where its files lie.
        status: exit status.
        seconds: how long it took.
    """

    program: str
    folder: Path
    status: int
    seconds: float


def write_index(out: Path, results: Sequence[Result]) -> Path:
    """Write `index.html`: what each demo shows, its numbers, and where its report lies."""
    page = Page("Demonstrations", "Each package, trained, evaluated and used on embedded data.")
    for result in results:
        section = page.section(result.program)
        try:
            _add(section, result, out)
        except DataError as error:
            section.note(f"No result: {error}", warning=True)
    page.section("Environment").key_values(_machine())
    return page.write(out / "index.html")


def _machine() -> dict[str, object]:
    found = environment()
    devices = ", ".join(device["name"] for device in found["devices"]) or "no GPU"
    return {
        "Python": found["python"],
        "torch": found["libraries"]["torch"],
        "platform": found["platform"],
        "CPU": "{cores} cores, {memory_gb} GB of memory".format(**found["cpu"]),
        "GPU": devices,
    }


def _add(section: Section, result: Result, out: Path) -> None:
    if result.status:
        section.note(f"The demo failed with exit status {result.status}.", warning=True)
        return
    demo = read_json(result.folder / "demo.json")
    measures = demo["measures"]
    section.text(demo["shows"])
    section.figure(intervals([_bar(measure) for measure in measures], x="value"))
    section.table(["", "value", "from", "to", "note"], [_row(measure) for measure in measures])
    report = (result.folder / "report.html").relative_to(out)
    section.text(f"Took {result.seconds:.0f} s.").link("Its own report", report.as_posix())


def _bar(measure: Mapping[str, Any]) -> Bar:
    value = measure["value"]
    return Bar(
        name=measure["label"],
        value=math.nan if value is None else value,
        low=measure.get("low"),
        high=measure.get("high"),
        baseline=measure.get("baseline", False),
    )


def _row(measure: Mapping[str, Any]) -> list[object]:
    return [measure.get(name) for name in ("label", "value", "low", "high", "reason")]
