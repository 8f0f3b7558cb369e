"""gaze-da against straightforward code: evaluation, training items, several people in a picture.

The straightforward side of evaluation and items is scikit-image, scikit-learn and Pillow; that of several
people is our own prediction, one person at a time. What is about the network is in `gaze_da_network`.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessor

from gaze_da.config import Augment, Compat, Network, Reading
from gaze_da.data import augmentation
from gaze_da.data.colours import magma
from gaze_da.data.items import MOST_DRAWS, GazeBatch, GazeDataset, collate
from gaze_da.data.samples import Sample
from gaze_da.data.views import views
from gaze_da.depth_models import DepthModel
from gaze_da.predict import predict
from gaze_da.protocols import COLUMNS, item_scores
from shared_core.data.loader import ItemKey
from tools.bench.gaze_da_network import network
from tools.bench.straightforward import gaze_da as straightforward
from tools.bench.timing import Row, interleaved

WIDTH, HEIGHT = 640, 480
ANNOTATORS = 10
BATCH = 48
WINDOWS = 12
"""Random windows of one picture, the same on both sides."""

PEOPLE = 5
LARGEST_DIFFERENCE = 1e-5


def measure() -> list[Row]:
    """Time and difference of each comparison."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            *_evaluation(),
            *_items(Path(folder)),
            *_several_people(Path(folder)),
        ]


def _picture(seed: int) -> Image.Image:
    """A picture of soft shapes and some grain, about as costly to decode as a photo."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.int16)
    return Image.fromarray((soft + draw.integers(-9, 10, soft.shape)).clip(0, 255).astype(np.uint8))


def _evaluation() -> list[Row]:
    draw = torch.Generator().manual_seed(0)
    heatmap, gazes = torch.rand(64, 64, generator=draw), torch.rand(ANNOTATORS, 2, generator=draw)
    eye = torch.tensor([0.4, 0.3])
    batch = _batch(gazes, eye)
    found: dict[str, list[float]] = {}

    def ours() -> None:
        row = item_scores(heatmap[None], torch.zeros(1), batch, "gazefollow", compat_angles=True)[0]
        named = dict(zip(COLUMNS, row.tolist(), strict=True))
        names = ("auc", "min_dist", "avg_dist", "min_ang", "avg_ang")
        found["ours"] = [named[name] for name in names]

    def reference() -> None:
        arrays = heatmap.double().numpy(), gazes.numpy()
        rest = straightforward.distances_and_angles(arrays[0], eye.numpy(), arrays[1])
        found["reference"] = [straightforward.auc(*arrays, WIDTH, HEIGHT), *rest]

    times = interleaved({"ours": ours, "reference": reference}, runs=11)
    name = f"one item at {WIDTH}x{HEIGHT} with {ANNOTATORS} annotators"
    row = Row.faster(name, times["ours"], times["reference"], at_least=10, by_median=True)
    difference = np.abs(np.subtract(found["ours"], found["reference"]))
    difference[3:] /= 180  # angles, as shares of the largest
    return [
        replace(row, note=f"{row.note}; scikit-image and scikit-learn"),
        Row.within(f"{name}, difference", float(difference.max()), LARGEST_DIFFERENCE, unit=""),
    ]


def _batch(gazes: torch.Tensor, eye: torch.Tensor) -> GazeBatch:
    picture = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    return GazeBatch(
        image=picture,
        depth=picture,
        face=picture,
        mask=torch.zeros(1, 1, 32, 32, dtype=torch.bool),
        heatmap=torch.zeros(1, 64, 64),
        eyes=eye.expand(1, len(gazes), 2),
        gazes=gazes[None],
        inside=torch.tensor([[True]]),
        size=torch.tensor([[WIDTH, HEIGHT]]),
        colour=torch.ones(1, 3),
        valid=torch.tensor([True]),
        index=torch.tensor([0]),
        names=("item",),
    )


def _items(folder: Path) -> list[Row]:
    picture, depth = folder / "picture.jpg", folder / "depth.jpg"
    _picture(0).save(picture, quality=90)
    _picture(1).convert("L").save(depth, quality=90)
    sample = Sample(
        name="item", image=str(picture), depth=str(depth), group="item", dataset="gazefollow",
        head=(250.0, 120.0, 340.0, 230.0), head_unit="pixels", gazes=((0.6, 0.6),),
        gaze_unit="fractions", eyes=((0.45, 0.35),), inside=True,
    )  # fmt: skip
    augment = Augment(jitter=0, crop=1, flip=1, colour=1)
    exact, reduced = (
        GazeDataset([sample], Network(), Reading(), augment=augment, reduced_decoding=on)
        for on in (False, True)
    )
    keys = [ItemKey(0, epoch, 0) for epoch in range(WINDOWS)]
    placed = sample.placed(WIDTH, HEIGHT, Reading())
    changes = []
    for key in keys:
        numbers = torch.rand(MOST_DRAWS, generator=key.generator(), dtype=torch.float64).tolist()
        draw = iter(numbers).__next__
        changes.append(augmentation.gazefollow(placed, draw, augment, Compat())[1])

    def reference() -> None:
        for change in changes:
            assert change.window is not None
            left, top, right, bottom = (round(value) for value in change.window)
            straightforward.training_item(
                picture.read_bytes(),
                depth.read_bytes(),
                placed.head,
                (left, top, right, bottom),
                change.colour,
                magma(),
            )

    times = interleaved(
        {
            "ours": lambda: [exact[key] for key in keys],
            "reduced": lambda: [reduced[key] for key in keys],
            "reference": reference,
        },
        runs=9,
    )
    batch = collate([exact[keys[0]]] * BATCH)
    in_batch = interleaved({"views": lambda: views(batch)}, runs=7)["views"].median / BATCH
    name = f"{WINDOWS} training items of {WIDTH}x{HEIGHT}"
    moved = f"colours and normalisation in batch: {1e3 * in_batch:.2f} ms more"
    rows = []
    for what, title, bound in (("ours", name, 2), ("reduced", f"{name}, reduced decoding", 3)):
        row = Row.faster(title, times[what], times["reference"], at_least=bound, by_median=True)
        rows.append(replace(row, note=f"{row.note}; {moved} an item"))
    return rows


def _several_people(folder: Path) -> list[Row]:
    path = folder / "people.jpg"
    _picture(2).save(path, quality=90)
    model = network().for_evaluation()
    depth = _depth_model(folder / "dpt")
    draw = np.random.default_rng(3)
    corners = draw.uniform((0, 0), (500, 350), (PEOPLE, 2))
    heads = [(x, y, x + 80, y + 90) for x, y in corners.tolist()]
    found: dict[str, list[np.ndarray]] = {}

    def together() -> None:
        people = predict(model, path, heads, units="pixels", depth=depth)
        found["ours"] = [person.heatmap for person in people]

    def apart() -> None:
        found["reference"] = [
            predict(model, path, [head], units="pixels", depth=depth)[0].heatmap for head in heads
        ]

    times = interleaved({"ours": together, "reference": apart}, runs=5)
    name = f"{PEOPLE} people in one picture, with depth"
    row = Row.faster(name, times["ours"], times["reference"], at_least=1.5, by_median=True)
    difference = max(
        float(np.abs(a - b).max() / np.abs(b).max())
        for a, b in zip(found["ours"], found["reference"], strict=True)
    )
    return [
        replace(row, note=f"{row.note}; a depth model of 25 million weights"),
        Row.within(f"{name}, difference", difference, LARGEST_DIFFERENCE, unit=""),
    ]


def _depth_model(folder: Path) -> DepthModel:
    """A DPT of a middling size with random weights, loaded as any other."""
    torch.manual_seed(0)
    config = DPTConfig(
        hidden_size=384, num_hidden_layers=8, num_attention_heads=6, intermediate_size=1536,
        image_size=384, patch_size=16, backbone_out_indices=[1, 3, 5, 7],
        neck_hidden_sizes=[48, 96, 192, 384], fusion_hidden_size=64,
    )  # fmt: skip
    DPTForDepthEstimation(config).save_pretrained(folder)
    DPTImageProcessor(size={"height": 384, "width": 384}).save_pretrained(folder)
    return DepthModel(str(folder))
