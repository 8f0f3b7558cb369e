"""gaze-da: the whole network, adapting from one style of scenes to another in both ways."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gaze_da.config import Network, TrainConfig
from gaze_da.synthetic import Style, write_domain
from tools.faults.subject import SAVE_POINTS, Subject, Words, write_pictures

STYLES: dict[str, Style] = {"source": "flat", "target": "grainy"}
NETWORK = Network(
    width=16,
    scene_layers=(1, 1, 1, 1, 1),
    depth_layers=(1, 1, 1, 1, 1),
    face_layers=(1, 1, 1, 1, 1),
    input_size=64,
    output_size=24,
)


class Tiny(Subject):
    """40 updates of four people."""

    module = "gaze_da"
    points = (*SAVE_POINTS, "evaluate:1", "load:learner")

    def prepare(self, folder: Path, seed: int) -> None:
        """Two styles in GazeFollow's layout, with depth."""
        for name, style in STYLES.items():
            write_domain(folder / name, style, {"train": 12, "test": 6}, seed=seed)

    def settings(self, data: Path, run: Path, **changes: Any) -> TrainConfig:
        """Saves every 5 updates, evaluates every 10."""
        plain: dict[str, Any] = {
            "network": NETWORK,
            "head_da": True,
            "rgb_depth_da": True,
            "epochs": 1000,
            "max_steps": 40,
            "batch_size": 4,
            "lr": 1e-3,
            "val_fraction": 0.2,
            "save_every": 5,
            "evaluate_every": 10,
            "threads": 1,
            "device": "cpu",
            "trackers": (),
            "test": False,
        }
        folders = {
            "source_dataset_dir": data / "source",
            "target_dataset_dir": data / "target",
        }
        return TrainConfig(run=run, **{**folders, **plain, **changes})

    def predict(self, checkpoint: Path, sources: Sequence[Path], out: Path) -> Words:
        """Where the faces look that are found; the pictures are taken for their own depth."""
        words: Words = ["python", "-m", self.module, "predict", *sources]
        depth = ("--depth-files", sources[0].parent, "--no-overlay")
        return [*words, "--checkpoint", checkpoint, "--out", out, "--device", "cpu", *depth]

    def media(self, folder: Path, count: int) -> list[Path]:
        """Pictures with a face."""
        return write_pictures(folder, count, (160, 120), face=True)

    def damageable(self, data: Path) -> list[Path]:
        """The training pictures of the source."""
        return sorted(data.glob("source/train/**/*.jpg"))
