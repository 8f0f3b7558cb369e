"""The tools of the fault tests: they kill when they say, and see what the command does."""

import json
import signal

import pytest

from shared_core.testing.processes import Child, alive, kill_and_resume

TRAINER = '''
"""Counts to twenty, saving each number; `--resume` goes on from the last one."""
import json, os, sys, time
from pathlib import Path
from shared_core import faultpoints

run = Path(sys.argv[1])
run.mkdir(exist_ok=True)
kept = run / "kept.json"
with (run / "starts").open("a") as log:
    log.write(" ".join(sys.argv[2:]) + ";")
steps = json.loads(kept.read_text()) if "--resume" in sys.argv and kept.exists() else []
for step in range(len(steps), 20):
    steps.append(step)
    temporary = run / "temporary.json"
    temporary.write_text(json.dumps(steps))
    faultpoints.reach("before-rename")
    temporary.rename(kept)
    time.sleep(0.02)
if "--fail" in sys.argv:
    sys.exit("the disk is full")
'''


@pytest.fixture
def trainer(tmp_path):
    (tmp_path / "trainer.py").write_text(TRAINER)
    return ["python", tmp_path / "trainer.py", tmp_path / "run"], tmp_path / "run"


def test_a_killed_run_is_resumed_until_it_is_done(trainer):
    command, run = trainer
    moments = ["before-rename", "before-rename:3", (0.2, 0.3)]
    kills = kill_and_resume(command, run, moments, seed=3)
    assert kills >= 2
    assert json.loads((run / "kept.json").read_text()) == list(range(20))
    starts = (run / "starts").read_text().split(";")[:-1]
    assert starts == ["", *["--resume"] * kills]


def test_a_run_that_is_over_before_its_moment_is_not_killed(trainer):
    command, run = trainer
    assert kill_and_resume(command, run, ["never-reached", "before-rename"]) == 0


def test_another_failure_is_no_kill(trainer):
    command, run = trainer
    with pytest.raises(AssertionError, match="the disk is full"):
        kill_and_resume([*command, "--fail"], run, ["before-rename"])


def test_a_child_that_ends_too_early_says_what_it_printed():
    child = Child(["python", "-c", "print('nothing to do')"])
    with child, pytest.raises(AssertionError, match="nothing to do"):
        child.wait_for("ready")


def test_a_child_leaves_no_process_behind():
    sleep = "import time; print('asleep', flush=True); time.sleep(99)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {sleep!r}])"
    with Child(["python", "-c", code]) as child:
        child.wait_for("asleep")
        members = child.family()
        assert len(members) == 2
    assert not alive(members)
    assert child.process.returncode == -signal.SIGKILL
