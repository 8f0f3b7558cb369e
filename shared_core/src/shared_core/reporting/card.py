"""The card of a model: what it is, what it is for, what it cannot do, and what was measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from shared_core.metrics.measure import Measure

_ACTIVE = re.compile(r"([\\`*_\[\]<>|#~])")  # what Markdown or HTML would not show as it is written


@dataclass(frozen=True, kw_only=True)
class Result:
    """One measured number.

    Attributes:
        dataset: what it was measured on, with the split.
        metric: the metric's name as the field writes it (CCC, SRCC).
        measure: value, interval and unit, or why it is undefined.
        system: who scored it, when not this model: a baseline, or the paper.
    """

    dataset: str
    metric: str
    measure: Measure
    system: str = "this model"


def model_card(
    *,
    title: str,
    summary: str,
    package: str,
    licence: str = "apache-2.0",
    tags: Sequence[str] = (),
    intended_use: str = "",
    limits: Sequence[str] = (),
    training_data: str = "",
    results: Sequence[Result] = (),
    usage: str = "",
    citation: str = "",
) -> str:
    """Write the README.md of a model folder or hub repository.

    Every text is plain: it is escaped, and blank lines part its paragraphs. What is left out is
    said to be missing, so that nobody takes silence for an answer.

    Args:
        title: the model's name.
        summary: one or two sentences: what goes in, what comes out.
        package: the library that loads it (`abaw-va`).
        licence: identifier as the hub knows it.
        tags: for the hub's search.
        intended_use: who may use it for what.
        limits: where it fails or must not be used, a sentence each.
        training_data: what it was trained on, and under which terms.
        results: measured numbers, of baselines too.
        usage: Python that loads and uses it.
        citation: BibTeX.

    Returns:
        Markdown with the YAML header that the hub reads.
    """
    header = {
        "license": licence,
        "library_name": package,
        "tags": list(tags),
        "metrics": sorted({result.metric.lower() for result in results}),
    }
    told = {name: value for name, value in header.items() if value}
    bullets = "\n".join(f"- {_line(limit)}" for limit in limits)
    parts = [
        f"---\n{yaml.safe_dump(told, sort_keys=False, allow_unicode=True)}---\n",
        f"# {_line(title)}",
        _text(summary),
        _section("Use", _fenced(usage, "python") if usage else ""),
        _section("Intended use", _text(intended_use)),
        _section("Limits", bullets),
        _section("Training data", _text(training_data)),
        _section("Results", _table(results), missing="Not measured."),
        _section("Citation", _fenced(citation, "bibtex") if citation else ""),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, body: str, missing: str = "Not stated.") -> str:
    return f"## {title}\n\n{body or missing}"


def _table(results: Sequence[Result]) -> str:
    if not results:
        return ""
    rows = ["| data | system | metric | value | interval |", "|---|---|---|---:|---:|"]
    for result in results:
        measure = result.measure
        unit = f" {_line(measure.unit)}" if measure.unit else ""
        value = f"{measure.value:.4f}{unit}" if measure.defined else "undefined"
        if measure.low is not None and measure.high is not None:
            interval = f"{measure.low:.4f} to {measure.high:.4f}"
        else:
            interval = _line(measure.reason or "not measured")
        cells = (_line(result.dataset), _line(result.system), _line(result.metric), value, interval)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _line(text: str) -> str:
    return _ACTIVE.sub(r"\\\1", " ".join(text.split())).replace("&", "&amp;")


def _text(text: str) -> str:
    return "\n\n".join(_line(part) for part in re.split(r"\n\s*\n", text.strip()))


def _fenced(text: str, language: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.strip()}\n{fence}"
