"""abaw-va: the transformer with the authors' widths on random features, without dropout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from abaw_va.config import TrainConfig, Transformer
from abaw_va.evaluate import evaluate
from abaw_va.inference import infer
from abaw_va.learner import train, video_sets
from abaw_va.model.network import VaModel
from abaw_va.synthetic import write_random_root
from shared_core.errors import NonFiniteError
from tools.gpu_smoke import passes
from tools.gpu_smoke.passes import Pass

UNIT = "frames"
TOLERANCE = 0.02
"""The losses are 1 - CCC, of size 1; bf16 keeps 8 bits, a relative 0.4 percent a product."""

BATCH = 8


@dataclass(frozen=True)
class Size:
    """How much is computed: frames of a chunk, widths of the features, of the network, layers."""

    frames: int
    features: dict[str, int]
    width: int
    layers: int


USUAL = Size(250, {"affectnet": 342, "vggish": 128, "wav2vec": 768}, 256, 4)
SMALL = Size(24, {"affectnet": 16}, 32, 1)


def run(
    folder: Path,
    device: Literal["cpu", "cuda"],
    precision: Literal["fp32", "bf16"],
    *,
    updates: int,
    small: bool,
) -> Pass:
    """Train, evaluate and predict; the same data and first weights on every device.

    Raises:
        NonFiniteError: a prediction is not finite.
    """
    size = SMALL if small else USUAL
    config = _config(folder, device, precision, updates, size)
    if not config.data.exists():
        splits = {"train": _videos("t", 2 * BATCH, size), "val": _videos("v", BATCH, size)}
        write_random_root(config.data, splits, size.features, seed=0, linear=True)
    passes.forget_peak(device)
    train(config)
    model = VaModel.from_pretrained(config.run, device=device)
    val = video_sets(config)[1]
    frames = int(val.lengths.sum())
    judged, seconds_judged = passes.timed(
        device, lambda: evaluate([model], [val], config.smoothing, seed=config.seed)
    )
    predicted, seconds_predicted = passes.timed(device, lambda: list(infer(model, val)))
    if not all(np.isfinite(values).all() for _, values in predicted):
        raise NonFiniteError(f"abaw-va predicts values that are not finite on {device}.")
    return Pass(
        losses=passes.losses(config.run),
        train=passes.updates_per_second(config.run) * BATCH * size.frames,
        evaluate=frames / seconds_judged,
        predict=frames / seconds_predicted,
        score=judged.measures["ccc"].value,
        peak_memory_mb=passes.peak_memory_mb(device),
    )


def _config(
    folder: Path,
    device: Literal["cpu", "cuda"],
    precision: Literal["fp32", "bf16"],
    updates: int,
    size: Size,
) -> TrainConfig:
    network = Transformer(
        hidden_size=size.width,
        ffn_width=4 * size.width,
        layers=size.layers,
        chunk_length=size.frames,
        dropout=0.0,
        encoder_dropout=0.0,
    )
    return TrainConfig(
        data=folder / "data",
        run=folder / f"{device}-{precision}",
        features=tuple(size.features),
        model=network,
        learning_rate=1e-4,
        batch_size=BATCH,
        epochs=updates,
        max_steps=updates,
        evaluate_every=updates,
        save_every=updates,
        precision=precision,
        device=device,
        trackers=(),
    )


def _videos(start: str, count: int, size: Size) -> dict[str, int]:
    """Lengths of videos: one chunk each, so that every update costs the same."""
    return {f"{start}{number}": size.frames for number in range(count)}
