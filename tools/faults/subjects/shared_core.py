"""The core: its smallest run, a network of two layers without files to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared_core.testing.tiny_config import TinyConfig
from tools.faults.subject import SAVE_POINTS, Subject, Words


class Tiny(Subject):
    """60 updates of eight random items."""

    module = "shared_core.testing.tiny_run"
    points = (*SAVE_POINTS, "evaluate:1", "load:learner")

    @property
    def program(self) -> str:
        """The name in the table."""
        return "shared-core"

    def prepare(self, folder: Path, seed: int) -> None:
        """The items are drawn as they are read."""

    def settings(self, data: Path, run: Path, **changes: Any) -> TinyConfig:  # noqa: ARG002
        """Saves and evaluates every 3 updates."""
        plain: dict[str, Any] = {"epochs": 20, "save_every": 3, "threads": 1, "device": "cpu"}
        return TinyConfig(run=run, **{**plain, **changes})

    def predict(self, checkpoint: Path, sources: Sequence[Path], out: Path) -> Words:
        """The core predicts nothing."""
        raise NotImplementedError

    def media(self, folder: Path, count: int) -> list[Path]:  # noqa: ARG002
        """It reads no media."""
        return []

    def damageable(self, data: Path) -> list[Path]:  # noqa: ARG002
        """It reads no files."""
        return []
