"""TensorBoard for real, trackio and wandb as fakes; a resumed run's curves do not double."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from shared_core.errors import ConfigError, MissingExtraError
from shared_core.reporting.trackers import Trackers


def test_a_resumed_run_does_not_double_its_tensorboard_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first, last, value in ((1, 6, 1.0), (4, 8, 2.0)):  # killed after 6, resumed from 3
        trackers = Trackers(["tensorboard"], tmp_path, {"seed": 1})
        for step in range(first, last):
            trackers.log(step, {"train/loss": value})
        trackers.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    seen = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert seen == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0), (6, 2.0), (7, 2.0)]


def test_nothing_is_opened_before_the_first_value(tmp_path: Path) -> None:
    Trackers(["tensorboard"], tmp_path, {}).close()
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_tracker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="trackers: expected some of tensorboard, trackio, wandb"):
        Trackers(["tensorbord"], tmp_path, {})


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_a_missing_tracker_is_named_with_its_extra_at_once(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=rf"shared-core\[{name}\]"):
        Trackers([name], tmp_path, {})


class Fake(ModuleType):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, Any]] = []

    def init(self, **settings: Any) -> Fake:
        self.calls.append(("init", settings))
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        self.calls.append(("log", (step, values)))

    def finish(self) -> None:
        self.calls.append(("finish", None))


def test_trackio_continues_the_run_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Fake("trackio")
    monkeypatch.setitem(sys.modules, "trackio", fake)
    folder = tmp_path / "project" / "night"
    trackers = Trackers(["trackio"], folder, {"seed": 1})
    trackers.log(2, {"train/loss": 0.5})
    trackers.close()
    settings = {"project": "project", "name": "night", "config": {"seed": 1}, "resume": "allow"}
    assert fake.calls == [
        ("init", settings),
        ("log", (2, {"train/loss": 0.5})),
        ("finish", None),
    ]


def test_wandb_is_offline_by_default_and_keeps_its_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Fake("wandb")
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    for mode in ("offline", "online"):
        if mode == "online":
            monkeypatch.setenv("WANDB_MODE", mode)
        trackers = Trackers(["wandb"], tmp_path, {})
        trackers.log(1, {"a": 1.0})
        trackers.close()
    first, second = (settings for call, settings in fake.calls if call == "init")
    assert (first["mode"], second["mode"]) == ("offline", "online")
    assert first["id"] == second["id"]
    assert first["dir"] == tmp_path
