"""asal-vrvqa: a task on embedded panoramas; on a GPU the paper's widths at a quarter of its height."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from asal_vrvqa.config import TASKS, Network, Reading, Replay, TrainConfig
from asal_vrvqa.data.items import DistinctFrames
from asal_vrvqa.data.labels import read_clips
from asal_vrvqa.learner import train
from asal_vrvqa.model.network import QualityModel
from asal_vrvqa.predict import predict
from asal_vrvqa.results import measures
from asal_vrvqa.scoring import clip_scores, frame_table, store_of
from asal_vrvqa.synthetic import write_dataset
from shared_core.errors import NonFiniteError
from tools.gpu_smoke import passes
from tools.gpu_smoke.passes import Pass

UNIT = "frames"
TOLERANCE = 0.05
"""The losses are of size 1 and go through batch norms; bf16 keeps 8 bits, 0.4 percent a product."""

BATCH = 4
SOURCES = 4

USUAL = Network(parts=4, height=128, width=256)
SMALL = Network(parts=2, channels=8, height=64, width=128)


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
        NonFiniteError: a score is not finite.
    """
    network = SMALL if small else USUAL
    data = folder / "data"
    if not data.exists():
        write_dataset(
            data,
            sources=dict.fromkeys(TASKS[:1], SOURCES),
            height=network.height,
            width=network.width,
            seed=0,
        )
    config = TrainConfig(
        labels=data / "labels",
        frames=data / "frames",
        tasks=TASKS[:1],
        strategy="asal",
        train_ratio=0.5,
        run=folder / f"{device}-{precision}",
        network=network,
        reading=Reading(flip="none", jitter=False),
        replay=Replay(buffer_size=6),
        lr=1e-5,
        batch_size=BATCH,
        epochs=updates,
        max_steps=updates,
        precision=precision,
        device=device,
        trackers=(),
    )
    passes.forget_peak(device)
    train(config)
    model = QualityModel.from_pretrained(config.run, device=device)
    folded = model.for_evaluation()
    clips = read_clips(config.labels)
    store = store_of(model.config, config.frames)
    frames = DistinctFrames(clips, store, model.config.reading)
    table, seconds_judged = passes.timed(device, lambda: frame_table(folded, frames, batch_size=8))
    source = config.frames / clips[0].folder
    found, seconds_predicted = passes.timed(device, lambda: predict(folded, source))
    if found.score != found.score:
        raise NonFiniteError(f"asal-vrvqa predicts values that are not finite on {device}.")
    return Pass(
        losses=passes.losses(config.run),
        train=passes.updates_per_second(config.run) * BATCH * network.frames,
        evaluate=len(frames) / seconds_judged,
        predict=network.frames / seconds_predicted,
        score=measures(clip_scores(frames, table).score, clips)["rmse"].value,
        peak_memory_mb=passes.peak_memory_mb(device),
    )
