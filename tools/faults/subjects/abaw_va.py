"""abaw-va: the network with a memory that goes from update to update, on random features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from abaw_va.config import TrainConfig, TransformerLstm
from abaw_va.synthetic import write_random_root
from shared_core.testing.media import draw_face, tone, write_media
from tools.faults.subject import SAVE_POINTS, Subject, Words

WIDTHS = {"pixels": 256, "logmel": 64}
"""Features that prediction computes without a download."""

VIDEOS = {"a": 40, "b": 33, "c": 16, "d": 70, "e": 5, "f": 90, "g": 24}
NETWORK = TransformerLstm(
    hidden_size=8,
    regressor=(8,),
    layers=1,
    heads=2,
    ffn_width=16,
    chunk_length=16,
    dropout=0.3,
    encoder_dropout=0.3,
)


class Tiny(Subject):
    """160 updates of four chunks of 16 frames."""

    module = "abaw_va"
    points = (*SAVE_POINTS, "evaluate:1", "load:learner")

    def prepare(self, folder: Path, seed: int) -> None:
        """Seven training and three validation videos of unequal lengths."""
        splits = {"train": VIDEOS, "val": {"u": 30, "v": 44, "w": 17}}
        write_random_root(folder, splits, WIDTHS, seed=seed)

    def settings(self, data: Path, run: Path, **changes: Any) -> TrainConfig:
        """Saves every 7 updates, evaluates every 10."""
        plain: dict[str, Any] = {
            "model": NETWORK,
            "features": tuple(WIDTHS),
            "epochs": 1000,
            "max_steps": 160,
            "batch_size": 4,
            "lr": 3e-3,
            "init_gain": 0.3,
            "save_every": 7,
            "evaluate_every": 10,
            "threads": 1,
            "device": "cpu",
            "trackers": (),
        }
        return TrainConfig(data=data, run=run, **{**plain, **changes})

    def predict(self, checkpoint: Path, sources: Sequence[Path], out: Path) -> Words:
        """Curves of each video."""
        words: Words = ["python", "-m", self.module, "predict", *sources]
        return [*words, "--checkpoint", checkpoint, "--out", out, "--device", "cpu"]

    def media(self, folder: Path, count: int) -> list[Path]:
        """Videos of a second: a face and a tone."""
        folder.mkdir(parents=True, exist_ok=True)
        grey = np.full((120, 160, 3), 128, np.uint8)
        face = draw_face(grey, (0.35, 0.25, 0.65, 0.75))
        return [
            write_media(folder / f"clip{number}.mkv", [face] * 30, sound=[(0, tone(1.0))])
            for number in range(count)
        ]

    def damageable(self, data: Path) -> list[Path]:
        """The files of features, which hold many videos each."""
        return sorted(data.glob("features/*train*.h5"))
