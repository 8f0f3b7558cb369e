"""Runs that are interrupted inside a task, and continued to the same bits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asal_vrvqa.learner import StreamLearner, train
from asal_vrvqa.runs import read_run
from shared_core.testing.faults import fails_before_update
from shared_core.testing.kills import updates
from shared_core.testing.tiny_run import trace

OFTEN = ("asal", "er", "si", "magr")
SELDOM = [pytest.param(n, marks=pytest.mark.slow) for n in ("derpp", "lwf", "ewc", "agem", "gdumb")]


@pytest.mark.parametrize("name", [*OFTEN, *SELDOM])
def test_acceptance_23_an_interrupted_stream_continues_to_the_same_bits(
    tiny, tmp_path, no_report, monkeypatch, name
):
    """Inside the third task (asal also at its border): losses, measures, memory, every file."""
    whole = tiny(run=tmp_path / "whole", strategy=name, save_every=2, epochs=1)
    train(whole)
    steps = len(updates(whole.run))
    begin = 2 * steps // 3 + 1
    for place in (begin, begin + 1) if name == "asal" else (begin + 1,):
        broken = replace(whole, run=tmp_path / f"broken-{place}", resume=True)
        fails_before_update(monkeypatch, StreamLearner, place)
        with pytest.raises(OSError, match="the power is gone"):
            train(broken)
        train(broken)
        assert updates(broken.run) == [*range(1, steps + 1)]
        assert trace(broken.run) == trace(whole.run)
        assert read_run(broken.run).results == read_run(whole.run).results
