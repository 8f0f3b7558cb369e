"""What an update costs, for `asal-vrvqa doctor --plan`: measured on drawn panoramas of the network's size."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from asal_vrvqa.config import TASKS, TrainConfig
from asal_vrvqa.data.labels import Clip, read_clips
from asal_vrvqa.data.splits import Part, Stream
from asal_vrvqa.learner import StreamLearner, training_loader
from asal_vrvqa.synthetic import write_dataset
from shared_core.launch.plan_measure import Cost, Trial, measure
from shared_core.training.schedules import Progress

DRAWN = TASKS[:2]
"""Categories of the drawn clips: from the second task on, a memory is replayed."""

CLIPS = 2
"""Of a drawn source: one from each start direction."""


def made_up(config: TrainConfig, folder: Path, items: int) -> TrainConfig:
    """Draw `items` clips or more for each of two tasks; returns the settings that read them.

    Args:
        config: of the run; its data and initial weights are not read.
        folder: an empty one.
        items: clips of a task's epoch, with the run's own share for testing on top.
    """
    network = config.network
    data = write_dataset(
        folder,
        sources=dict.fromkeys(DRAWN, max(3, math.ceil(items / CLIPS / config.train_ratio))),
        height=network.height,
        width=network.width,
        seed=0,
        times=(7,),
        frames_each=8,
    )
    return replace(
        config,
        labels=data.labels,
        frames=data.frames,
        cache=None,
        tasks=DRAWN,
        init_weights=None,
        replay=replace(config.replay, key_frame_weights=None),
    )


def cost(config: TrainConfig, folder: Path) -> Cost:
    """Make a few updates of `config.batch_size` drawn clips; of a stream those of its second task."""
    config = made_up(config, folder, config.batch_size)
    network = config.network
    learner = StreamLearner(config, _stream(config, read_clips(config.labels)))
    streams = len(learner.stream.stages) > 1
    images = [file.stat().st_size for file in config.frames.rglob("*.png")]
    memory = config.replay.buffer_size * network.key_frames * network.height * network.width * 3
    kept = memory if streams and config.learns_by == "asal" else 0
    size = f"{network.width} x {network.height}"
    trial = Trial(
        unit="clips",
        learner=learner,
        loader=training_loader(learner),
        read_bytes=network.frames * sum(images) / len(images),
        epochs=(config.epochs if streams else 0,),
        ready=lambda: _learn_first_task(learner) if streams else None,
        held_bytes=kept,
        saved_bytes=kept,
        notes=(f"a clip is {network.frames} PNG frames of {size}; an epoch is one of one task",),
    )
    return measure(trial, config)


def _stream(config: TrainConfig, clips: list[Clip]) -> Stream:
    """Two tasks, or all clips at once."""
    if config.mode == "continual" and config.learns_by != "joint":
        parts = [Part(name, tuple(c for c in clips if c.category == name)) for name in DRAWN]
    else:
        parts = [Part("all", tuple(clips))]
    return Stream(tuple(parts), tuple(parts))


def _learn_first_task(learner: StreamLearner) -> None:
    """Fill the memory as the end of a task does."""
    learner.progress = Progress(steps_per_epoch=1, epochs=learner.config.epochs)
    learner.strategy.begin(0)
    learner.strategy.end(0)
