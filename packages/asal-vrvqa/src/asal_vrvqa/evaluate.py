"""How a network is judged: on labelled clips, by category and together, and each task model of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asal_vrvqa.config import EvaluateConfig
from asal_vrvqa.data.labels import Clip, read_clips
from asal_vrvqa.data.splits import Part, clip_split, source_split, stream_of
from asal_vrvqa.model.card import not_mos
from asal_vrvqa.model.network import QualityModel
from asal_vrvqa.pages import add_matrix, add_measures
from asal_vrvqa.results import Judged, measures
from asal_vrvqa.runs import StreamRun, is_run, moved, read_run, write_scores
from asal_vrvqa.scoring import score_clips, store_of
from asal_vrvqa.weights import fresh_weights
from shared_core.commands import say
from shared_core.data.quarantine import Quarantine
from shared_core.data.tables import write_json
from shared_core.errors import DataError
from shared_core.launch.devices import chosen_device
from shared_core.metrics import Measure
from shared_core.reporting.page import Page


def evaluate(
    model: QualityModel,
    clips: Sequence[Clip],
    frames: Path,
    *,
    cache: Path | None = None,
    batch_size: int = 4,
    workers: int = 0,
    seed: int = 0,
    logistic_fit: bool = False,
) -> dict[str, Measure]:
    """Judge a network on labelled clips: SRCC, PLCC, KRCC, RMSE and relative L2.

    Args:
        model: any.
        clips: with their labels, as `asal_vrvqa.data.labels.read_clips` reads them.
        frames: folder of frame folders.
        cache: folder of the uint8 cache.
        batch_size: frames in a pass.
        workers: loader processes.
        seed: key of the bootstrap, which draws source videos.
        logistic_fit: also PLCC and RMSE after the field's logistic.

    Raises:
        DataError: a frame is missing or damaged.
        NonFiniteError: a score is not finite.
    """
    store = store_of(model.config, frames, cache)
    found = score_clips(
        model.for_evaluation(), clips, store, batch_size=batch_size, workers=workers
    )
    return measures(found.score, clips, seed, logistic_fit=logistic_fit)


def command(config: EvaluateConfig) -> None:
    """`asal-vrvqa evaluate`: measures by category and pooled, a table of clips, and a report."""
    quarantine = Quarantine(config.on_bad_row)
    folder = Path(config.checkpoint)
    judge = _judge_run if is_run(folder) and config.split == "test" else _judge_model
    judged, note = judge(config, quarantine)
    last = max((row for row, _ in judged.learnt()), default=-1)
    found = judged.measures_after(last, config.seed, logistic_fit=config.logistic_fit)
    for name, of_part in found.items():
        for kind, measure in of_part.items():
            say(f"{name:<12} {kind:<9} {measure}")
    if note is not None:
        say(f"NOTE: {note}")
    config.out.mkdir(parents=True, exist_ok=True)
    write_scores(config.out / "scores.csv", judged)
    content: dict[str, Any] = {
        "checkpoint": config.checkpoint,
        "split": config.split,
        "note": note,
        **judged.to_json(config.seed),
        "measures": {part: {k: m.to_json() for k, m in of.items()} for part, of in found.items()},
        "quarantined": quarantine.to_json(),
    }
    write_json(config.out / "evaluation.json", content)
    page = Page(
        "asal-vrvqa evaluate", f"{config.checkpoint} on {config.split} clips of {config.labels}"
    )
    if note is not None:
        page.section("Mind").note(note, warning=True)
    add_measures(page.section("Measures"), found)
    if judged.is_stream:
        add_matrix(page.section("Tasks"), judged)
    if quarantine.rows:
        page.section("Left out").table(
            ["file", "where", "why"], [[r.path, r.where, r.message] for r in quarantine.rows]
        )
    path = page.write(config.out / "report.html")
    say(f"written to {config.out}; open {path}")


def _judge_run(config: EvaluateConfig, quarantine: Quarantine) -> tuple[Judged, str | None]:
    """The network before learning, and the model of each task, on the run's own test clips."""
    run = read_run(Path(config.checkpoint))
    settings = moved(run.config, config.labels, config.frames, config.cache)
    clips = read_clips(config.labels, settings.scale, quarantine)
    stream = stream_of(settings, clips)
    parts = [p for p in stream.tests if not config.tasks or p.name in config.tasks]
    _require(parts, config)
    device = chosen_device(config.device)
    rows = [_scores(config, _untrained(run).to(device), parts, quarantine)]
    model = None
    for path in run.task_models():
        model = QualityModel.from_pretrained(path, device=device)
        rows.append(_scores(config, model, parts, quarantine))
    notes = [] if model is None else [not_mos(model.config)]
    stages = run.judged.stages
    if len(rows) < 1 + len(stages):
        notes.append(
            f"this run is not finished: it has learnt {len(rows) - 1} of {len(stages)} tasks"
        )
    while len(rows) < 1 + len(stages):
        rows.append(np.full_like(rows[0], np.nan))
    note = "; ".join(note for note in notes if note) or None
    return Judged(stages, tuple(parts), np.stack(rows)), note


def _untrained(run: StreamRun) -> QualityModel:
    network = QualityModel(run.config.for_model())
    fresh_weights(network, run.config)
    return network.eval()


def _judge_model(config: EvaluateConfig, quarantine: Quarantine) -> tuple[Judged, str | None]:
    model = QualityModel.from_pretrained(config.checkpoint, device=chosen_device(config.device))
    clips = read_clips(config.labels, model.config.scale, quarantine)
    names = config.tasks or tuple(dict.fromkeys(clip.category for clip in clips))
    split = source_split if config.split_unit == "source" else clip_split
    parts = []
    for name in names:
        mine = [clip for clip in clips if clip.category == name]
        if config.split != "all":
            train, test = split(mine, config.train_ratio, config.split_seed)
            mine = test if config.split == "test" else train
        if mine or config.tasks:
            parts.append(Part(name or "all", tuple(mine)))
    _require(parts, config)
    scores = _scores(config, model, parts, quarantine)
    before = np.full_like(scores, np.nan)
    return Judged(("model",), tuple(parts), np.stack([before, scores])), not_mos(model.config)


def _require(parts: Sequence[Part], config: EvaluateConfig) -> None:
    empty = [part.name for part in parts if not part.clips]
    if parts and not empty:
        return
    wanted = ", ".join(empty or config.tasks)
    raise DataError(
        config.labels,
        "none",
        where=f"categories {wanted}",
        expected=f"clips to judge on ({config.split})",
        remedy="See the categories in the labels, or choose others with --tasks.",
    )


def _scores(
    config: EvaluateConfig, model: QualityModel, parts: Sequence[Part], quarantine: Quarantine
) -> np.ndarray:
    store = store_of(model.config, config.frames, config.cache)
    clips = [clip for part in parts for clip in part.clips]
    found = score_clips(
        model.for_evaluation(),
        clips,
        store,
        batch_size=config.batch_size,
        workers=config.workers,
        quarantine=quarantine,
    )
    return found.score
