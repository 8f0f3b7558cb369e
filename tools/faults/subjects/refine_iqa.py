"""refine-iqa: a random policy that writes what it draws; its rewards differ by the length of that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from refine_iqa.config import TrainConfig
from refine_iqa.model.tiny import build
from refine_iqa.synthetic import write_table
from tools.faults.subject import Subject, Words, write_pictures

CYCLE = 2
"""Updates from the same completions: between them nothing is saved."""

PIXELS = 6272

MANY = 64
"""Rows, of which the loader has read few when the first update is made."""


class Tiny(Subject):
    """64 updates of two completions; trl writes the files of a checkpoint, and names no moments."""

    module = "refine_iqa"
    trl = True
    spoilt = ("loss", "gradient")
    names_batch = "on rows ["
    timed_files = ("trainer_state.json", "manifest.json")
    points = (
        "before:progress.json:2",
        "after:manifest.json:2",
        "before-rename:2",
        "before-pointer:1",
        "evaluate:1",
        "loaded",
    )

    def prepare(self, folder: Path, seed: int) -> None:
        """Eight rated pictures, short templates (a byte is a token), and a policy."""
        write_table(folder / "pictures", count=8, seed=seed)
        write_table(folder / "many", count=MANY, seed=seed)
        for name, text in (("think", "{question} Think."), ("plain", "{question} Score.")):
            (folder / name).write_text(text, encoding="utf-8")
        build(folder / "policy", "qwen2_5_vl")

    def settings(self, data: Path, run: Path, **changes: Any) -> TrainConfig:
        """Saves every 2 updates, evaluates every 8."""
        table = data / "pictures" / "table.json"
        plain: dict[str, Any] = {
            "model": str(data / "policy"),
            "rewards": ("format", "overlong"),
            "overlong_buffer": 40,
            "max_completion_length": 48,
            "max_pixels": PIXELS,
            "batch_size": 2,
            "num_generations": 4,
            "num_iterations": CYCLE,
            "epochs": 5,
            "lr": 1e-3,
            "save_every": CYCLE,
            "think_template": data / "think",
            "no_think_template": data / "plain",
            "threads": 1,
            "device": "cpu",
            "trackers": (),
        }
        return TrainConfig(data=(table,), eval_data=table, run=run, **{**plain, **changes})

    def predict(self, checkpoint: Path, sources: Sequence[Path], out: Path) -> Words:
        """The score of each picture, into `predictions.jsonl`."""
        words: Words = ["python", "-m", self.module, "predict", *sources]
        small = ("--max-pixels", str(PIXELS), "--device", "cpu")
        return [*words, "--checkpoint", checkpoint, "--out", out, *small]

    def much(self, data: Path) -> Words:
        """Of eight rows, trl's loader has read all before the first update."""
        return ["--data", data / "many" / "table.json"]

    def media(self, folder: Path, count: int) -> list[Path]:
        """Pictures of noise."""
        return write_pictures(folder, count, (60, 44))

    def damageable(self, data: Path) -> list[Path]:
        """The pictures."""
        return sorted(data.glob("pictures/*.png"))
