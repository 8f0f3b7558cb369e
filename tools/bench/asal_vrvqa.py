"""asal-vrvqa against straightforward code: the backbone, its memory, sharing of frames, the cache.

The yardstick of the backbone is torchvision's ResNet-18 on the same flat frame, which sees half as many
pixels again as the sphere has.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from asal_vrvqa.config import TASKS, Network, QualityModelConfig, Reading
from asal_vrvqa.data.frames import FrameStore
from asal_vrvqa.data.items import ClipDataset, DistinctFrames, collate, normalised
from asal_vrvqa.data.labels import Clip, read_clips
from asal_vrvqa.data.plan import StagedPlan
from asal_vrvqa.data.projection import viewport
from asal_vrvqa.method.memory import Memory
from asal_vrvqa.model.backbone import ResNet18, Sphere
from asal_vrvqa.model.network import QualityModel
from asal_vrvqa.scoring import frame_table
from asal_vrvqa.synthetic import write_dataset
from shared_core.data.loader import KeyedLoader
from shared_core.training.meters import Meter
from tools.bench.straightforward.asal_vrvqa import unfused
from tools.bench.timing import Row, interleaved

RUNS = 7
SIZE = (512, 1024)
HALF = (256, 512)
"""Of the sets of frames on the disk."""


def measure() -> list[Row]:
    """Time, bytes and shares of each comparison."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            *_backbone(),
            _bytes_for_backward(),
            _memory(),
            *_data(Path(folder)),
            _viewport(),
        ]


def _backbone() -> list[Row]:
    """Acceptance check 28, and a training step."""
    frame = torch.rand(1, 3, *SIZE)
    theirs = resnet18(weights=None)
    plain = unfused()
    model = QualityModel(QualityModelConfig(network=Network()))
    ours = model.feature_extractor.backbone
    folded = model.for_evaluation().feature_extractor.backbone
    with torch.inference_mode():
        theirs.eval()
        plain.eval()
        times = interleaved(
            {
                "ours": lambda: folded(frame),
                "theirs": lambda: theirs(frame),
                "unfolded": lambda: ours.eval()(frame),
                "unfused": lambda: plain(frame),
            },
            runs=RUNS,
        )
    name = "one 512x1024 frame, evaluation"
    median = times["ours"].median
    rows = [
        Row.at_most(f"{name}, against torchvision", median, times["theirs"].median, times=1.3),
        Row.at_most(
            f"{name}, not folded", times["unfolded"].median, times["theirs"].median, times=1.6
        ),
        Row.faster(
            f"{name}, against the unfused network",
            times["ours"],
            times["unfused"],
            at_least=2,
            by_median=True,
        ),
    ]
    times = interleaved(
        {"ours": _step(ours.train(), frame), "theirs": _step(theirs.train(), frame)}, runs=RUNS
    )
    name = "one 512x1024 frame, forward and backward, against torchvision"
    rows.append(Row.at_most(name, times["ours"].median, times["theirs"].median, times=1.8))
    return rows


def _step(network: nn.Module, frame: Tensor) -> Callable[[], None]:
    def step() -> None:
        network(frame).sum().backward()
        network.zero_grad()

    return step


def _bytes_for_backward() -> Row:
    frame = torch.rand(1, 3, *HALF)
    plain = _kept(unfused(8).train(), frame, half=False)
    ours = _kept(ResNet18(Sphere(8)).train(), frame, half=True)
    name = "bytes kept for backward: bf16 against the unfused fp32 network"
    return Row.at_most(name, ours / 1e6, plain / 1e6, times=0.5, unit="MB")


def _kept(network: nn.Module, frame: Tensor, *, half: bool) -> int:
    """Bytes of the activations that backward needs, each storage once."""
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=half),
    ):
        made = network(frame)
    total = sum(kept.values())
    del made
    return total


def _memory() -> Row:
    frames = torch.zeros(3, *SIZE, 3, dtype=torch.uint8)
    memory = Memory(1)
    memory.append(frames=frames)
    floats = normalised(frames).nbytes
    name = "replay memory of a clip: uint8 against floats"
    return Row.at_most(name, memory.bytes / 1e6, floats / 1e6, times=0.25, unit="MB")


def _data(folder: Path) -> list[Row]:
    network = Network(parts=8, height=HALF[0], width=HALF[1])
    data = write_dataset(
        folder, sources=dict.fromkeys(TASKS[:2], 2), height=HALF[0], width=HALF[1], seed=0
    )
    clips = read_clips(data.labels)
    cache = folder / "cache"
    cache.mkdir()
    store = FrameStore(data.frames, network)
    cached = replace(store, cache=cache)
    for frames in data.frames.iterdir():
        plain = FrameStore(data.frames, network)
        keys = DistinctFrames([c for c in clips if c.folder == frames.name], plain, Reading()).keys
        highest = max(key.index for key in keys) + 2
        every = [replace(keys[0], index=i) for i in range(highest)]
        np.save(cache / f"{frames.name}.npy", plain.read(every))
    return [_sharing(clips, cached), _loader_share(clips, cached), _decoding(clips, store, cached)]


def _sharing(clips: list[Clip], store: FrameStore) -> Row:
    """Clips of 7 and of 15 seconds of one start share four frames."""
    model = QualityModel(QualityModelConfig(network=store.network)).for_evaluation()
    pairs = [clip for clip in clips if clip.folder == clips[0].folder]
    shared, alone = (
        DistinctFrames(pairs, store, Reading(), share=share) for share in (True, False)
    )
    times = interleaved(
        {
            "ours": lambda: frame_table(model, shared),
            "reference": lambda: frame_table(model, alone),
        },
        runs=RUNS,
    )
    name = "evaluating both viewing times of a start: shared frames once"
    return Row.faster(name, times["ours"], times["reference"], at_least=1.3, by_median=True)


def _loader_share(clips: list[Clip], store: FrameStore) -> Row:
    """Waiting for data in the second epoch, with the paper's backbone."""
    dataset = ClipDataset(clips[:4], store, Reading(), training=True)
    plan = StagedPlan((4,), 2, 2, 0)
    loader = KeyedLoader(dataset, plan, seed=0, collate=collate)
    model = QualityModel(QualityModelConfig(network=store.network))
    list(loader.epoch(0))
    meter = Meter()
    for (batch,) in meter.waiting(loader.epoch(1)):
        model(normalised(batch.frames)).score.sum().backward()
        meter.updated()
    name = "share of waiting for data, second epoch from the cache"
    return Row.within(name, meter.data_share, 0.05, unit="")


def _decoding(clips: list[Clip], store: FrameStore, cached: FrameStore) -> Row:
    keys = DistinctFrames(clips[:1], store, Reading()).keys
    times = interleaved(
        {"ours": lambda: cached.read(keys), "reference": lambda: store.read(keys)}, runs=RUNS
    )
    name = "reading a clip: the cache against PNGs"
    return Row.faster(name, times["ours"], times["reference"], at_least=2, by_median=True)


def _viewport() -> Row:
    draw = np.random.default_rng(0)
    frame = draw.integers(0, 256, (960, 1920, 3), dtype=np.uint8)
    times = interleaved(
        {
            "ours": lambda: viewport(frame, 30.0, 10.0, 224, 90.0, "bicubic"),
            "reference": lambda: viewport(frame, 30.0, 10.0, 224, 90.0, "spline"),
        },
        runs=RUNS,
    )
    name = "a viewport of 224 from 1920x960: bicubic against cubic spline"
    return Row.faster(name, times["ours"], times["reference"], at_least=2, by_median=True)
