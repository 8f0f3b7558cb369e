"""asal-vrvqa: a stream of three tasks with replay and the manifold's projection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asal_vrvqa.config import Network, Replay, TrainConfig
from asal_vrvqa.runs import read_run
from asal_vrvqa.synthetic import write_dataset, write_video
from tools.faults.subject import SAVE_POINTS, Subject, Words

CATEGORIES = ("CG", "Landscape", "Sports")
NETWORK = Network(parts=2, channels=4, height=64, width=64)


class Tiny(Subject):
    """Three tasks of 18 updates, four clips each."""

    module = "asal_vrvqa"
    points = (*SAVE_POINTS, "evaluate:1", "load:learner")

    def prepare(self, folder: Path, seed: int) -> None:
        """Four source videos of each category, as folders of frames."""
        sources = dict.fromkeys(CATEGORIES, 4)
        write_dataset(folder, sources=sources, height=64, width=64, seed=seed)

    def settings(self, data: Path, run: Path, **changes: Any) -> TrainConfig:
        """Saves every 4 updates."""
        plain: dict[str, Any] = {
            "tasks": CATEGORIES,
            "train_ratio": 0.75,
            "network": NETWORK,
            "replay": Replay(buffer_size=6, minibatch=3),
            "epochs": 6,
            "batch_size": 4,
            "lr": 1e-3,
            "save_every": 4,
            "threads": 1,
            "device": "cpu",
            "trackers": (),
        }
        return TrainConfig(
            labels=data / "labels", frames=data / "frames", run=run, **{**plain, **changes}
        )

    def predict(self, checkpoint: Path, sources: Sequence[Path], out: Path) -> Words:
        """The score of each video."""
        words: Words = ["python", "-m", self.module, "predict", *sources]
        return [*words, "--checkpoint", checkpoint, "--out", out, "--device", "cpu"]

    def media(self, folder: Path, count: int) -> list[Path]:
        """Panoramas of eight seconds."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"drawn{number}.mp4" for number in range(count)]
        for number, path in enumerate(paths):
            write_video(path, "CG", 0.5, height=64, width=128, seconds=8, rate=2, seed=number)
        return paths

    def damageable(self, data: Path) -> list[Path]:
        """The frames."""
        return sorted(data.glob("frames/*/*.png"))

    def results(self, run: Path) -> Any:
        """The matrix of scores after each task."""
        return read_run(run).results
