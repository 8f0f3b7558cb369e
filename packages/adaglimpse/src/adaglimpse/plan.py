"""What an update costs, for `adaglimpse doctor --plan`: measured on drawn scenes of the run's image size."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from adaglimpse.config import Task, TrainConfig
from adaglimpse.config.data import DatasetName
from adaglimpse.data.layouts import read_images
from adaglimpse.data.training import training_loader
from adaglimpse.learner import learner_of
from adaglimpse.synthetic import write_dataset
from shared_core.launch.devices import chosen_device
from shared_core.launch.plan_measure import Cost, Trial, measure

LAYOUTS: dict[Task, DatasetName] = {
    "reconstruction": "folder",
    "classification": "imagenet",
    "segmentation": "ade20k",
}

BATCHES = 3
"""Batches of images that are drawn; they come round again."""


def made_up(config: TrainConfig, folder: Path, items: int) -> TrainConfig:
    """Draw `items` scenes; returns the settings that read them, and that begin with the usual updates.

    Args:
        config: of the run; its data and initial weights are not read.
        folder: an empty one.
        items: images of an epoch.
    """
    write_dataset(folder, config.task, train=items, val=2, size=max(config.image_size), seed=0)
    return replace(
        config,
        data_dir=folder,
        dataset=LAYOUTS[config.task],
        num_samples=None,
        pretrained_mae_path=None,
        pretrained_checkpoint=None,
        teacher_type=None,
        teacher_path=None,
        init_random_batches=0,
        freeze_backbone_epochs=0,
    )


def cost(config: TrainConfig, folder: Path) -> Cost:
    """Make a few updates of `config.batch_size` episodes, once the policy chooses the glimpses.

    Where policy and backbone learn in turn, epochs of both kinds are measured.
    """
    config = made_up(config, folder, BATCHES * config.batch_size)
    side = max(config.image_size)
    images = {split: read_images(config, config.task, split) for split in ("train", "val")}
    learner = learner_of(config, images, chosen_device(config.device))
    both = config.teaches_policy and config.backbone_training_type == "alternating"
    fill = math.ceil(config.rl_batch_size / (config.batch_size * config.num_glimpses))
    kept = 0 if learner.replay is None else learner.replay.bytes
    files = [file.stat().st_size for file in folder.rglob("*.png")]
    trial = Trial(
        unit="episodes",
        learner=learner,
        loader=training_loader(config, images["train"]),
        read_bytes=sum(files) / (BATCHES * config.batch_size + 2),
        epochs=(0, 1) if both else (0,),
        warm_up=1 + (fill if config.teaches_policy else 1),
        held_bytes=kept,
        saved_bytes=kept if config.save_replay else 0,
        notes=(
            f"PNG images of {side} x {side}; the replay buffer takes {kept / 1e9:.2f} GB a process; "
            "a teacher's passes are not counted",
        ),
    )
    return measure(trial, config)
