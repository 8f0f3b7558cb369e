"""CPU time of functions that take turns, and the row that a comparison becomes."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Times:
    """CPU seconds of one call: the best and the median of the runs."""

    best: float
    median: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison.

    Attributes:
        name: what was compared, at which size.
        ours: what ours needs.
        reference: what the other needs, or what is allowed.
        ratio: what the bound is about.
        bound: what the ratio must reach, or with `higher_is_better` false must not exceed.
        higher_is_better: direction of the ratio.
        unit: unit of ours and reference.
        note: what a reader should know, such as the medians.
        is_limit: ours is held to a fixed limit, not compared with something measured beside it; such a
            row is kept or not, and says nothing about a change.
    """

    name: str
    ours: float
    reference: float
    ratio: float
    bound: float
    higher_is_better: bool = True
    unit: str = "s"
    note: str = ""
    is_limit: bool = False

    @property
    def passed(self) -> bool:
        """Whether the bound is met."""
        return self.ratio >= self.bound if self.higher_is_better else self.ratio <= self.bound

    @classmethod
    def faster(
        cls, name: str, ours: Times, reference: Times, *, at_least: float, by_median: bool = False
    ) -> Row:
        """The reference's time over ours, which must be at least so much: best times, or medians."""
        best = f"best {1e3 * ours.best:.3f} and {1e3 * reference.best:.3f} ms"
        medians = f"medians {1e3 * ours.median:.3f} and {1e3 * reference.median:.3f} ms"
        mine, theirs = (ours.median, reference.median) if by_median else (ours.best, reference.best)
        return cls(
            name=name,
            ours=mine,
            reference=theirs,
            ratio=theirs / mine,
            bound=at_least,
            note=best if by_median else medians,
        )

    @classmethod
    def at_most(
        cls, name: str, ours: float, reference: float, *, times: float = 1.0, unit: str = "s"
    ) -> Row:
        """Ours over the reference, measured beside it, which must be at most so much."""
        return cls(
            name=name,
            ours=ours,
            reference=reference,
            ratio=ours / reference,
            bound=times,
            higher_is_better=False,
            unit=unit,
        )

    @classmethod
    def within(cls, name: str, ours: float, limit: float, *, unit: str = "s") -> Row:
        """Ours over a fixed limit, which must be at most 1: an error, a share, what is allowed."""
        return replace(cls.at_most(name, ours, limit, unit=unit), is_limit=True)


def interleaved(
    functions: Mapping[str, Callable[[], object]],
    *,
    runs: int = 20,
    calls: int = 1,
    warm_up: bool = True,
) -> dict[str, Times]:
    """CPU time a call of each function, taking turns so that a busy moment hits all alike.

    CPU time of the whole process is counted, so a function gains nothing from threads.

    Args:
        functions: by name, without arguments.
        runs: how often each has its turn.
        calls: calls a turn; more than one where a call is too short for the clock.
        warm_up: call each once before, which is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    if warm_up:
        for function in functions.values():
            function()
    gc.disable()
    try:
        for _ in range(runs):
            for name, function in functions.items():
                start = time.process_time_ns()
                for _ in range(calls):
                    function()
                seconds[name].append((time.process_time_ns() - start) / (1e9 * calls))
    finally:
        gc.enable()
    return {
        name: Times(best=min(times), median=statistics.median(times))
        for name, times in seconds.items()
    }
