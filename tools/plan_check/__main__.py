"""Compare what `doctor --plan` says of small trainings with what they then need; 1 beyond 30 percent.

    python -m tools.plan_check [PROGRAM ...] [--repeats N] [--json FILE]

Plan and training have a process each, one right after the other, with one thread. Compared is processor
time, which on an idle machine is the time and does not grow on a busy one; the clock's ratio stands
beside it. Memory is what the training's own pages (RssAnon) rise above those after its imports, in its last
updates.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tools.packages import ROOT, packages
from tools.plan_check.settings import setting

ALLOWED = 0.3
COUNTED = 10
"""The last updates: before, memory and caches fill; of a stream they lie in its second task, after
the evaluation of its first."""
_EVERY_S = 0.02
_MODULES = "modules.json"


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Seconds of an update by the processor and by the clock, and bytes of the whole training."""

    processor: float
    clock: float
    memory: float


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What was planned of one package, and what was measured."""

    program: str
    planned: Needs
    measured: Needs

    @property
    def ratios(self) -> dict[str, float]:
        """Planned over measured; 1 is right."""
        measured = asdict(self.measured)
        return {name: planned / measured[name] for name, planned in asdict(self.planned).items()}

    @property
    def passed(self) -> bool:
        """Whether processor time and memory are within 30 percent of what was measured."""
        return all(abs(self.ratios[name] - 1) <= ALLOWED for name in ("processor", "memory"))


def main(argv: Sequence[str] | None = None) -> int:
    """Compare; 1 where a ratio is beyond 30 percent."""
    programs = [package.program for package in packages()]
    parser = argparse.ArgumentParser(prog="python -m tools.plan_check", description=__doc__)
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help="none: all")
    parser.add_argument("--repeats", type=int, default=1, help="plans and trainings; medians count")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument("--step", choices=["plan", "train"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if unknown := set(options.programs) - set(programs):
        parser.error(f"no package is called {', '.join(sorted(unknown))}")
    if options.step is not None:
        needs = {"plan": _planned, "train": _trained}[options.step]
        print(json.dumps(asdict(needs(options.programs[0], options.folder))))
        return 0
    compared = [_compare(program, options.repeats) for program in options.programs or programs]
    Console(width=None if sys.stdout.isatty() else 120).print(_table(compared))
    if options.json is not None:
        results = [asdict(one) | {"ratios": one.ratios, "passed": one.passed} for one in compared]
        options.json.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    return int(not all(one.passed for one in compared))


def _compare(program: str, repeats: int) -> Compared:
    found: dict[str, list[Needs]] = {"plan": [], "train": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            for step, needs in found.items():
                needs.append(_in_a_process(program, step, Path(folder)))
    return Compared(
        program=program, planned=_median(found["plan"]), measured=_median(found["train"])
    )


def _median(needs: Sequence[Needs]) -> Needs:
    names = asdict(needs[0])
    return Needs(**{name: statistics.median(getattr(n, name) for n in needs) for name in names})


def _in_a_process(program: str, step: str, folder: Path) -> Needs:
    command = [sys.executable, "-m", "tools.plan_check", program, "--step", step]
    variables = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    # Freed memory goes back to the system, so that what is held is what the system sees.
    variables |= dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), "65536")
    done = subprocess.run(
        [*command, "--folder", str(folder)],
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Needs(**json.loads(done.stdout.splitlines()[-1]))


def _planned(program: str, folder: Path) -> Needs:
    from shared_core.launch.config import DoctorConfig
    from shared_core.launch.plan_report import make

    config, items = setting(program, folder)
    room = import_module(f"{program.replace('-', '_')}.plan")
    plan = make(DoctorConfig(plan=True, items=items), room.cost, config)
    cost = plan.cost
    (folder / _MODULES).write_text(json.dumps(sorted(sys.modules)), "utf-8")
    return Needs(
        processor=cost.processor_seconds or 0.0,
        clock=plan.epoch_seconds / plan.updates_per_epoch,
        memory=plan.memory_bytes,
    )


def _trained(program: str, folder: Path) -> Needs:
    from shared_core.reporting.events import read

    module = program.replace("-", "_")
    room, learner = import_module(f"{module}.plan"), import_module(f"{module}.learner")
    config, items = setting(program, folder)
    config = room.made_up(config, folder / "made_up", items)
    # What is imported on the way is not the training's memory.
    for name in json.loads((folder / _MODULES).read_text("utf-8")):
        with suppress(ImportError):
            import_module(name)
    with _Watch() as watch:
        learner.train(config)
    events = [event for event in read(config.run) if event["kind"] == "train"]
    times = [event["time"] for event in events]
    kept = times[-COUNTED:]
    return Needs(
        processor=_median_step([watch.processor_at(moment) for moment in kept]),
        clock=_median_step(kept),
        memory=watch.peak(kept[0], kept[-1]),
    )


def _median_step(moments: Sequence[float]) -> float:
    return statistics.median(after - before for before, after in pairwise(moments))


class _Watch:
    """Follows the memory and the processor time of this process."""

    def __enter__(self) -> _Watch:
        self._seen: list[tuple[float, float, int]] = []
        self._before = _own_bytes()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._over.wait(_EVERY_S):
            of_the_training = time.process_time() - time.thread_time()  # without this thread's
            self._seen.append((time.time(), of_the_training, _own_bytes()))

    def processor_at(self, moment: float) -> float:
        """Processor time at a moment, between the two looks around it."""
        return float(np.interp(moment, [s[0] for s in self._seen], [s[1] for s in self._seen]))

    def peak(self, first: float, last: float) -> float:
        """Most memory between two moments, above that of the beginning."""
        return max(size for at, _, size in self._seen if first <= at <= last) - self._before


def _own_bytes() -> int:
    """Anonymous memory of this process: neither mapped files nor shared memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no line RssAnon: this check needs Linux.")


def _table(compared: Sequence[Compared]) -> Table:
    load = os.getloadavg()[0]
    table = Table(title=f"planned over measured; load {load:.1f} on {os.cpu_count()} cores")
    for title in ("package", "update, s", "ratio", "by the clock", "memory, MB", "ratio", ""):
        table.add_column(title)
    for one in compared:
        planned, measured, ratios = one.planned, one.measured, one.ratios
        table.add_row(
            one.program,
            f"{planned.processor:.3f} / {measured.processor:.3f}",
            f"{ratios['processor']:.2f}",
            f"{ratios['clock']:.2f}",
            f"{planned.memory / 1e6:.0f} / {measured.memory / 1e6:.0f}",
            f"{ratios['memory']:.2f}",
            "[green]within 30 %" if one.passed else "[red]beyond 30 %",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
