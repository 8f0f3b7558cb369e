"""The page over all demos, from the `demo.json` that each leaves (see `reporting.demo_file`).

It works wherever its folder is moved: pictures stand in the page, links lead to files beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shared_core.errors import DataError
from shared_core.launch.environment import environment
from shared_core.reporting.demo import add_picture, is_demo
from shared_core.reporting.demo_file import DEMO_FILE, Demo, read_demo
from shared_core.reporting.page import Page, Section, brief
from shared_core.reporting.report import REPORT

LOG = "demo.log"


@dataclass(frozen=True, kw_only=True)
class Result:
    """How one demo ended.

    Attributes:
        program: the package's command.
        folder: where its files lie.
        log: what it printed; beside its report once it has ended.
        status: exit status.
        seconds: how long it took.
    """

    program: str
    folder: Path
    log: Path
    status: int = 0
    seconds: float = 0.0

    @classmethod
    def to_come(cls, program: str, out: Path) -> Result:
        """Of a demo that has not begun; its log stays outside the folder that it will empty."""
        return cls(program=program, folder=out / program, log=out / f"{program}.log")

    def forget(self) -> None:
        """Drop what an earlier demo told, or it would stand for this one."""
        if is_demo(self.folder, self.program):
            (self.folder / DEMO_FILE).unlink(missing_ok=True)

    def ended(self, status: int, seconds: float) -> Result:
        """The result, with its log beside the report; a folder that is no demo's is left alone."""
        log = self.log
        if is_demo(self.folder, self.program):
            log = log.replace(self.folder / LOG)
        return replace(self, log=log, status=status, seconds=seconds)


def write_index(out: Path, results: Sequence[Result]) -> Path:
    """Write `index.html`: what each demo shows, its figures and pictures, and where its report lies.

    Raises:
        DataError: it cannot be written.
    """
    page = Page("Demonstrations", "Each package, trained, evaluated and used on embedded data.")
    overview, rows = page.section("Overview"), []
    for result in results:
        section = page.section(result.program)
        try:
            demo = _told(result)
            _add(section, demo, result)
            rows.append(_row(result, demo))
        except DataError as error:
            section.note(f"{error}", warning=True)
            overview.note(f"{result.program}: {error}", warning=True)
            state = "failed" if result.status else "no result"
            rows.append([result.program, state, None, None, round(result.seconds)])
        for text, path in (("The whole report", REPORT), ("What it printed", LOG)):
            if (result.folder / path).is_file():
                section.link(text, (result.folder / path).relative_to(out).as_posix())
    overview.table(
        ["package", "what it shows", "measure, with its interval", "best baseline", "seconds"],
        rows,
        caption="Values with their 95 % intervals, on data that no model was trained on.",
    )
    page.section("Machine").key_values(_machine())
    return page.write(out / "index.html")


def _told(result: Result) -> Demo:
    if result.status:
        raise DataError(result.log, f"the demo failed with exit status {result.status}")
    return read_demo(result.folder)


def _row(result: Result, demo: Demo) -> list[object]:
    """Of the overview: the demo's first measure beside its best baseline."""
    first = demo.comparisons[0]
    best = first.best_baseline()
    beside = f"{best[0]}: {brief(best[1])}" if best else None
    ours = f"{first.title}: {brief(first.leading)}"
    return [result.program, demo.task, ours, beside, round(result.seconds)]


def _add(section: Section, demo: Demo, result: Result) -> None:
    section.text(f"{demo.task}.")
    for claim in demo.claims:
        section.note(claim)
    section.key_values(
        {
            "model": f"{demo.trained.model}; {demo.trained.parameters:,} parameters",
            "data": demo.trained.data,
            "counts": ", ".join(f"{count:,} {of}" for of, count in demo.trained.counts.items()),
            "took": f"{result.seconds:.0f} s on {demo.machine}",
        }
    )
    for of in demo.comparisons:
        section.figure(of.figure())
    section.table(["measure", "of", "value"], _measured(demo))
    for picture in demo.pictures:
        add_picture(section, result.folder, picture)


def _measured(demo: Demo) -> list[list[object]]:
    """A row for each value; a reason why there is no interval follows it."""
    return [
        [of.title, name, f"{brief(m)} ({m.reason})" if m.defined and m.reason else m]
        for of in demo.comparisons
        for name, m in of.found.items()
    ]


def _machine() -> dict[str, object]:
    found = environment()
    devices = ", ".join(device["name"] for device in found["devices"]) or "no GPU"
    return {
        "CPU": "{cores} cores, {memory_gb} GB of memory".format(**found["cpu"]),
        "GPU": devices,
        "platform": found["platform"],
        "Python": found["python"],
        "libraries": ", ".join(f"{name} {version}" for name, version in found["libraries"].items()),
    }
