"""Runs that are killed, signalled or stalled, and continued by a new process.

The fast tests start each process by fork, so that torch is imported once; the slow ones are commands.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
import traceback
from dataclasses import replace

import pytest

from shared_core.checkpoints.store import Store
from shared_core.errors import UserError
from shared_core.faultpoints import VARIABLE
from shared_core.reporting.events import read
from shared_core.testing.processes import Child
from shared_core.testing.tiny_config import TinyConfig
from shared_core.testing.tiny_run import trace, train

SAVING = (
    *(
        f"{moment}:{file}"
        for file in (
            "model.safetensors",
            "optimizer.safetensors",
            "learner.safetensors",
            "progress.json",
            "manifest.json",
        )
        for moment in ("before", "after")
    ),
    *("before-seal", "before-rename", "before-pointer", "after-pointer", "after-prune"),
)
STEPPING = ("loop:update", "loop:updated", "recorded", "evaluate", "evaluated", "judged")
LOADING = ("load", "load:optimizer", "load:learner", "loaded")


@pytest.fixture(scope="module", autouse=True)
def no_report():
    """Drawing a report takes longer than the run; `test_training_run` has one with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shared_core.training.folder.run_report", lambda folder: None)
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    return TinyConfig(
        run=folder / "whole",
        device="cpu",
        threads=1,
        accumulate=2,
        evaluate_every=4,
        save_every=2,
        keep_last=2,
    )


@pytest.fixture(scope="module")
def whole(config):
    """The trace of the run that nothing interrupts; it also warms up what the forks inherit."""
    train(config)
    return trace(config.run)


def in_a_fork(config, *, kill_at=None):
    """Run in a new process; its exit status, or minus the signal that killed it."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            if kill_at is not None:
                os.environ[VARIABLE] = kill_at
            train(config)
            status = 0
        except UserError as error:
            status = error.exit_status
        except BaseException:  # noqa: BLE001  the parent sees the status alone
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("occurrence", [1, 3])
@pytest.mark.parametrize("point", [*SAVING, *STEPPING])
def test_a_run_killed_at_any_point_continues_to_the_same_bits(
    config, whole, tmp_path, point, occurrence
):
    killed = replace(config, run=tmp_path / "run")
    assert in_a_fork(killed, kill_at=f"{point}:{occurrence}") == -signal.SIGKILL
    assert in_a_fork(replace(killed, resume=True)) == 0
    assert trace(killed.run) == whole


@pytest.mark.parametrize("point", [*LOADING, "export"])
def test_a_run_killed_while_it_loads_or_ends_continues_to_the_same_bits(
    config, whole, tmp_path, point
):
    killed = replace(config, run=tmp_path / "run", resume=True)
    assert in_a_fork(killed, kill_at="recorded:7") == -signal.SIGKILL
    assert in_a_fork(killed, kill_at=point) == -signal.SIGKILL
    assert in_a_fork(killed) == 0
    assert trace(killed.run) == whole


def test_a_run_killed_again_and_again_gets_there(config, whole, tmp_path):
    killed = replace(config, run=tmp_path / "run", resume=True)
    kills = 0
    while in_a_fork(killed, kill_at="recorded:3") == -signal.SIGKILL:
        kills += 1
    assert kills == 5  # each start makes 2 updates that last: 12 in 6 starts
    assert trace(killed.run) == whole


def test_a_kill_before_the_first_checkpoint_begins_again(config, whole, tmp_path):
    killed = replace(config, run=tmp_path / "run", resume=True)
    assert in_a_fork(killed, kill_at="before:model.safetensors:1") == -signal.SIGKILL
    assert Store(killed.run / "checkpoints").latest() is None
    assert [e["step"] for e in read(killed.run) if e["kind"] == "train"] == [1, 2]
    assert in_a_fork(killed) == 0
    assert trace(killed.run) == whole


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_signal_saves_and_ends_and_the_run_continues_to_the_same_bits(
    config, whole, tmp_path, number, status
):
    slow = replace(config, run=tmp_path / "run", pause=0.05)
    child = os.fork()
    if child == 0:
        try:
            train(slow)
        except UserError as error:
            os._exit(error.exit_status)
        os._exit(70)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not _updates(slow) >= 3:
        time.sleep(0.005)
    os.kill(child, number)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == status
    stopped_at = _updates(slow)
    assert 3 <= stopped_at < 12
    assert Store(slow.run / "checkpoints").latest().step == stopped_at
    assert not (slow.run / "summary.json").exists()
    assert in_a_fork(replace(slow, pause=0.0, resume=True)) == 0
    assert trace(slow.run)["events"] == whole["events"]
    assert trace(slow.run)["model"] == whole["model"]


def _updates(config):
    try:
        return sum(event["kind"] == "train" for event in read(config.run))
    except UserError:
        return 0


def test_of_two_runs_in_one_folder_exactly_one_wins(config, tmp_path):
    shared = replace(config, run=tmp_path / "run", resume=True, pause=0.05)
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            try:
                train(shared)
            except UserError as error:
                os._exit(error.exit_status)
            os._exit(0)
        children.append(child)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert sorted(statuses) == [0, 2, 2, 2]
    assert _updates(shared) == 12


@pytest.mark.slow
def test_the_number_of_workers_changes_no_bit(config, whole, tmp_path):
    with_workers = replace(config, run=tmp_path / "run", workers=2)
    assert in_a_fork(with_workers, kill_at="recorded:5") == -signal.SIGKILL
    assert in_a_fork(replace(with_workers, workers=1, resume=True)) == 0
    assert trace(with_workers.run) == whole


def test_a_stalled_update_ends_the_run_which_can_be_continued(config, whole, tmp_path):
    stalls = replace(config, run=tmp_path / "run", stall_at=6, stall_seconds=2.0)
    assert in_a_fork(stalls) == 1
    dump = (stalls.run / "stalled-0.txt").read_text()
    assert "no progress for 2 s" in dump
    assert "tiny_run.py" in dump
    assert in_a_fork(replace(stalls, stall_at=None, stall_seconds=60.0, resume=True)) == 0
    assert trace(stalls.run) == whole


COMMAND = ("python", "-m", "shared_core.testing.tiny_run", "train")
FLAGS = ("--device", "cpu", "--threads", "1", "--accumulate", "2", "--evaluate-every", "4")


NAMED = (
    *("recorded", "load", "load:optimizer", "evaluate", "judged"),
    *("before:model.safetensors", "after:optimizer.safetensors", "before:manifest.json"),
    *("before-rename", "before-pointer"),
)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_acceptance_done_5_twenty_kills_of_the_command_change_no_bit(tmp_path):
    seed = int(os.environ.get("KILL_SEED", random.SystemRandom().randrange(10**6)))
    print(f"KILL_SEED={seed}")
    draw = random.Random(seed)
    command = (*COMMAND, *FLAGS, "--epochs", "150", "--save-every", "3", "--pause", "0.02")
    with Child([*command, "--run", tmp_path / "whole"]) as child:
        assert child.wait(600) == 0, child.output
    resumed = [*command, "--run", tmp_path / "run", "--resume"]
    for point in NAMED:
        with Child(resumed, environment={VARIABLE: point}) as child:
            assert child.wait(300) == -signal.SIGKILL, child.output
        with Child(resumed) as child:
            # of update 4 at the earliest, after the checkpoint of 3, without which `load` is not reached
            child.wait_for("after update", timeout=300)
            time.sleep(draw.uniform(0.0, 0.8))
            assert child.process.poll() is None, "it was over before the kill"
            child.kill_all()
    with Child(resumed) as child:
        assert child.wait(600) == 0, child.output
    assert trace(tmp_path / "run") == trace(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_command_in_two_processes_stops_with_its_status_and_resumes(tmp_path, number, status):
    two = (*COMMAND, *FLAGS, "--launch", "cpu-2", "--save-every", "3")
    whole, run = tmp_path / "whole", tmp_path / "run"
    with Child([*two, "--run", whole]) as child:
        assert child.wait(300) == 0, child.output
    with Child([*two, "--run", run, "--pause", "0.1"]) as child:
        child.wait_until(lambda: _updates(TinyConfig(run=run)) >= 4, timeout=200)
        child.send(number)
        assert child.wait(60) == status
        assert "Continue with --resume" in child.output
    alone = shutil.copytree(run, tmp_path / "alone")
    with Child([*COMMAND, *FLAGS, "--save-every", "3", "--run", alone, "--resume"]) as child:
        assert child.wait(300) == 0, child.output
    told = [event["text"] for event in read(alone) if event["kind"] == "note"]
    assert any("in 1 process(es) instead of 2" in text for text in told)
    with Child([*two, "--run", run, "--resume"]) as child:
        assert child.wait(300) == 0, child.output
    assert trace(run) == trace(whole)
