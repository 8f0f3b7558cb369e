"""How the loss grows around the models of a run's tasks, along random directions."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from asal_vrvqa.config import LandscapeConfig
from asal_vrvqa.data.items import DistinctFrames, normalised
from asal_vrvqa.data.labels import read_clips
from asal_vrvqa.data.splits import Part, stream_of
from asal_vrvqa.model.network import QualityModel
from asal_vrvqa.runs import read_run
from asal_vrvqa.scoring import store_of
from shared_core.commands import say
from shared_core.data.quarantine import Quarantine
from shared_core.data.tables import write_json
from shared_core.errors import UsageError
from shared_core.launch.devices import chosen_device
from shared_core.reporting.figures import Line, curves
from shared_core.reporting.page import Page

EPS = 1e-10

Weights = dict[str, Tensor]


def direction(model: QualityModel, seed: int) -> Weights:
    """A random direction, each filter of the length of the model's (Li et al., 2018).

    Standard normal, in the order of the parameters; each row (the first index, the rest flat) scaled by
    the norm of the weights' row over its own; zero where there is one dimension only, as for biases.
    """
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=draw)
        if weight.dim() <= 1:
            found[name] = torch.zeros_like(weight)
            continue
        rows = noise.flatten(1)
        norms = weight.detach().cpu().flatten(1).norm(dim=1) / (rows.norm(dim=1) + EPS)
        found[name] = (rows * norms[:, None]).reshape(weight.shape).to(weight)
    return found


@torch.no_grad()
def losses_along(
    model: QualityModel,
    way: Weights,
    steps: Sequence[float],
    frames: Tensor,
    of_clip: Sequence[Sequence[int]],
    labels: Tensor,
    batch_size: int,
) -> list[float]:
    """Mean squared error of clips at each step along a direction.

    Args:
        model: in evaluation mode; it is not changed.
        way: from `direction`.
        steps: how far.
        frames: distinct frames, uint8 [n, H, W, 3], decoded once for all steps.
        of_clip: numbers of each clip's frames.
        labels: of the clips.
        batch_size: frames in a pass.
    """
    weights = dict(model.named_parameters())
    device = labels.device
    found = []
    for step in steps:
        moved = {name: weight + step * way[name] for name, weight in weights.items()}
        scores = torch.cat(
            [
                functional_call(model, moved, (normalised(chunk.to(device))[:, None],)).score
                for chunk in torch.split(frames, batch_size)
            ]
        )
        clips = torch.stack([scores[list(numbers)].mean() for numbers in of_clip])
        found.append(float(torch.mean((clips - labels) ** 2)))
    return found


def command(config: LandscapeConfig) -> None:
    """`asal-vrvqa landscape`: says first what it will cost."""
    run = read_run(config.checkpoint)
    clips = read_clips(run.config.labels, run.config.scale, Quarantine(run.config.on_bad_row))
    stream = stream_of(run.config, clips)
    steps = np.arange(config.low, config.high - 1e-9, config.step).tolist()
    parts = [Part(p.name, p.clips[: config.clips]) for p in stream.tests]
    models = run.task_models()
    passes = len(models) * config.directions * len(steps)
    frames = sum(7 * len(part.clips) for part in parts[: len(models)])
    say(
        f"{len(models)} task models x {config.directions} directions x {len(steps)} steps over up to "
        f"{frames} frames: {passes * frames // max(1, len(models))} passes of a frame."
    )
    if not config.yes:
        if not sys.stdin.isatty():
            raise UsageError("this is costly: give --yes to begin, or fewer --clips.")
        if input("Begin? [y/N] ").strip().lower() not in ("y", "yes"):
            return
    device = chosen_device(config.device)
    curves_: dict[str, list[list[float]]] = {}
    begun = time.monotonic()
    for path, part in zip(models, parts, strict=False):
        model = QualityModel.from_pretrained(path, device=device).eval()
        store = store_of(model.config, run.config.frames, run.config.cache)
        distinct = DistinctFrames(part.clips, store, model.config.reading)
        pictures = torch.from_numpy(store.read(distinct.keys))
        labels = torch.tensor([clip.score for clip in part.clips], device=device)
        curves_[part.name] = [
            losses_along(
                model,
                direction(model, config.seed + number),
                steps,
                pictures,
                distinct.of_clip,
                labels,
                config.batch_size,
            )
            for number in range(config.directions)
        ]
        say(f"{part.name}: {time.monotonic() - begun:.0f} s")
    config.out.mkdir(parents=True, exist_ok=True)
    write_json(config.out / "landscape.json", {"steps": steps, "mse": curves_})
    page = Page("Loss landscape", str(config.checkpoint))
    lines = [
        Line(name=name, x=np.array(steps), y=np.mean(of_task, axis=0))
        for name, of_task in curves_.items()
    ]
    page.section("Mean squared error").figure(
        curves(lines, x="step along the direction", y="MSE", log_y=True),
        caption="Each task's model on its own test clips, mean over directions.",
    )
    path = page.write(config.out / "report.html")
    say(f"written to {config.out}; open {path}")
