"""Curves in TensorBoard, trackio or wandb, beside the record in `events.jsonl`.

A tracker is opened by the first value it gets. TensorBoard is told that step, and hides what an
earlier process of the run wrote from there on, so that curves of a resumed run do not double.
trackio and wandb continue the run under its name. wandb is offline (files in the run folder, to be
uploaded with `wandb sync`) unless the environment variable WANDB_MODE says otherwise.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from shared_core.errors import ConfigError
from shared_core.extras import require


class Tracker(Protocol):
    """What one of them does."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to each of the named curves."""

    def close(self) -> None:
        """Hand over everything that is still held back."""


class Trackers:
    """All trackers of a run.

    Args:
        names: of `tensorboard`, `trackio`, `wandb`.
        folder: the run folder; its name is the run's, and its parent's name is the project's.
        config: the plain tree of the run's settings.

    Raises:
        ConfigError: there is no tracker of that name.
        MissingExtraError: a tracker is not installed; holds the line that installs it.
    """

    def __init__(self, names: Sequence[str], folder: Path, config: Mapping[str, Any]) -> None:
        for name in names:
            if name not in _KINDS:
                raise ConfigError("trackers", name, f"some of {', '.join(_KINDS)}")
            require(name, name)
        self._names = tuple(names)
        self._folder = folder
        self._config = dict(config)
        self._opened: list[Tracker] = []

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to each curve; names may be grouped by a slash (`train/loss`)."""
        if not self._opened:
            self._opened = [_KINDS[name](self._folder, self._config, step) for name in self._names]
        for tracker in self._opened:
            tracker.log(step, values)

    def close(self) -> None:
        """Close those that were opened."""
        for tracker in self._opened:
            tracker.close()
        self._opened = []


class _TensorBoard:
    def __init__(self, folder: Path, config: Mapping[str, Any], first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(folder / "tensorboard", purge_step=first_step)
        settings = json.dumps(dict(config), indent=2)
        self._writer.add_text("config", f"```json\n{settings}\n```", first_step)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _Trackio:
    def __init__(self, folder: Path, config: Mapping[str, Any], _first_step: int) -> None:
        self._module = require("trackio", "trackio")
        self._module.init(
            project=_project(folder), name=folder.name, config=dict(config), resume="allow"
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._module.log(dict(values), step=step)

    def close(self) -> None:
        self._module.finish()


class _Wandb:
    def __init__(self, folder: Path, config: Mapping[str, Any], _first_step: int) -> None:
        self._run = require("wandb", "wandb").init(
            project=_project(folder),
            name=folder.name,
            id=_identity(folder),
            resume="allow",
            dir=folder,
            config=dict(config),
            mode=os.environ.get("WANDB_MODE", "offline"),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


_KINDS: Mapping[str, Callable[[Path, Mapping[str, Any], int], Tracker]] = {
    "tensorboard": _TensorBoard,
    "trackio": _Trackio,
    "wandb": _Wandb,
}


def _project(folder: Path) -> str:
    return folder.resolve().parent.name or "runs"


def _identity(folder: Path) -> str:
    """A name that no other run has, kept in the folder so that the resumed run has it too."""
    path = folder / "wandb.id"
    if not path.exists():
        path.write_text(secrets.token_hex(8))
    return path.read_text().strip()
