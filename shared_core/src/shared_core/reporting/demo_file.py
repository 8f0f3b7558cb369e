"""What a demo leaves for the index of all demos: `demo.json`, written and read by the same classes.

    {"title": "abaw-va", "task": "a line", "claims": ["a sentence with its figures"],
     "trained": {"model": "in words", "parameters": 12345, "data": "in words", "counts": {"people": 20}},
     "comparisons": [{"measure": "mean CCC", "baselines": ["chance"], "chance": 0.0, "found": [
         {"name": "this network", "value": 0.7, "low": 0.6, "high": 0.8, "reason": null, "unit": "",
          "higher_is_better": true}, ...]}],
     "pictures": [{"file": "pictures/valence.svg", "alt": "what it shows", "caption": "below it"}],
     "machine": "2 CPU cores", "seconds": 61.5}

The first name of a comparison is what the demo is about; `value`, `low` and `high` may be null
(undefined, or without an interval; `reason` says why). Files of pictures lie below the demo's folder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from shared_core.data.tables import read_json, write_json
from shared_core.errors import DataError
from shared_core.metrics.measure import Measure
from shared_core.reporting.figures import Bar, Svg, intervals
from shared_core.reporting.page import MEDIA_TYPES

DEMO_FILE = "demo.json"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What was trained, and on what.

    Attributes:
        model: in words.
        parameters: how many numbers it has learnt.
        data: in words.
        counts: how much of it, such as {"people to learn from": 20}.
    """

    model: str
    parameters: int
    data: str
    counts: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One measure of what was learnt, beside its baselines.

    Attributes:
        measure: what is measured, with its unit.
        found: by name; the first is what the demo is about.
        baselines: names of those that are no achievement but something to compare with.
        chance: what knowing nothing comes to, where that is a number known beforehand.
    """

    measure: str
    found: Mapping[str, Measure]
    baselines: Sequence[str]
    chance: float | None = None

    @property
    def leading(self) -> Measure:
        """What the demo is about."""
        return next(iter(self.found.values()))

    @property
    def title(self) -> str:
        """The measure, with its direction where that is not the usual one."""
        return self.measure + ("" if self.leading.higher_is_better else " (lower is better)")

    def figure(self) -> Svg:
        """Values with their intervals, one below the other."""
        bars = [Bar.of(name, m, baseline=name in self.baselines) for name, m in self.found.items()]
        return intervals(bars, x=self.title, chance=self.chance)

    def best_baseline(self) -> tuple[str, Measure] | None:
        """Name and value of the best that there is to compare with; None where nothing is."""
        best: tuple[str, Measure] | None = None
        for name in self.baselines:
            if self.found[name].better_than(best[1] if best else None):
                best = name, self.found[name]
        return best


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of what the model predicts or how it learnt.

    Attributes:
        file: below the demo's folder.
        alt: what it shows, for who cannot see it.
        caption: below it.
    """

    file: str
    alt: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Demo:
    """All that a demo tells.

    Attributes:
        title: the program.
        task: what is learnt, in a line.
        claims: what may be said of it, with its figures.
        trained: the model and its data.
        comparisons: what it came to; the first stands in the overview.
        pictures: one or two that show it.
        machine: what it ran on, in words.
        seconds: how long it took.
    """

    title: str
    task: str
    claims: Sequence[str]
    trained: Trained
    comparisons: Sequence[Comparison]
    pictures: Sequence[Picture]
    machine: str
    seconds: float

    def write(self, folder: Path) -> None:
        """Write `demo.json` into the demo's folder.

        Raises:
            DataError: it cannot be written.
        """
        comparisons = [
            {
                "measure": of.measure,
                "baselines": list(of.baselines),
                "chance": of.chance,
                "found": [{"name": name, **m.to_json()} for name, m in of.found.items()],
            }
            for of in self.comparisons
        ]
        write_json(folder / DEMO_FILE, asdict(self) | {"comparisons": comparisons})


def read_demo(folder: Path) -> Demo:
    """Read the `demo.json` of a demo's folder.

    Raises:
        DataError: it is absent or damaged, or leads out of its folder; names what is wrong.
    """
    path = folder / DEMO_FILE
    demo = _Fields(path, "", read_json(path))
    trained = demo.inner("trained")
    counts = trained.inner("counts")
    return Demo(
        title=demo.text("title"),
        task=demo.text("task"),
        claims=[demo.check(text, str, "claims", "texts") for text in demo.list("claims")],
        trained=Trained(
            model=trained.text("model"),
            parameters=trained.whole("parameters"),
            data=trained.text("data"),
            counts={name: counts.whole(name) for name in counts.values},
        ),
        comparisons=[_comparison(of) for of in demo.inners("comparisons", at_least=1)],
        pictures=[_picture(of) for of in demo.inners("pictures")],
        machine=demo.text("machine"),
        seconds=demo.number("seconds"),
    )


def _comparison(of: _Fields) -> Comparison:
    found = {one.text("name"): _measure(one) for one in of.inners("found", at_least=1)}
    baselines = [of.check(name, str, "baselines", "texts") for name in of.list("baselines")]
    if unknown := sorted(set(baselines) - set(found)):
        raise of.error("baselines", f"{unknown[0]!r}", f"names of {', '.join(found)}")
    return Comparison(
        measure=of.text("measure"),
        found=found,
        baselines=baselines,
        chance=of.number_or_none("chance"),
    )


def _measure(of: _Fields) -> Measure:
    value, reason = of.number_or_none("value"), of.text_or_none("reason")
    if value is None and not reason:
        raise of.error("reason", "nothing", "why the value is undefined")
    low, high = of.number_or_none("low"), of.number_or_none("high")
    if (low is None) != (high is None):
        raise of.error("low", f"{low} to {high}", "both ends of an interval, or none")
    return Measure(
        value=math.nan if value is None else value,
        reason=reason,
        low=low,
        high=high,
        unit=of.text("unit"),
        higher_is_better=of.check(of.get("higher_is_better"), bool, "higher_is_better", "a bool"),
    )


def _picture(of: _Fields) -> Picture:
    name = of.text("file")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.suffix not in MEDIA_TYPES:
        kinds = ", ".join(MEDIA_TYPES)
        raise of.error("file", f"{name!r}", f"a picture ({kinds}) below the demo's folder")
    return Picture(file=name, alt=of.text("alt"), caption=of.text("caption"))


class _Fields:
    """An object of the file, whose fields are taken out one by one, each as the type it must have."""

    def __init__(self, path: Path, where: str, values: Any) -> None:
        self.path, self.where = path, where
        if not isinstance(values, dict):
            raise self.error("", type(values).__name__, "an object")
        self.values: dict[str, Any] = values

    def error(self, name: str, found: str, expected: str) -> DataError:
        """What is wrong with a field."""
        return DataError(self.path, found, where=self._place(name), expected=expected)

    def _place(self, name: str) -> str:
        return ".".join(part for part in (self.where, name) if part)

    def get(self, name: str) -> Any:
        """A field that must be there."""
        if name not in self.values:
            raise self.error(name, "nothing", "a value")
        return self.values[name]

    def check(self, value: Any, kind: Any, name: str, expected: str) -> Any:
        """A value of a field, if it is of this kind; True and False are no numbers."""
        if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
            return value
        raise self.error(name, repr(value)[:80], expected)

    def text(self, name: str) -> str:
        """A text."""
        return str(self.check(self.get(name), str, name, "text"))

    def text_or_none(self, name: str) -> str | None:
        """A text or null."""
        return None if self.get(name) is None else self.text(name)

    def number(self, name: str) -> float:
        """A number; none in JSON is NaN or infinite."""
        return float(self.check(self.get(name), int | float, name, "a number"))

    def number_or_none(self, name: str) -> float | None:
        """A number or null."""
        return None if self.get(name) is None else self.number(name)

    def whole(self, name: str) -> int:
        """A whole number."""
        return int(self.check(self.get(name), int, name, "a whole number"))

    def list(self, name: str) -> list[Any]:
        """A list."""
        return list(self.check(self.get(name), list, name, "a list"))

    def inner(self, name: str) -> _Fields:
        """An object inside this one."""
        return _Fields(self.path, self._place(name), self.get(name))

    def inners(self, name: str, at_least: int = 0) -> Sequence[_Fields]:
        """The objects of a list."""
        found = self.list(name)
        if len(found) < at_least:
            raise self.error(name, "an empty list", "one or more")
        return [
            _Fields(self.path, self._place(f"{name}[{number}]"), value)
            for number, value in enumerate(found)
        ]
