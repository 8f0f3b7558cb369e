"""Runs that are interrupted or signalled, and continued to the same bits."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest

from abaw_va.learner import VaLearner, train
from shared_core.checkpoints.store import Store
from shared_core.testing.kills import updates
from shared_core.testing.tiny_run import trace
from shared_core.training.guards import Stopped

KINDS = ("transformer", "transformer-lstm", "transformer-attention", "fclstm-xl")


@pytest.fixture
def before_update(monkeypatch):
    """Lets something happen before an update of the next run: `before_update(11, action)`."""
    update = VaLearner.update

    def arrange(number, action):
        made = 0

        def interrupted(self, micro_batches, hands):
            nonlocal made
            made += 1
            if made == number:
                monkeypatch.setattr(VaLearner, "update", update)
                action()
            return update(self, micro_batches, hands)

        monkeypatch.setattr(VaLearner, "update", interrupted)

    return arrange


def crash():
    raise OSError("the power is gone")


@pytest.mark.parametrize(
    ("kind", "network", "changes"),
    [
        *((kind, {}, {}) for kind in KINDS),
        ("transformer", {}, {"random_offset": True}),
        ("transformer-attention", {"memory_length": -1}, {}),
        ("fclstm-xl", {}, {"accumulate": 2, "batch_size": 5}),
    ],
    ids=[*KINDS, "moving borders", "endless memory", "accumulated"],
)
def test_acceptance_21_an_interrupted_run_continues_to_the_same_bits(
    tiny, tmp_path, no_report, before_update, kind, network, changes
):
    """Mid-epoch, with what the streams remember, with dropout: losses, measures, every file."""
    whole = tiny(
        kind, run=tmp_path / "whole", dropout=0.3, network=network, save_every=3, **changes
    )
    train(whole)
    broken = replace(whole, run=tmp_path / "broken", resume=True)
    before_update(12, crash)
    with pytest.raises(OSError, match="the power is gone"):
        train(broken)
    assert updates(broken.run) == [*range(1, 12)]
    assert Store(broken.run / "checkpoints").latest().step < 11  # some updates are made again
    train(broken)
    assert updates(broken.run) == [*range(1, 21)]
    assert trace(broken.run) == trace(whole.run)


def test_a_stop_signal_saves_what_the_streams_remember(tiny, tmp_path, no_report, before_update):
    whole = tiny("transformer-lstm", run=tmp_path / "whole", dropout=0.3)
    train(whole)
    stopped = replace(whole, run=tmp_path / "stopped")
    before_update(7, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped) as raised:
        train(stopped)
    assert raised.value.exit_status == 143
    assert updates(stopped.run) == [*range(1, 8)]
    assert Store(stopped.run / "checkpoints").latest().step == 7
    train(replace(stopped, resume=True))
    assert trace(stopped.run) == trace(whole.run)
