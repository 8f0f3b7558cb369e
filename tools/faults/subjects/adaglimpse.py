"""adaglimpse: classification, policy and backbone in turn, with a replay buffer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adaglimpse.config import TrainConfig
from adaglimpse.synthetic import write_dataset
from tools.faults.subject import SAVE_POINTS, Subject, Words, write_pictures


class Tiny(Subject):
    """48 updates of eight scenes of 32 pixels, three glimpses each."""

    module = "adaglimpse"
    spoilt = ("loss", "gradient")  # a batch holds bytes and whole numbers alone
    points = (*SAVE_POINTS, "evaluate:1", "load:learner")

    def prepare(self, folder: Path, seed: int) -> None:
        """Scenes in ImageNet's layout."""
        write_dataset(folder, "classification", train=32, val=10, size=32, seed=seed)

    def settings(self, data: Path, run: Path, **changes: Any) -> TrainConfig:
        """Saves every 5 updates, evaluates every 4."""
        plain: dict[str, Any] = {
            "task": "classification",
            "dataset": "imagenet",
            "image_size": (32, 32),
            "backbone_size": "tiny",
            "num_glimpses": 3,
            "glimpse_grid_size": 1,
            "augment": False,
            "batch_size": 8,
            "eval_batch_size": 8,
            "epochs": 12,
            "rl_batch_size": 16,
            "replay_buffer_size": 120,
            "init_random_batches": 3,
            "freeze_backbone_epochs": 0,
            "backbone_lr": 1e-3,
            "save_every": 5,
            "threads": 1,
            "device": "cpu",
            "trackers": (),
        }
        return TrainConfig(data_dir=data, run=run, **{**plain, **changes})

    def predict(self, checkpoint: Path, sources: Sequence[Path], out: Path) -> Words:
        """Glimpses of each image."""
        words: Words = ["python", "-m", self.module, "predict", *sources]
        return [*words, "--checkpoint", checkpoint, "--out", out, "--device", "cpu"]

    def media(self, folder: Path, count: int) -> list[Path]:
        """Pictures of noise."""
        return write_pictures(folder, count, (64, 48))

    def damageable(self, data: Path) -> list[Path]:
        """The training scenes."""
        return sorted(data.rglob("train/**/*.png"))
