"""One stream learnt by several strategies: what each remembers, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from asal_vrvqa.config import CompareConfig, TrainConfig
from asal_vrvqa.learner import train
from asal_vrvqa.pages import TITLES
from asal_vrvqa.results import FIGURES
from asal_vrvqa.runs import StreamRun, read_run
from asal_vrvqa.strategies import strategy as strategy_class
from shared_core.commands import say
from shared_core.data.tables import write_csv, write_json
from shared_core.errors import UsageError
from shared_core.metrics import Measure
from shared_core.reporting.demo import over_seeds
from shared_core.reporting.figures import Bar, Line, curves, intervals
from shared_core.reporting.page import Page, Section
from shared_core.training.apart import train_apart

NOT_A_STREAM = "all tasks are learnt at once: nothing comes before or after"


@dataclass(frozen=True)
class Contender:
    """A strategy's runs, one a seed.

    Attributes:
        name: of the strategy.
        runs: finished.
    """

    name: str
    runs: tuple[StreamRun, ...]

    def figures(self) -> dict[str, Measure]:
        """The figures of the stream, over seeds where there are several, else over source videos."""
        each = [_figures(run) for run in self.runs]
        if len(each) == 1:
            return each[0]
        found = {}
        for name in FIGURES:
            values = [of[name].value for of in each]
            if not np.isfinite(values).all():
                found[name] = next(of[name] for of in each if not of[name].defined)
                continue
            found[name] = over_seeds(values, higher_is_better=each[0][name].higher_is_better)
        return found

    @property
    def memory_bytes(self) -> int:
        """What the strategy keeps of the past, at the end."""
        return int(self.runs[0].results["memory_bytes"])

    @property
    def seconds_per_task(self) -> float:
        """Training time of a task, mean over seeds and tasks."""
        return float(np.mean([run.seconds_per_task for run in self.runs]))

    def average_after(self) -> np.ndarray:
        """Mean SRCC over the tasks learnt so far, after each stage; mean over seeds."""
        curves_ = [
            [float(np.mean(row[: n + 1])) for n, row in enumerate(run.judged.matrix()[1:])]
            for run in self.runs
        ]
        found: np.ndarray = np.mean(curves_, axis=0)
        return found

    def first_task(self) -> np.ndarray:
        """SRCC on the first task before the stream and after each stage; mean over seeds."""
        found: np.ndarray = np.mean([run.judged.matrix()[:, 0] for run in self.runs], axis=0)
        return found


def _figures(run: StreamRun) -> dict[str, Measure]:
    seed = run.config.seed
    if run.judged.is_stream:
        return run.judged.figures(seed)
    matrix = run.judged.matrix()
    average = Measure(value=float(np.mean(matrix[-1])), reason="no interval: see the stream's")
    undefined = Measure(value=float("nan"), reason=NOT_A_STREAM)
    return {"average": average, **dict.fromkeys(FIGURES[1:], undefined)}


def compare(
    config: TrainConfig, strategies: Sequence[str], seeds: Sequence[int], out: Path, jobs: int = 1
) -> list[Contender]:
    """Train one run for each strategy and seed; those that are finished in `out` are read.

    Args:
        config: what the runs share.
        strategies: which.
        seeds: one run of each strategy for each.
        out: folder for their folders.
        jobs: runs at the same time, each a process of its own; 1: one after another in this one.

    Raises:
        UserError: a run cannot be made; says why.
    """
    if config.mode != "continual":
        raise UsageError(f"--train.mode {config.mode}: strategies are compared on a stream.")
    orders = {}
    for name in strategies:
        strategy_class(name)  # one that cannot be is refused before the first has cost anything
        for seed in seeds:
            run = out / f"{name}-{seed}"
            order = replace(config, strategy=name, seed=seed, run=run, resume=run.exists())
            orders[name, seed] = order
    if jobs == 1:
        for order in orders.values():
            _train_here(order)
    else:
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(_train_apart, orders.values()))
    return [
        Contender(name, tuple(read_run(orders[name, seed].run) for seed in seeds))
        for name in strategies
    ]


def _train_here(config: TrainConfig) -> None:
    say(f"{config.learns_by}, seed {config.seed}: {config.run}")
    train(config)


def _train_apart(config: TrainConfig) -> None:
    say(f"{config.learns_by}, seed {config.seed}: {config.run}")
    train_apart("asal_vrvqa", config)


def add_comparison(section: Section, contenders: Sequence[Contender]) -> None:
    """The table of figures, and the plots."""
    over = "seeds" if len(contenders[0].runs) > 1 else "source videos"
    figures = {of.name: of.figures() for of in contenders}
    section.table(
        ["strategy", *(TITLES[name] for name in FIGURES), "memory, MB", "s per task"],
        [
            [
                of.name,
                *(m if m.defined else None for n in FIGURES for m in [figures[of.name][n]]),
                f"{of.memory_bytes / 1e6:.2f}",
                f"{of.seconds_per_task:.1f}",
            ]
            for of in contenders
        ],
        caption=f"SRCC on each task's own test clips, 95 % intervals over {over}. Forgetting: lower is "
        "better; all else: higher. Chance is an SRCC of 0.",
    )
    for name in ("average", "forgetting"):
        bars = [
            Bar.of(key, of[name], baseline=key in ("finetune", "joint"))
            for key, of in figures.items()
            if of[name].defined
        ]
        if bars:
            section.figure(intervals(bars, x=TITLES[name], chance=0.0))
    streams = [of for of in contenders if of.runs[0].judged.is_stream]
    if not streams:
        return
    stages = len(streams[0].runs[0].judged.stages)
    first = streams[0].runs[0].judged.stages[0]
    after = [
        Line(name=of.name, x=np.arange(1, stages + 1), y=of.average_after(), marked=True)
        for of in streams
    ]
    section.figure(curves(after, x="tasks learnt", y="SRCC, mean over them"))
    kept = [
        Line(name=of.name, x=np.arange(stages + 1), y=of.first_task(), marked=True)
        for of in streams
    ]
    section.figure(curves(kept, x="tasks learnt", y=f"SRCC on the first task, {first}"))


def _cell(measure: Measure) -> str:
    if not measure.defined:
        return "-"
    interval = "" if measure.low is None else f" [{measure.low:.3f}, {measure.high:.3f}]"
    return f"{measure.value:.3f}{interval}"


def command(config: CompareConfig) -> None:
    """`asal-vrvqa compare`."""
    contenders = compare(config.train, config.strategies, config.seeds, config.out, config.jobs)
    rows = []
    for of in contenders:
        figures = of.figures()
        say(f"{of.name:<9} " + "  ".join(f"{n} {_cell(figures[n])}" for n in FIGURES))
        rows.append(
            {
                "strategy": of.name,
                **{name: figures[name].value for name in FIGURES},
                "memory_bytes": of.memory_bytes,
                "seconds_per_task": round(of.seconds_per_task, 3),
            }
        )
    write_csv(
        config.out / "comparison.csv",
        ("strategy", *FIGURES, "memory_bytes", "seconds_per_task"),
        rows,
    )
    content = {
        of.name: {
            "figures": {name: m.to_json() for name, m in of.figures().items()},
            "memory_bytes": of.memory_bytes,
            "seconds_per_task": of.seconds_per_task,
            "paper": strategy_class(of.name).paper,
            "seeds": {str(run.config.seed): run.results for run in of.runs},
        }
        for of in contenders
    }
    write_json(config.out / "comparison.json", content)
    page = Page("asal-vrvqa compare", f"One stream by {len(contenders)} strategies")
    add_comparison(page.section("Comparison"), contenders)
    page.section("Strategies").table(
        ["strategy", "paper"], [[of.name, strategy_class(of.name).paper] for of in contenders]
    )
    path = page.write(config.out / "report.html")
    say(f"written to {config.out}; open {path}")
