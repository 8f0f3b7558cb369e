"""How a model is judged: on the images of a split, at every number of glimpses, beside fixed ways to look."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from adaglimpse.config import EvaluateConfig, Policy
from adaglimpse.data.items import ImageBatch, ImageDataset, collate, normalised
from adaglimpse.data.layouts import read_images
from adaglimpse.exploring import Look, always, explore
from adaglimpse.method.glimpses import pixel_share, seen_share
from adaglimpse.method.tasks import Target, head_of
from adaglimpse.model.card import untaught
from adaglimpse.model.network import GlimpseModel
from adaglimpse.policies import Chooser, chooser
from adaglimpse.results import LEADING, Judged, columns, row_of
from shared_core.commands import say
from shared_core.data.loader import KeyedLoader, NeighboursPlan
from shared_core.data.quarantine import Quarantine
from shared_core.data.tables import write_csv, write_json, write_jsonl
from shared_core.errors import DataError, UsageError
from shared_core.launch.devices import chosen_device
from shared_core.metrics import Measure
from shared_core.predicting import make_writable
from shared_core.reporting.figures import Line, Svg, curves
from shared_core.reporting.page import Page, Section

NAMES: dict[Policy, str] = {
    "learnt": "learnt",
    "random": "random",
    "grid": "tiles",
    "centre": "centre, ever closer",
    "full": "whole image",
}
"""Policies, as tables and plots call them."""

Watch = Callable[[ImageBatch, Look], None]
"""Is told of each look at a batch of images."""


def judge(
    model: GlimpseModel,
    dataset: ImageDataset,
    choose: Chooser,
    *,
    glimpses: int | None = None,
    threshold: float | None = None,
    batch_size: int = 32,
    last_only: bool = False,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    quarantine: Quarantine | None = None,
    watch: Watch | None = None,
) -> Float64[np.ndarray, "n steps columns"]:
    """Look at the images of a data set, and count what `results.Judged` needs; 0 in rows of other processes.

    Args:
        model: in evaluation mode.
        dataset: without random changes.
        choose: the glimpses.
        glimpses: of an episode; None: as the model was trained.
        threshold: images whose score is above it stop.
        batch_size: images at the same time; the result does not depend on it.
        last_only: predict after the last glimpse only; all else is NaN.
        rank: of this process.
        world: processes that share the images.
        workers: loader processes.
        quarantine: what to do with images that cannot be used; their rows are NaN.
        watch: is told of each look.
    """
    config = model.config
    glimpses = glimpses or config.num_glimpses
    head, device = head_of(config.task), next(model.parameters()).device
    plan = NeighboursPlan(len(dataset), batch_size, rank, world)
    table = _table(plan, glimpses + 1, columns(config.task, config.num_classes))
    for batch in _batches(dataset, plan, workers, quarantine):
        items = batch.indices
        target = _target(batch.to(device))
        for look in explore(
            model,
            head,
            target,
            choose,
            items,
            glimpses=glimpses,
            threshold=threshold,
            asked=(lambda step: step == glimpses) if last_only else always,
        ):
            if watch is not None:
                watch(batch, look)
            if look.prediction is not None:
                seen = seen_share(look.boxes, config.image_size)
                here = row_of(
                    config.task,
                    config.num_classes,
                    look.prediction,
                    target.rows(look.rows),
                    seen,
                    look.step,
                )
                rows = items[look.rows.cpu()].numpy()
                table[rows, look.step :] = here.cpu().numpy()[:, None]
    return table


@torch.inference_mode()
def judge_teacher(
    teacher: nn.Module,
    dataset: ImageDataset,
    classes: int,
    *,
    batch_size: int = 32,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    quarantine: Quarantine | None = None,
) -> Float64[np.ndarray, "n 1 columns"]:
    """The same for a segmentation teacher, which sees whole images."""
    device = next(teacher.parameters()).device
    was_training = teacher.training
    teacher.eval()
    plan = NeighboursPlan(len(dataset), batch_size, rank, world)
    table = _table(plan, 1, columns("segmentation", classes))
    for batch in _batches(dataset, plan, workers, quarantine):
        target = _target(batch.to(device))
        seen = torch.ones(len(batch.indices), device=device)
        here = row_of("segmentation", classes, teacher(target.images), target, seen, 0)
        table[batch.indices, 0] = here.cpu().numpy()
    teacher.train(was_training)
    return table


def _table(plan: NeighboursPlan, steps: int, wide: int) -> np.ndarray:
    """NaN in the rows that are this process's to fill, 0 in all others: tables are added up."""
    table = np.zeros((plan.size, steps, wide))
    for batch in plan.batches(0):
        table[list(batch)] = np.nan
    return table


def _batches(
    dataset: ImageDataset, plan: NeighboursPlan, workers: int, quarantine: Quarantine | None
) -> Iterator[ImageBatch]:
    """This process's images, which may be none."""
    if not plan.batches(0):
        return
    loader = KeyedLoader(
        dataset, plan, seed=0, collate=collate, workers=workers, quarantine=quarantine
    )
    for (batch,) in loader.epoch():
        counting = batch.that_count()
        if len(counting):
            yield counting


def _target(batch: ImageBatch) -> Target:
    return Target(normalised(batch.images), batch.labels, batch.masks)


def evaluate(
    model: GlimpseModel,
    dataset: ImageDataset,
    policies: Sequence[Policy] = ("learnt",),
    **options: Any,
) -> dict[Policy, Judged]:
    """Judge a model with several ways to look, at every number of glimpses.

    Args:
        model: any.
        dataset: images without random changes.
        policies: ways to look.
        options: `eval_action`, `seed`, and those of `judge`.

    Raises:
        DataError: an image cannot be used.
    """
    how, seed = options.pop("eval_action", "mean"), options.pop("seed", 0)
    glimpses = options.pop("glimpses", None) or model.config.num_glimpses
    found: dict[Policy, Judged] = {}
    for name in policies:
        choose = chooser(name, model, glimpses, how, seed)
        table = judge(model, dataset, choose, glimpses=glimpses, **options)
        found[name] = Judged.of(model.config.task, table)
    return found


# --- the command ----------------------------------------------------------------------------------


def command(config: EvaluateConfig) -> None:
    """`adaglimpse evaluate`: measures and curves for every policy, scan paths, and a report."""
    model = GlimpseModel.from_pretrained(config.checkpoint, device=chosen_device(config.device))
    task = model.config.task
    quarantine = Quarantine(config.on_bad_row)
    images = read_images(config, task, config.split)
    _require_classes(model, images.classes, config)
    make_writable(config.out)
    if config.early_stop_threshold is not None and task == "segmentation":
        raise UsageError(
            "--early-stop-threshold: the score of a segmentation needs the labels, which a new image has "
            "not, so that it cannot stop."
        )
    dataset = ImageDataset(
        images.samples, task=task, size=model.config.image_size, labels_above=config.labels_above
    )
    paths: list[dict[str, Any]] = []
    found: dict[Policy, Judged] = {}
    for name in config.policies:
        watch = _path_writer(paths, model) if config.scan_paths and name == "learnt" else None
        found |= evaluate(
            model,
            dataset,
            (name,),
            eval_action=config.eval_action,
            seed=config.seed,
            glimpses=config.num_glimpses,
            threshold=config.early_stop_threshold,
            batch_size=config.batch_size,
            workers=config.workers,
            quarantine=quarantine,
            watch=watch,
        )
        say(f"{NAMES[name]:<20} {_told(found[name], config)}")
    if paths:
        write_jsonl(config.out / "scan_paths.jsonl", paths)
    notes = [*images.notes, *([note] if (note := untaught(model.config)) else [])]
    _write(config, model, found, notes, quarantine)


def _require_classes(model: GlimpseModel, classes: Sequence[str], config: EvaluateConfig) -> None:
    known = model.config.classes
    if model.config.task == "reconstruction":
        return
    if len(classes) != model.config.num_classes:
        raise DataError(
            config.data_dir,
            f"{len(classes)} classes",
            expected=f"the {model.config.num_classes} classes that the model knows",
        )
    differing = [(a, b) for a, b in zip(known, classes, strict=False) if a != b]
    if differing:
        raise DataError(
            config.data_dir,
            f"{differing[0][1]!r}",
            where="classes",
            expected=f"{differing[0][0]!r}, as the model learnt them, in that place",
            remedy="The answers of the model would be taken for other classes.",
        )


def _told(judged: Judged, config: EvaluateConfig) -> str:
    measures = judged.measures(judged.glimpses, config.seed, compat=config.compat_metrics)
    told = ", ".join(f"{name} {measure}" for name, measure in measures.items())
    stopped = "" if config.early_stop_threshold is None else f", {judged.used():.2f} glimpses"
    return f"{told}{stopped}"


def _path_writer(paths: list[dict[str, Any]], model: GlimpseModel) -> Watch:
    """Collects the glimpses of every image, whatever order they come in."""
    places: dict[str, dict[str, Any]] = {}
    per_glimpse = model.config.glimpse_grid_size**2

    def watch(batch: ImageBatch, look: Look) -> None:
        for row, of in enumerate(look.rows.tolist()):
            name = batch.names[of]
            if name not in places:
                places[name] = {"image": name, "actions": [], "boxes": [], "scores": []}
                paths.append(places[name])
            path = places[name]
            if look.actions is not None:
                path["actions"].append(look.actions[row].tolist())
                path["boxes"].append(look.boxes[row, -per_glimpse:].tolist())
            path["scores"].append(None if look.score is None else float(look.score[row]))

    return watch


def _write(
    config: EvaluateConfig,
    model: GlimpseModel,
    found: dict[Policy, Judged],
    notes: Sequence[str],
    quarantine: Quarantine,
) -> None:
    table = [row for name, judged in found.items() for row in curve_rows(name, judged, model)]
    write_csv(config.out / "curves.csv", list(table[0]), table)
    final = {
        name: judged.measures(judged.glimpses, config.seed, compat=config.compat_metrics)
        for name, judged in found.items()
    }
    write_json(
        config.out / "evaluation.json",
        {
            "checkpoint": config.checkpoint,
            "split": config.split,
            "task": model.config.task,
            "images": {name: len(judged.table) for name, judged in found.items()},
            "glimpses": {name: judged.used() for name, judged in found.items()},
            "measures": {
                name: {kind: measure.to_json() for kind, measure in of.items()}
                for name, of in final.items()
            },
            "notes": list(notes),
            "quarantined": quarantine.to_json(),
        },
    )
    page = Page(
        "adaglimpse evaluate", f"{config.checkpoint} on {config.split} of {config.data_dir}"
    )
    for note in notes:
        page.section("Mind").note(note, warning=True)
    section = page.section("Quality against glimpses")
    section.figure(curve_figure(found))
    add_measures(section, final)
    if quarantine.rows:
        page.section("Left out").table(
            ["file", "where", "why"], [[r.path, r.where, r.message] for r in quarantine.rows]
        )
    path = page.write(config.out / "report.html")
    say(f"written to {config.out}; open {path}")


def curve_rows(name: Policy, judged: Judged, model: GlimpseModel) -> list[dict[str, Any]]:
    """A row for each number of glimpses: share of pixels looked at, share of the image seen, measures."""
    config = model.config
    rows = []
    for step in range(judged.glimpses + 1):
        measures = judged.measures(step)
        rows.append(
            {
                "policy": name,
                "glimpses": step,
                "pixels": pixel_share(step, config.glimpse_grid_size, config.image_size),
                "seen": judged.seen(step),
                **{kind: measure.value for kind, measure in measures.items()},
            }
        )
    return rows


def curve_figure(found: dict[Policy, Judged]) -> Svg:
    """The leading measure against the number of glimpses, a curve for each policy."""
    task = next(iter(found.values())).task
    lines = [
        Line(
            name=NAMES[name],
            x=list(range(1, judged.glimpses + 1)),
            y=[judged.value(step) for step in range(1, judged.glimpses + 1)],
            marked=True,
        )
        for name, judged in found.items()
    ]
    what = "RMSE (levels)" if task == "reconstruction" else LEADING[task].replace("_", " ")
    return curves(lines, x="glimpses", y=what)


def add_measures(section: Section, final: dict[Policy, dict[str, Measure]]) -> None:
    """A table of the measures after the last glimpse, a row for each policy."""
    kinds = list(next(iter(final.values())))
    section.table(
        ["policy", *(kind.replace("_", " ") for kind in kinds)],
        [[NAMES[name], *(str(of[kind]) for kind in kinds)] for name, of in final.items()],
    )
