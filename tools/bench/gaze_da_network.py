"""gaze-da's network, called with care and called without: several people, adaptation, folded norms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from gaze_da.config import GazeModelConfig, Network
from gaze_da.method.losses import domain_loss, task_loss
from gaze_da.model.adaptation import SOURCE, TARGET
from gaze_da.model.initial import initialise
from gaze_da.model.network import GazeModel
from gaze_da.model.views import Views
from tools.bench.timing import Row, interleaved

PEOPLE = 5
LARGEST_DIFFERENCE = 1e-5
NO_SLOWER = 1 / 1.05
"""Ratio that a row must reach which is not to be slower: 5 percent are noise."""


def measure() -> list[Row]:
    """Time and difference of each comparison."""
    return [_several_people(), *_adaptation(), *_folded()]


def network(**config: object) -> GazeModel:
    """One with random weights, the same each time."""
    model = GazeModel(GazeModelConfig(**config))  # type: ignore[arg-type]
    initialise(model, torch.Generator().manual_seed(0))
    return model


def _views(rows: int, size: int) -> Views:
    draw = torch.Generator().manual_seed(rows)
    image, depth, face = (torch.rand(rows, 3, size, size, generator=draw) for _ in range(3))
    mask = torch.zeros(rows, 1, size, size)
    mask[:, :, size // 4 : size // 2, size // 3 : size // 2] = 1
    return Views(image, depth, mask, face)


def _several_people() -> Row:
    model = network().for_evaluation()
    many = _views(PEOPLE, 224)
    each = [Views(*(view[row : row + 1] for view in many)) for row in range(PEOPLE)]

    @torch.inference_mode()
    def together() -> None:
        model(many)

    @torch.inference_mode()
    def apart() -> None:
        for one in each:
            model(one)

    times = interleaved({"ours": together, "reference": apart}, runs=7)
    name = f"the network on {PEOPLE} people in one pass"
    return Row.faster(name, times["ours"], times["reference"], at_least=NO_SLOWER, by_median=True)


def _adaptation() -> list[Row]:
    """Half the paper's width, so that a step takes a second."""
    model = network(network=Network(width=32), head_da=True).train()
    source, target = _views(4, 224), _views(4, 224)
    heatmap = torch.zeros(4, 64, 64)
    inside = torch.ones(4, 1, dtype=torch.bool)
    domains: dict[str, float] = {}

    def target_pass(full: bool) -> Callable[[], None]:
        def run() -> None:
            model.zero_grad()
            adapted = model.of_target(target, 0.5, full=full)
            assert adapted.domain is not None
            loss = domain_loss(adapted.domain, TARGET)
            torch.autograd.backward(loss)
            domains[f"target {full}"] = loss.item()

        return run

    def step(full: bool) -> Callable[[], None]:
        def run() -> None:
            model.zero_grad()
            output = model(source, target, 0.5, full_target_pass=full)
            loss = task_loss(output.heatmaps, heatmap, inside)
            loss = loss + domain_loss(output.source.domain, SOURCE)
            loss = loss + domain_loss(output.target.domain, TARGET)
            torch.autograd.backward(loss)
            domains[f"step {full}"] = loss.item()

        return run

    rows = []
    for name, function, bound in (
        ("adapting heads: the target pass", target_pass, 1.4),
        ("adapting heads: the whole step", step, 1.1),
    ):
        times = interleaved({"ours": function(False), "reference": function(True)}, runs=5)
        row = Row.faster(name, times["ours"], times["reference"], at_least=bound, by_median=True)
        rows.append(replace(row, note=f"{row.note}; the face branch alone against all of it"))
    difference = max(
        abs(domains[f"{name} True"] - domains[f"{name} False"]) for name in ("target", "step")
    )
    rows.append(Row.within("adapting heads, difference", difference, LARGEST_DIFFERENCE, unit=""))
    return rows


def _folded() -> list[Row]:
    eager = network().eval()
    folded = eager.for_evaluation(channels_last=True)
    plain = _views(1, 224)
    ordered = Views(*(view.contiguous(memory_format=torch.channels_last) for view in plain))
    outputs: dict[str, torch.Tensor] = {}

    @torch.inference_mode()
    def ours() -> None:
        outputs["ours"] = folded(ordered).heatmaps

    @torch.inference_mode()
    def reference() -> None:
        outputs["reference"] = eager(plain).heatmaps

    times = interleaved({"ours": ours, "reference": reference}, runs=7)
    name = "a forward pass, batch norms folded, channels last"
    row = Row.faster(name, times["ours"], times["reference"], at_least=NO_SLOWER, by_median=True)
    scale = outputs["reference"].abs().max()
    difference = float((outputs["ours"] - outputs["reference"]).abs().max() / scale)
    return [row, Row.within(f"{name}, difference", difference, 10 * LARGEST_DIFFERENCE, unit="")]
