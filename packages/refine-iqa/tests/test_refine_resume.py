"""The real command is killed, or asked to stop, and continued to the same bits.

The random policy writes what it draws; its rewards differ by the length of that. trl's files of a checkpoint
are written by transformers, which names no moments: there the kills at random come in.
"""

from __future__ import annotations

import signal

import pytest

from refine_iqa.config import TrainConfig
from shared_core.checkpoints.store import Store
from shared_core.config import dump_yaml
from shared_core.testing import kills
from shared_core.testing.processes import Child
from shared_core.testing.tiny_run import trace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

TIMED = ("trainer_state.json", "manifest.json")
CYCLE = 2
POINTS = (
    "before:progress.json:2",
    "after:manifest.json:2",
    "before-rename:2",
    "before-pointer:1",
    "evaluate:1",
    "loaded",
)


@pytest.fixture(scope="module")
def line(tiny_folders, pictures, tmp_path_factory):
    """The command: completions are used twice, a loader process, an evaluation each epoch."""
    folder = tmp_path_factory.mktemp("resume")
    for name, text in (("think", "{question} Think."), ("plain", "{question} Score.")):
        (folder / name).write_text(text)
    config = TrainConfig(
        model=str(tiny_folders["qwen2_5_vl"]),
        data=(pictures / "train.json",),
        eval_data=pictures / "train.json",
        run=folder / "run",
        rewards=("format", "overlong"),
        overlong_buffer=40,
        max_completion_length=48,
        max_pixels=6272,
        batch_size=2,
        num_generations=4,
        num_iterations=CYCLE,
        epochs=8,
        lr=1e-3,
        save_every=CYCLE,
        think_template=folder / "think",
        no_think_template=folder / "plain",
        trackers=(),
        threads=1,
        workers=1,
    )
    settings = folder / "settings.yaml"
    settings.write_text(dump_yaml(config))
    return ["python", "-m", "refine_iqa", "train", "--config", settings]


@pytest.fixture(scope="module")
def whole(line, tmp_path_factory):
    """What a run leaves that nothing interrupts."""
    run = tmp_path_factory.mktemp("whole") / "run"
    kills.finish([*line, "--run", run])
    left = trace(run, timed_files=TIMED)
    losses = [event["loss"] for event in left["events"] if event["kind"] == "train"]
    assert len(losses) == 64
    assert len(set(losses)) > 55
    return left


def test_acceptance_17_kills_at_named_and_random_moments_change_no_bit(
    line, whole, tmp_path, monkeypatch
):
    monkeypatch.setattr(kills, "RANDOM_KILLS", 2)
    killed = tmp_path / "killed"
    count = kills.kill_again_and_again(line, killed, most_updates=6, points=POINTS)
    assert count == len(POINTS) + 4
    assert trace(killed, timed_files=TIMED) == whole


def test_a_run_that_is_asked_to_stop_saves_and_is_continued_to_the_same_bits(line, whole, tmp_path):
    """It ends with the update in hand, and with the last one from the same completions."""
    run = tmp_path / "stopped"
    with Child([*line, "--run", run]) as child:
        child.wait_until(lambda: len(kills.updates(run)) >= 2 * CYCLE + 1, timeout=300)
        child.send(signal.SIGTERM)
        assert child.wait(120) == 128 + signal.SIGTERM, child.output
        assert "Continue with --resume" in child.output
    made = kills.updates(run)
    assert made[-1] % CYCLE == 0
    assert made[-1] < 64
    assert Store(run / "checkpoints").latest().step == made[-1]
    kills.finish([*line, "--run", run, "--resume"])
    assert trace(run, timed_files=TIMED) == whole
