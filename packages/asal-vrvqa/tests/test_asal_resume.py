"""Runs that are interrupted or killed inside a task, and continued to the same bits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asal_vrvqa.config import Replay
from asal_vrvqa.learner import StreamLearner, train
from asal_vrvqa.runs import read_run
from shared_core.config import dump_yaml
from shared_core.testing.faults import fails_before_update
from shared_core.testing.kills import finish, kill_again_and_again, killed_while_it_trains, updates
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


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_acceptance_done_5_a_kill_inside_the_third_task_changes_no_bit(tiny, tmp_path):
    """The real command, killed by the system between two of its checkpoints."""
    config = tiny(run=tmp_path / "run", epochs=20, save_every=7)
    settings = tmp_path / "settings.yaml"
    settings.write_text(dump_yaml(config))
    line = ["python", "-m", "asal_vrvqa", "train", "--config", settings]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish([*line, "--run", whole])
    steps = len(updates(whole))
    killed_while_it_trains([*line, "--run", killed], killed, 2 * steps // 3 + 4, 0.0)
    assert 2 * steps // 3 < len(updates(killed)) < steps
    finish([*line, "--run", killed, "--resume"])
    assert trace(killed) == trace(whole)
    assert read_run(killed).results == read_run(whole).results


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_acceptance_done_5_kills_at_named_and_random_moments_change_no_bit(tiny, tmp_path):
    """The real command, with loader processes; the kills fall into the first two tasks."""
    config = tiny(
        run=tmp_path / "run",
        epochs=34,
        save_every=5,
        workers=1,
        replay=Replay(buffer_size=6, minibatch=3),
    )
    settings = tmp_path / "settings.yaml"
    settings.write_text(dump_yaml(config))
    line = ["python", "-m", "asal_vrvqa", "train", "--config", settings]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish([*line, "--run", whole])
    assert kill_again_and_again(line, killed, most_updates=12) >= 20
    assert trace(killed) == trace(whole)
    assert read_run(killed).results == read_run(whole).results
