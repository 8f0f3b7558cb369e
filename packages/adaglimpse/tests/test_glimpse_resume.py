"""Runs that are interrupted and continued to the same bits, buffer and temperature included."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adaglimpse.learner import GlimpseLearner, train
from shared_core.checkpoints.store import Store
from shared_core.checkpoints.tree import load_tree
from shared_core.testing.faults import fails_before_update
from shared_core.testing.kills import updates
from shared_core.testing.tiny_run import trace

KINDS = {
    "alternating": {"task": "classification", "epochs": 3},
    "both": {"task": "reconstruction", "backbone_training_type": "constant"},
    "early stop": {"task": "classification", "train_early_stop_threshold": 0.17},
    "pretraining": {"task": "reconstruction", "pretraining": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_acceptance_25_an_interrupted_run_continues_to_the_same_bits(
    tiny, tmp_path, no_report, monkeypatch, kind
):
    """Counters, schedules, temperature, buffer: losses, measures and every file of the last checkpoint."""
    whole = tiny(run=tmp_path / "whole", save_every=3, **KINDS[kind])
    train(whole)
    broken = replace(whole, run=tmp_path / "broken", resume=True)
    fails_before_update(monkeypatch, GlimpseLearner, 6)
    with pytest.raises(OSError, match="the power is gone"):
        train(broken)
    train(broken)
    assert updates(broken.run) == updates(whole.run)
    assert trace(broken.run) == trace(whole.run)
    kept = Store(whole.run / "checkpoints").latest().folder
    if kind != "pretraining":
        assert int(load_tree(kept / "rank-0.safetensors")["replay"]["lengths"].sum()) > 0
