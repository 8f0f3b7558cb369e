"""The report of a run, from what lies in its folder; a run that is not finished has one too.

config.yaml        the settings                     environment.json   versions and devices
events.jsonl       what happened                    summary.json       how it ended
quarantine.json    rows that were left out          fingerprint.json   whose run it is
examples/          pictures, with captions.json: {"file name": "caption"}
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_core.errors import DataError
from shared_core.metrics import Measure
from shared_core.reporting import events as record
from shared_core.reporting.figures import Line, curves
from shared_core.reporting.page import MEDIA_TYPES, Page, Section

REPORT = "report.html"
_POINTS = 300  # of a curve; more are averaged, with a band from the lowest to the highest
_EXAMPLES, _EXAMPLE_BYTES = 24, 4 << 20
_ROWS = 200  # of the quarantine
_FIXED = ("time", "kind", "step", "epoch")

Event = Mapping[str, Any]

TEST_FILE = "test.json"
"""What the finished model came to on the test set: {protocol: {measure: Measure.to_json()}}."""


def run_report(folder: Path) -> Path:
    """Write `report.html` into a run folder; returns its path.

    Raises:
        DataError: the folder holds no run, its record is damaged, or it cannot be written.
        MissingExtraError: the extra `report` is not installed.
    """
    return run_page(folder).write(folder / REPORT)


def run_page(folder: Path) -> Page:
    """The report as a page to which a package can add sections of its own before it writes it.

    Raises:
        DataError: the folder holds no run, or its record is damaged.
        MissingExtraError: the extra `report` is not installed.
    """
    events = record.read(folder)
    trained = [event for event in events if event["kind"] == "train"]
    judged = [event for event in events if event["kind"] == "evaluate"]
    program = _json(folder / "fingerprint.json", {}).get("program", "")
    page = Page(folder.resolve().name, f"A run of {program}" if program else "A run")
    _summary(page.section("Summary"), folder, events, judged)
    if test := _json(folder / TEST_FILE, {}):
        _test(page.section("Test set"), test)
    if judged:
        _evaluation(page.section("Evaluation"), judged)
    if trained:
        _training(page.section("Training"), trained)
    _examples(page, folder / "examples")
    _quarantine(page, _json(folder / "quarantine.json", []))
    _notes(page, [event for event in events if event["kind"] == "note"])
    _settings(page, folder)
    return page


def _summary(
    section: Section, folder: Path, events: Sequence[Event], judged: Sequence[Event]
) -> None:
    summary = _json(folder / "summary.json", {})
    last = events[-1] if events else {}
    facts = {
        "state": f"finished ({summary['stopped_by']})" if "stopped_by" in summary else "unfinished",
        "updates": summary.get("steps", last.get("step", 0)),
        "epochs": summary.get("epochs", last.get("epoch")),
        "best": _best(summary, judged),
        "time": f"{summary['seconds']:.0f} s" if "seconds" in summary else None,
        "first event": _when(events[0]) if events else None,
        "last event": _when(last) if events else None,
    }
    section.key_values({name: value for name, value in facts.items() if value is not None})
    if not summary:
        section.note("The run had not finished when this report was written.")


def _best(summary: Mapping[str, Any], judged: Sequence[Event]) -> str | None:
    """The best score, with the measure that it is of."""
    score, step = summary.get("score"), summary.get("best")
    if score is None:
        return None
    name = judged[-1].get("score") if judged else None
    return f"{name or 'score'} {score:.4f} after update {step}"


def _when(event: Event) -> str:
    return datetime.fromtimestamp(event["time"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _test(section: Section, of_protocols: Mapping[str, Mapping[str, Any]]) -> None:
    """Every row names its protocol: the same measure is another number under another one."""
    rows = [
        (protocol, name, str(Measure.from_json(measure)))
        for protocol, measures in of_protocols.items()
        for name, measure in measures.items()
    ]
    caption = "Scored once, after the training; it has chosen nothing."
    section.table(("protocol", "measure", "value"), rows, caption=caption)


def _evaluation(section: Section, judged: Sequence[Event]) -> None:
    """A row and a curve for each measure; intervals as they were given, none is made up."""
    history: dict[str, list[tuple[int, Mapping[str, Any]]]] = defaultdict(list)
    for event in judged:
        for name, measure in event.get("measures", {}).items():
            history[name].append((event["step"], measure))
    rows = []
    for name, points in history.items():
        defined = [(step, m) for step, m in points if m["value"] is not None]
        sign = 1 if points[-1][1].get("higher_is_better", True) else -1
        best = max(defined, key=lambda point: sign * point[1]["value"], default=None)
        direction = "higher is better" if sign > 0 else "lower is better"
        last = str(Measure.from_json(points[-1][1]))
        row = (name, direction, last, str(Measure.from_json(best[1])) if best else None)
        rows.append((*row, best[0] if best else None))
    columns = ("measure", "direction", "last", "best", "best after update")
    section.table(columns, rows, caption="Value, and its interval where there is one")
    for name, points in history.items():
        measures = [measure for _, measure in points]
        value, low, high = (_column(measures, key) for key in ("value", "low", "high"))
        if np.isfinite(value).any():
            steps = np.array([step for step, _ in points])
            line = Line(name=name, x=steps, y=value, low=low, high=high, marked=True)
            section.figure(curves([line], x="update", y=measures[-1].get("unit") or "", title=name))


def _training(section: Section, trained: Sequence[Event]) -> None:
    steps = np.array([event["step"] for event in trained])
    names = list(dict.fromkeys(name for event in trained for name in event if name not in _FIXED))
    counted = []
    for name in names:
        flags = [event.get(name) for event in trained]
        if any(isinstance(flag, bool) for flag in flags):
            counted.append((name, sum(flag is True for flag in flags)))
        elif any(isinstance(flag, int | float) for flag in flags):
            line = _thinned(name, steps, _column(trained, name))
            section.figure(curves([line], x="update", title=name))
    if counted:
        section.table(("what", "updates"), counted, caption="How often it happened")
    if len(steps) > _POINTS:
        section.text(
            f"Each point is the mean of about {len(steps) // _POINTS} recorded updates; the band "
            "reaches from their lowest to their highest."
        )


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    values = [row.get(name) for row in rows]
    numbers = [value if isinstance(value, int | float) else np.nan for value in values]
    return np.array(numbers, dtype=np.float64)


def _thinned(name: str, steps: NDArray[np.int64], values: NDArray[np.float64]) -> Line:
    """The curve with at most `_POINTS` points; a piece with a value that is not finite is a gap."""
    if len(steps) <= _POINTS:
        return Line(name=name, x=steps, y=values)
    pieces = np.array_split(values, _POINTS)
    return Line(
        name=name,
        x=np.array([piece[-1] for piece in np.array_split(steps, _POINTS)]),
        y=[piece.mean() for piece in pieces],
        low=[piece.min() for piece in pieces],
        high=[piece.max() for piece in pieces],
    )


def _examples(page: Page, folder: Path) -> None:
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in MEDIA_TYPES)
    if not files:
        return
    section = page.section("Examples")
    captions = _json(folder / "captions.json", {})
    for path in files[:_EXAMPLES]:
        caption = str(captions.get(path.name, path.stem))
        if path.stat().st_size > _EXAMPLE_BYTES:
            section.text(f"{path.name} is too large for this page. {caption}")
            continue
        media_type = MEDIA_TYPES[path.suffix.lower()]
        section.picture(path.read_bytes(), media_type, alt=caption, caption=caption)
    if len(files) > _EXAMPLES:
        section.text(f"{len(files) - _EXAMPLES} more are in the folder {folder.name}.")


def _quarantine(page: Page, rows: Sequence[Mapping[str, Any]]) -> None:
    section = page.section("Quarantine")
    if not rows:
        section.text("No row was left out.")
        return
    section.note(f"{len(rows)} rows could not be used and were left out.", warning=True)
    table = [[row.get(key) for key in ("path", "where", "message", "count")] for row in rows]
    section.table(("file", "where", "why", "times met"), table[:_ROWS])
    if len(rows) > _ROWS:
        section.text(f"{len(rows) - _ROWS} more are in quarantine.json.")


def _notes(page: Page, notes: Sequence[Event]) -> None:
    if notes:
        rows = [(event["step"], _when(event), event.get("text")) for event in notes]
        page.section("Notes").table(("update", "when", "what"), rows)


def _settings(page: Page, folder: Path) -> None:
    config = folder / "config.yaml"
    if config.exists():
        text = config.read_text(encoding="utf-8", errors="replace")
        page.section("Configuration").code(text, summary="config.yaml")
    environment = _json(folder / "environment.json", {})
    if environment:
        page.section("Environment").key_values(dict(_flat(environment)))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, value in tree.items():
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            items = [v.values() if isinstance(v, Mapping) else (v,) for v in value]
            text = "; ".join(", ".join(map(str, item)) for item in items)
            pairs.append((f"{prefix}{name}", text or "none"))
        elif value is not None:
            pairs.append((f"{prefix}{name}", str(value)))
    return pairs


def _json(path: Path, absent: Any) -> Any:
    """A JSON file of the folder, or `absent` where there is none.

    Raises:
        DataError: it is damaged.
    """
    if not path.exists():
        return absent
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(path, f"it is not JSON ({error})") from error
    if not isinstance(content, type(absent)):
        raise DataError(path, f"a JSON {type(content).__name__}", expected=type(absent).__name__)
    return content
