"""Embedded scenes in the published layouts, and runs so small that they take seconds."""

from __future__ import annotations

import pytest

from adaglimpse.config import TrainConfig
from adaglimpse.synthetic import write_dataset

TRAIN, VAL = 32, 10

DATASETS = {"reconstruction": "folder", "classification": "imagenet", "segmentation": "ade20k"}


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Folder with a data set for each task, named after it: scenes of 32 pixels."""
    root = tmp_path_factory.mktemp("scenes")
    for task in DATASETS:
        write_dataset(root / task, task, train=TRAIN, val=VAL, size=32, seed=0)
    return root


@pytest.fixture(scope="session")
def tiny(scenes):
    """Makes the settings of a short run: `tiny(run=..., task="classification")`."""

    def settings(*, task="classification", **changes):
        plain = {
            "data_dir": scenes / task,
            "dataset": DATASETS[task],
            "task": task,
            "image_size": (32, 32),
            "backbone_size": "tiny",
            "num_glimpses": 3,
            "glimpse_grid_size": 1,
            "augment": False,
            "batch_size": 8,
            "eval_batch_size": 8,
            "epochs": 2,
            "rl_batch_size": 16,
            "replay_buffer_size": 120,
            "init_random_batches": 3,
            "freeze_backbone_epochs": 0,
            "backbone_lr": 1e-3,
            "threads": 1,
            "device": "cpu",
            "trackers": (),
        }
        return TrainConfig(**{**plain, **changes})

    return settings


@pytest.fixture
def no_report(monkeypatch):
    """Drawing a report takes longer than a tiny run."""
    monkeypatch.setattr("shared_core.training.folder.run_report", lambda folder: None)


@pytest.fixture(scope="session")
def runs(tiny, tmp_path_factory):
    """Makes a finished run of a task, once: `runs("reconstruction")` is its folder."""
    from adaglimpse.learner import train

    made = {}

    def run(task):
        if task not in made:
            made[task] = tmp_path_factory.mktemp("runs") / task
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("shared_core.training.folder.run_report", lambda folder: None)
                train(tiny(task=task, run=made[task], backbone_training_type="constant"))
        return made[task]

    return run
