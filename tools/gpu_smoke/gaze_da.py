"""gaze-da: the network on embedded scenes, adapting in both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from gaze_da.config import Augment, Network, TrainConfig
from gaze_da.evaluate import Network as Predictor
from gaze_da.evaluate import evaluate, open_split
from gaze_da.learner import train
from gaze_da.model.network import GazeModel
from gaze_da.predict import predict
from gaze_da.synthetic import Style, write_domain
from shared_core.errors import NonFiniteError
from tools.gpu_smoke import passes
from tools.gpu_smoke.passes import Pass

UNIT = "people"
TOLERANCE = 0.05
"""The losses are of size 1 and go through batch norms; bf16 keeps 8 bits, 0.4 percent a product."""

BATCH = 8
PICTURES = 24

USUAL = Network()
SMALL = Network(
    width=16,
    scene_layers=(1, 1, 1, 1, 1),
    depth_layers=(1, 1, 1, 1, 1),
    face_layers=(1, 1, 1, 1, 1),
    input_size=64,
    output_size=24,
)


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
    styles: dict[str, Style] = {"source": "flat", "target": "grainy"}
    for name, style in styles.items():
        if not (folder / name).exists():
            write_domain(folder / name, style, {"train": PICTURES, "test": BATCH})
    config = TrainConfig(
        source_dataset_dir=folder / "source",
        target_dataset_dir=folder / "target",
        run=folder / f"{device}-{precision}",
        network=SMALL if small else USUAL,
        augment=Augment(jitter=0, crop=0, flip=0, colour=0),
        head_da=True,
        rgb_depth_da=True,
        lr=1e-5,
        batch_size=BATCH,
        epochs=updates,
        max_steps=updates,
        evaluate_every=updates,
        save_every=updates,
        channels_last=True,
        precision=precision,
        device=device,
        trackers=(),
        test=False,
    )
    passes.forget_peak(device)
    train(config)
    model = GazeModel.from_pretrained(config.run, device=device)
    folded = model.for_evaluation(channels_last=True)
    dataset = open_split(model, "gazefollow", folder / "target", "test")
    judged, seconds_judged = passes.timed(
        device, lambda: evaluate(Predictor(folded, channels_last=True), dataset)
    )
    sample = dataset.samples[0]
    heads = [sample.head] * BATCH
    predicted, seconds_predicted = passes.timed(
        device, lambda: predict(folded, sample.image, heads, units="pixels", depth=sample.depth)
    )
    if not all(np.isfinite(person.heatmap).all() for person in predicted):
        raise NonFiniteError(f"gaze-da predicts values that are not finite on {device}.")
    return Pass(
        losses=passes.losses(config.run),
        train=passes.updates_per_second(config.run) * BATCH,
        evaluate=len(dataset) / seconds_judged,
        predict=BATCH / seconds_predicted,
        score=judged["gazefollow"]["avg_dist"].value,
        peak_memory_mb=passes.peak_memory_mb(device),
    )
