"""How a model is judged: its scores beside opinions, or what it tells of distortions beside the truth."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.progress import track

from refine_iqa.config import EvaluateConfig
from refine_iqa.data.benchmarks import BenchmarkTable, read_benchmark
from refine_iqa.data.rated import Rated, rated_items, read_scores
from refine_iqa.data.rows import Row, read_rows
from refine_iqa.perceiving import Answer, ask, perception_measures
from refine_iqa.results import RESAMPLES, Evaluation
from refine_iqa.scoring import Prediction, QualityScorer
from shared_core.commands import say
from shared_core.data.loader import generator
from shared_core.data.quarantine import Quarantine
from shared_core.data.tables import write_csv, write_json
from shared_core.errors import DataError, UsageError
from shared_core.metrics import Measure
from shared_core.predicting import make_writable
from shared_core.reporting.figures import Bar, histogram, intervals
from shared_core.reporting.page import Page

TABLE, PERCEPTION = "table", "perception"
"""What `--benchmark` may name beside the benchmarks."""

_OF_ITEM = ("mos", "group", "distortion")
_OF_PREDICTION = ("score", "std", "parsed", "level", "think", "raw", "seconds", "error")
COLUMNS = ("path", *_OF_ITEM, "severity", *_OF_PREDICTION)
"""Of predictions.csv, which `--predictions` reads again."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


def evaluate(
    scorer: QualityScorer,
    table: BenchmarkTable | Sequence[Row],
    *,
    quarantine: Quarantine | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    **options: Any,
) -> Evaluation:
    """Score what a table names, and compare with its opinions.

    Args:
        scorer: any.
        table: a benchmark, or rows of a training table.
        quarantine: what to do with files that cannot be read; None: the first is raised.
        seed: key of the bootstrap, and of drawn answers.
        resamples: of the bootstrap; 0: no intervals, which is much faster.
        options: of `QualityScorer.stream`: `mode`, `batch_size`, `samples`, `max_new_tokens`.

    Returns:
        SRCC, PLCC, KRCC and RMSE; what is undefined is NaN, has a reason, and is warned of.

    Raises:
        DataError: a file cannot be read.
        UsageError: a row asks about a distortion; see `refine_iqa.perceiving`.
    """
    items = rated_items(table)
    predictions = _predict(scorer, items, quarantine or Quarantine("raise"), seed=seed, **options)
    evaluation = Evaluation.of(items, predictions, seed=seed, resamples=resamples)
    for note in evaluation.notes:
        _log.warning(note)
    return evaluation


def command(config: EvaluateConfig) -> None:
    """`refine-iqa evaluate`: measures, a table of predictions, and a report."""
    if (config.checkpoint is None) == (config.predictions is None):
        raise UsageError("give either a model to run (--checkpoint) or scores (--predictions).")
    if config.benchmark == PERCEPTION:
        _perception(config)
        return
    quarantine = Quarantine(config.on_bad_row)
    items = _some(rated_items(_read(config, quarantine)), config)
    make_writable(config.out)
    if config.predictions is None:
        predictions = _predict(_scorer(config), items, quarantine, **_options(config))
    else:
        scores = read_scores(config.predictions, items, quarantine)
        predictions = [
            Prediction(path=item.media[0], score=score)
            for item, score in zip(items, scores, strict=True)
        ]
    evaluation = Evaluation.of(items, predictions, seed=config.seed, resamples=RESAMPLES)
    _write(config, evaluation, quarantine)


def _predict(
    scorer: QualityScorer, items: Sequence[Rated], quarantine: Quarantine, **options: Any
) -> list[Prediction]:
    sources = [item.media[0] if len(item.media) == 1 else item.media for item in items]
    questions = {item.question for item in items}
    if questions != {None}:
        options["question"] = [item.question for item in items]
    recorded = quarantine.policy == "quarantine"
    found = scorer.stream(sources, on_error="record" if recorded else "raise", **options)
    predictions = []
    for item, prediction in zip(items, _shown(found, len(items)), strict=True):
        if prediction.error is not None:
            why = prediction.error.removeprefix(f"{prediction.path}: ").rstrip(".")
            quarantine.bad(DataError(item.media[0], why), of=len(items))
        predictions.append(prediction)
    return predictions


# --- what the command reads -----------------------------------------------------------------------


def _read(config: EvaluateConfig, quarantine: Quarantine) -> BenchmarkTable | list[Row]:
    if config.benchmark == TABLE:
        return _rows(config, quarantine)
    root = config.data or (config.labels.parent if config.labels else None)
    if root is None:
        raise UsageError(f"--data: where are the images or videos of {config.benchmark}?")
    return read_benchmark(config.benchmark, root, split=config.split, labels=config.labels)


def _rows(config: EvaluateConfig, quarantine: Quarantine) -> list[Row]:
    """The rows of a table; those of the split, where it knows splits."""
    if config.labels is None:
        raise UsageError(f"--labels: which table? --benchmark {config.benchmark} needs one.")
    rows = read_rows(config.labels, data_root=config.data, quarantine=quarantine)
    if config.split == "all" or all(row.split is None for row in rows):
        return rows
    chosen = [row for row in rows if row.split == config.split]
    if not chosen:
        there = ", ".join(sorted({str(row.split) for row in rows}))
        raise DataError(
            config.labels, f"only {there}", expected=f"rows of the split {config.split}"
        )
    return chosen


def _some(items: list[T], config: EvaluateConfig) -> list[T]:
    """So many as the limit says, drawn at random, in their order."""
    if config.limit is None or config.limit >= len(items):
        return items
    drawn = torch.randperm(len(items), generator=generator(config.seed))[: config.limit]
    return [items[place] for place in sorted(drawn.tolist())]


def _scorer(config: EvaluateConfig) -> QualityScorer:
    return QualityScorer.from_pretrained(
        str(config.checkpoint),
        device=config.device,
        precision=config.precision,
        media=config,
        rope=config.rope,
        video_as=config.video_as,
    )


def _options(config: EvaluateConfig) -> dict[str, Any]:
    names = ("mode", "batch_size", "samples", "max_new_tokens", "seed")
    return {name: getattr(config, name) for name in names}


def _shown(found: Iterable[T], count: int) -> Iterable[T]:
    """Shown as it goes on, where somebody looks."""
    console = Console(stderr=True)
    return track(
        found, "judged", count, console=console, transient=True, disable=not console.is_terminal
    )


# --- what it writes -------------------------------------------------------------------------------


def _write(config: EvaluateConfig, evaluation: Evaluation, quarantine: Quarantine) -> None:
    items, predictions = evaluation.items, evaluation.predictions
    write_csv(config.out / "predictions.csv", COLUMNS, map(_csv_row, items, predictions))
    page = _page(config, evaluation.measures, f"{evaluation.count} items")
    if evaluation.parse_rate is not None:
        say(f"{'parse rate':<18} {evaluation.parse_rate:.4f}")
        page.sections[0].text(f"A score was found in {evaluation.parse_rate:.1%} of the answers.")
    shown = {"score": [p.score for p in predictions], "opinion": [item.mos for item in items]}
    page.section("Scores").figure(histogram(shown, x="1 (bad) to 5 (excellent)"))
    if evaluation.by_distortion:
        _add_distortions(page, evaluation.by_distortion)
    _finish(config, page, {**evaluation.to_json(), "notes": evaluation.notes}, quarantine)


def _csv_row(item: Rated, prediction: Prediction) -> dict[str, Any]:
    return {
        "path": item.name,
        "severity": item.level,
        **{name: getattr(item, name) for name in _OF_ITEM},
        **{name: getattr(prediction, name) for name in _OF_PREDICTION},
    }


def _page(config: EvaluateConfig, measures: Mapping[str, Measure], judged: str) -> Page:
    """A page with the measures, which are also told."""
    for kind, measure in measures.items():
        say(f"{kind:<18} {measure}")
    source = config.predictions or config.checkpoint
    page = Page(
        "refine-iqa evaluate", f"{source} on {judged} of {config.benchmark}, {config.split}"
    )
    page.section("Measures").table(
        ["measure", "value", "better"],
        [
            [kind, str(m), "higher" if m.higher_is_better else "lower"]
            for kind, m in measures.items()
        ],
        caption="With 95 % bootstrap intervals.",
    )
    return page


def _add_distortions(page: Page, found: Mapping[str, Mapping[str, Measure]]) -> None:
    section = page.section("Distortions")
    bars = [
        Bar(name=name, value=of["srcc"].value, low=of["srcc"].low, high=of["srcc"].high)
        for name, of in found.items()
    ]
    section.figure(intervals(bars, x="SRCC within a distortion"), wide=True)
    section.table(
        ["distortion", "SRCC", "PLCC"],
        [[name, str(of["srcc"]), str(of["plcc"])] for name, of in found.items()],
    )


def _finish(
    config: EvaluateConfig, page: Page, content: Mapping[str, Any], quarantine: Quarantine
) -> None:
    about = {
        "checkpoint": config.checkpoint,
        "predictions": config.predictions,
        "benchmark": config.benchmark,
        "split": config.split,
        "mode": config.mode,
    }
    write_json(
        config.out / "evaluation.json", {**about, **content, "quarantined": quarantine.to_json()}
    )
    if quarantine.rows:
        page.section("Left out").table(
            ["file", "where", "why"], [[r.path, r.where, r.message] for r in quarantine.rows]
        )
    path = page.write(config.out / "report.html")
    say(f"written to {config.out}; open {path}")


# --- perception -----------------------------------------------------------------------------------


def _perception(config: EvaluateConfig) -> None:
    if config.checkpoint is None:
        raise UsageError(
            "--predictions: scores are no answers about distortions; give --checkpoint."
        )
    quarantine = Quarantine(config.on_bad_row)
    rows = _some(_rows(config, quarantine), config)
    make_writable(config.out)
    answers = ask(
        _scorer(config),
        rows,
        batch_size=config.batch_size,
        max_new_tokens=config.max_new_tokens,
        quarantine=quarantine,
    )
    given = list(_shown(answers, len(rows)))
    write_csv(
        config.out / "predictions.csv",
        ("image", "task", "truth", "answer"),
        map(_answer_row, given),
    )
    found = perception_measures(given, seed=config.seed)
    page = _page(config, found, f"{len(given)} questions")
    measures = {kind: measure.to_json() for kind, measure in found.items()}
    _finish(config, page, {"items": len(given), "measures": measures}, quarantine)


def _answer_row(answer: Answer) -> dict[str, Any]:
    return {
        "image": answer.row.media[0],
        "task": answer.row.task,
        "truth": json.dumps(answer.truth),
        "answer": answer.text,
    }
