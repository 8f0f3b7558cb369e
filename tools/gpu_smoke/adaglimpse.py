"""adaglimpse: reconstruction of embedded scenes; on a GPU the paper's backbone at its image size."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from adaglimpse.config import TrainConfig
from adaglimpse.data.items import ImageDataset
from adaglimpse.data.layouts import read_images
from adaglimpse.evaluate import evaluate
from adaglimpse.learner import train
from adaglimpse.model.network import GlimpseModel
from adaglimpse.predict import predict
from adaglimpse.synthetic import write_dataset
from shared_core.errors import NonFiniteError
from shared_core.reporting.events import read
from tools.gpu_smoke import passes
from tools.gpu_smoke.passes import Pass

UNIT = "episodes"
TOLERANCE = 0.02
"""The backbone's losses are of size 1; bf16 keeps 8 bits, 0.4 percent a product. The policy, which learns
beside it, draws from the device's own stream: its losses must be finite, and are not compared."""

BATCH = 4
GLIMPSES = 4
IMAGES = 24
RANDOM_UPDATES = 5
"""Afterwards the policy chooses the glimpses."""


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
        NonFiniteError: an answer is not finite.
    """
    side = 64 if small else 224
    data = folder / "data"
    if not data.exists():
        write_dataset(data, "reconstruction", train=IMAGES, val=2 * BATCH, size=side, seed=0)
    config = TrainConfig(
        data_dir=data,
        run=folder / f"{device}-{precision}",
        image_size=(side, side),
        augment=False,
        backbone_size="tiny" if small else "base",
        num_glimpses=GLIMPSES,
        rl_batch_size=2 * BATCH,
        replay_buffer_size=8 * BATCH * GLIMPSES,
        init_random_batches=RANDOM_UPDATES * (GLIMPSES + 1),
        freeze_backbone_epochs=0,
        backbone_training_type="constant",
        backbone_loss="mean",
        lr=1e-5,
        batch_size=BATCH,
        eval_batch_size=2 * BATCH,
        epochs=updates,
        max_steps=updates,
        evaluate_every=updates,
        save_every=updates,
        precision=precision,
        device=device,
        trackers=(),
    )
    passes.forget_peak(device)
    train(config)
    model = GlimpseModel.from_pretrained(config.run, device=device)
    images = read_images(config, config.task, "val")
    dataset = ImageDataset(images.samples, task=config.task, size=config.image_size)
    judged, seconds_judged = passes.timed(
        device, lambda: evaluate(model, dataset, batch_size=2 * BATCH)["learnt"]
    )
    sources = [sample.image for sample in images.samples]
    found, seconds_predicted = passes.timed(device, lambda: predict(model, sources))
    if not all(np.isfinite(prediction.scores).all() for prediction in found):
        raise NonFiniteError(f"adaglimpse predicts values that are not finite on {device}.")
    return Pass(
        losses=tuple(e["backbone_loss"] for e in read(config.run) if e["kind"] == "train"),
        train=passes.updates_per_second(config.run) * BATCH,
        evaluate=len(dataset) / seconds_judged,
        predict=len(found) / seconds_predicted,
        score=judged.value(judged.glimpses),
        peak_memory_mb=passes.peak_memory_mb(device),
    )
