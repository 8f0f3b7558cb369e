"""Runs that are interrupted, killed or signalled, and continued to the same bits."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest

from abaw_va.learner import VaLearner, train
from shared_core.checkpoints.store import Store
from shared_core.config import dump_yaml
from shared_core.testing.kills import finish, kill_again_and_again, seeded_draw, updates
from shared_core.testing.processes import Child, alive
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


# --- new processes --------------------------------------------------------------------------------

UPDATES = 800


@pytest.fixture
def command(tiny, tmp_path):
    """The command line of a run of so many updates: `command(1000, "--launch", "cpu-2")`."""

    def line(steps, *flags, **changes):
        config = tiny(
            "transformer-lstm",
            run=tmp_path / "run",
            dropout=0.3,
            epochs=1000,
            max_steps=steps,
            save_every=7,
            evaluate_every=10,
            **changes,
        )
        path = tmp_path / "settings.yaml"
        path.write_text(dump_yaml(config))
        return ["python", "-m", "abaw_va", "train", "--config", path, *flags]

    return line


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_acceptance_done_5_kills_at_named_and_random_moments_change_no_bit(command, tmp_path):
    line = command(UPDATES)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish([*line, "--run", whole])
    assert kill_again_and_again(line, killed) >= 20
    assert updates(killed) == [*range(1, UPDATES + 1)]
    assert trace(killed) == trace(whole)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_killed_process_of_two_ends_both_and_the_run_continues_to_the_same_bits(
    command, tmp_path
):
    seed, draw = seeded_draw()
    line = command(300, "--launch", "cpu-2")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish([*line, "--run", whole])
    resume = []
    for kill in range(3):
        goal, rank = 75 * kill + draw.randrange(10, 60), draw.randrange(2)
        print(f"seed={seed}: process {rank} dies after update {goal}")
        with Child([*line, "--run", killed, *resume]) as child:
            child.wait_until(lambda goal=goal: len(updates(killed)) >= goal, timeout=300)
            family = child.family()
            assert len(family) == 3
            family[1 + rank].kill()
            assert child.wait(30) == 128 + signal.SIGKILL
            assert not alive(family)
        resume = ["--resume"]
    finish([*line, "--run", killed, "--resume"])
    assert updates(killed) == [*range(1, 301)]
    assert trace(killed) == trace(whole)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("flags", [(), ("--launch", "cpu-2")], ids=["one process", "two"])
def test_a_terminated_command_saves_and_continues_to_the_same_bits(command, tmp_path, flags):
    line = command(200, *flags)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    finish([*line, "--run", whole])
    with Child([*line, "--run", stopped]) as child:
        child.wait_until(lambda: len(updates(stopped)) >= 20, timeout=300)
        child.send(signal.SIGTERM)
        assert child.wait(60) == 143
        assert "Continue with --resume" in child.output
    made = updates(stopped)
    assert len(made) < 200
    assert Store(stopped / "checkpoints").latest().step == made[-1]
    finish([*line, "--run", stopped, "--resume"])
    assert trace(stopped) == trace(whole)
