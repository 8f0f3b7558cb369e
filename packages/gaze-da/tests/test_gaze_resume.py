"""Runs that are interrupted or signalled, and continued to the same bits."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest

from gaze_da.learner import GazeLearner, train
from shared_core.checkpoints.store import Store
from shared_core.testing.kills import updates
from shared_core.testing.tiny_run import trace
from shared_core.training.guards import Stopped

BOTH = {"head_da": True, "rgb_depth_da": True, "target_dataset": "goo"}


@pytest.fixture
def before_update(monkeypatch):
    """Lets something happen before an update of the next run: `before_update(5, action)`."""
    update = GazeLearner.update

    def arrange(number, action):
        made = 0

        def interrupted(self, micro_batches, hands):
            nonlocal made
            made += 1
            if made == number:
                monkeypatch.setattr(GazeLearner, "update", update)
                action()
            return update(self, micro_batches, hands)

        monkeypatch.setattr(GazeLearner, "update", interrupted)

    return arrange


def crash():
    raise OSError("the power is gone")


@pytest.mark.parametrize(
    "changes",
    [{}, BOTH, {"accumulate": 2, "batch_size": 5}],
    ids=["plain", "adapted", "accumulated"],
)
def test_acceptance_23_an_interrupted_run_continues_to_the_same_bits(
    tiny, goo_root, tmp_path, no_report, before_update, changes
):
    """Mid-epoch, with random changes of the pictures: losses, measures, every file."""
    if changes is BOTH:
        changes = {**BOTH, "target_dataset_dir": goo_root}
    whole = tiny(run=tmp_path / "whole", epochs=4, save_every=2, **changes)
    train(whole)
    steps = len(updates(whole.run))
    broken = replace(whole, run=tmp_path / "broken", resume=True)
    before_update(steps - 2, crash)
    with pytest.raises(OSError, match="the power is gone"):
        train(broken)
    assert updates(broken.run) == [*range(1, steps - 2)]
    train(broken)
    assert updates(broken.run) == [*range(1, steps + 1)]
    assert trace(broken.run) == trace(whole.run)


def test_a_stop_signal_saves_and_continues(tiny, tmp_path, no_report, before_update):
    whole = tiny(run=tmp_path / "whole", epochs=3)
    train(whole)
    stopped = replace(whole, run=tmp_path / "stopped")
    before_update(4, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped) as raised:
        train(stopped)
    assert raised.value.exit_status == 143
    assert Store(stopped.run / "checkpoints").latest().step == 4
    train(replace(stopped, resume=True))
    assert trace(stopped.run) == trace(whole.run)
