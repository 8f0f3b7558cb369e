"""The supervisor: when it restarts and when not, how it waits, and whom it never touches."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from shared_core import commands
from shared_core.commands import Verb
from shared_core.errors import ConfigError
from shared_core.launch.config import SuperviseConfig
from shared_core.launch.supervise import back_off, newest_step, supervise
from shared_core.testing import tiny_run
from shared_core.testing.processes import Child, alive
from shared_core.testing.tiny_config import TinyConfig

TRAINER = '''
"""Does what the file `plan` says of this start: words, one after the other."""
import json, os, signal, subprocess, sys, time
from pathlib import Path
from shared_core.lock import LOCK_FILE, FolderLock

run = Path(sys.argv[sys.argv.index("--run") + 1])
run.mkdir(exist_ok=True)
log = Path("starts")
start = len(log.read_text().splitlines()) if log.exists() else 0
with log.open("a") as file:
    file.write(json.dumps([os.getpid(), time.time(), sys.argv[1:]]) + "\\n")

def handed_on(number, frame):
    Path("saved").write_text(str(number))
    if "stubborn" not in plan:
        sys.exit(128 + number)

plan = json.loads(Path("plan").read_text())[start].split()
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, handed_on)

for word in plan:
    name, _, value = word.partition(":")
    if name == "claim":
        (run / "fingerprint.json").write_text("{}")
    elif name == "save":
        (run / "checkpoints" / f"step-{int(value):08}").mkdir(parents=True, exist_ok=True)
    elif name == "beat":
        for beat in range(int(value)):
            with (run / "events.jsonl").open("a") as events:
                events.write("{}\\n")
            time.sleep(0.1)
    elif name == "worker":
        worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path("worker").write_text(str(worker.pid))
    elif name == "rank":  # in a session of its own, and still saving
        hold = f"""
import sys, time
from pathlib import Path
from shared_core.lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
lock.take()
print("held", flush=True)
time.sleep({value})"""
        words = [sys.executable, "-c", hold, str(run / LOCK_FILE)]
        subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True).stdout.readline()
    elif name == "lock":
        FolderLock(run / LOCK_FILE).take()
    elif name == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif name == "exit":
        sys.exit(int(value))
    elif name in ("sleep", "stubborn"):
        Path(f"ready-{start}").touch()
        while True:
            time.sleep(600)
'''
QUICK = SuperviseConfig(max_restarts=2, back_off=0.0)
WORDS = ["train", "--run", "run"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder of a trainer; commands that the test starts run there."""
    (tmp_path / "trainer.py").write_text(TRAINER)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan(*starts: str) -> None:
    Path("plan").write_text(json.dumps(starts))


def starts() -> list[SimpleNamespace]:
    """What was started: its process, when, and with which words."""
    rows = [json.loads(line) for line in Path("starts").read_text().splitlines()]
    return [SimpleNamespace(pid=pid, time=at, words=words) for pid, at, words in rows]


def supervised(settings: SuperviseConfig = QUICK, grace: float = 5.0) -> int:
    return supervise("trainer", WORDS, run=Path("run"), settings=settings, grace=grace)


def in_a_process(settings: SuperviseConfig = QUICK, grace: float = 5.0) -> Child:
    """A supervisor that the test can signal."""
    code = (
        "import sys; from pathlib import Path; from shared_core.launch.supervise import supervise\n"
        "from shared_core.launch.config import SuperviseConfig\n"
        f"settings = {settings!r}\n"
        f"sys.exit(supervise('trainer', {WORDS}, run=Path('run'), settings=settings, grace={grace}))"
    )
    return Child(["python", "-c", code])


def gone(pid: int, seconds: float = 5.0) -> bool:
    """Whether a process ends in time; one that nobody waits for stays as a zombie."""
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return True
    deadline = time.monotonic() + seconds
    while alive([process]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive([process])


# --- when it restarts -----------------------------------------------------------------------------


def test_acceptance_25_a_command_that_ends_with_0_is_done(place):
    plan("exit:0")
    assert supervised() == 0
    assert len(starts()) == 1


def test_acceptance_25_three_failures_are_backed_off_and_then_given_up(place, capfd):
    plan("exit:1", "exit:1", "exit:1", "exit:0")
    assert supervised(SuperviseConfig(max_restarts=2, back_off=0.5)) == 1
    times = [start.time for start in starts()]
    assert len(times) == 3
    for pause, (before, after) in zip((0.5, 1.0), pairwise(times), strict=True):
        assert pause < after - before < pause + 5
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 3
    assert "ended with 1 after 0 s; restart 1 of 2 in 0.5 s, from the start." in said[0]
    assert "restart 2 of 2 in 1 s" in said[1]
    assert "given up" in said[2]


def test_acceptance_25_only_its_own_child_is_killed(place):
    plan("sleep", "sleep", "exit:0")
    with Child(["python", "-m", "trainer", *WORDS]) as stranger:  # the same line, not its child
        stranger.wait_until(Path("ready-0").exists)
        hasty = SuperviseConfig(max_restarts=2, back_off=0.0, hang_seconds=1.0)
        assert supervised(hasty) == 0
        _, hung, _ = starts()
        assert gone(hung.pid)
        assert stranger.process.poll() is None


def test_a_killed_command_is_started_anew(place, capfd):
    plan("die", "exit:0")
    assert supervised() == 0
    assert len(starts()) == 2
    assert "was killed by SIGKILL" in capfd.readouterr().err


def test_a_mistake_in_the_settings_is_not_tried_again(place):
    plan("exit:2", "exit:0")
    assert supervised() == 2
    assert len(starts()) == 1


def test_the_status_is_that_of_the_last_failure(place):
    plan("exit:1", "exit:7")
    assert supervised(SuperviseConfig(max_restarts=1, back_off=0.0)) == 7
    plan("exit:7", "exit:7", "die")
    assert supervised(SuperviseConfig(max_restarts=0)) == 128 + signal.SIGKILL


def test_a_new_checkpoint_gives_new_patience_and_an_old_one_does_not(place):
    plan("exit:1", "exit:1", "save:8 exit:1", "exit:1", "save:16 exit:1", "exit:0")
    assert supervised() == 0
    Path("starts").unlink()
    plan("save:8 exit:1", "save:16 exit:1", "save:12 exit:1", "exit:0")  # 16 was there before
    assert supervised() == 1
    assert len(starts()) == 3


def test_it_resumes_what_the_folder_holds(place):
    plan("exit:1", "claim exit:1", "exit:1", "exit:0")
    assert supervised(SuperviseConfig(max_restarts=9, back_off=0.0)) == 0
    assert [start.words for start in starts()] == [*[WORDS] * 2, *[[*WORDS, "--resume"]] * 2]


def test_resume_is_not_said_twice(place):
    plan("claim exit:1", "exit:0")
    words = [*WORDS, "--resume"]
    assert supervise("trainer", words, run=Path("run"), settings=QUICK) == 0
    assert [start.words for start in starts()] == [words] * 2


def test_pauses_double_up_to_the_longest():
    settings = SuperviseConfig(back_off=5, longest_back_off=60)
    assert [back_off(n, settings) for n in (1, 2, 3, 4, 5, 9)] == [5, 10, 20, 40, 60, 60]
    assert back_off(10**6, settings) == 60


@pytest.mark.parametrize(
    ("names", "step"),
    [
        ([], -1),
        (["step-00000008", "step-00000120", "latest.json"], 120),
        (["checkpoint-8", "checkpoint-24"], 24),
        (["step-00000008", ".step-00000016.writing"], 8),
    ],
)
def test_the_newest_checkpoint_is_one_that_is_whole(tmp_path, names, step):
    assert newest_step(tmp_path) == -1
    for name in names:
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert newest_step(tmp_path) == step


# --- hanging, and what is left behind -------------------------------------------------------------


def test_a_command_that_hangs_is_ended_and_started_anew(place, capfd):
    plan("sleep", "stubborn", "exit:0")
    settings = SuperviseConfig(max_restarts=2, back_off=0.0, hang_seconds=1.0)
    assert supervised(settings, grace=0.5) == 0
    assert Path("saved").read_text() == str(int(signal.SIGTERM))  # it was asked first
    said = capfd.readouterr().err
    assert "the command hung and ended with 143" in said
    assert "the command hung and was killed by SIGKILL" in said


def test_a_command_that_makes_progress_does_not_hang(place):
    plan("beat:30 save:1 exit:0")
    assert supervised(SuperviseConfig(max_restarts=0, hang_seconds=1.5)) == 0
    assert len(starts()) == 1


def test_what_a_dead_command_left_behind_is_killed(place):
    plan("worker die", "sleep")
    with in_a_process() as supervisor:
        supervisor.wait_until(Path("ready-1").exists)
        assert gone(int(Path("worker").read_text()))


def test_a_restart_waits_for_ranks_that_still_save(place):
    plan("rank:1.5 die", "lock exit:0")
    assert supervised() == 0  # a folder in use would have ended it with 2
    first, second = starts()
    assert second.time - first.time > 1.5


# --- how it ends ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_is_handed_on_and_nothing_is_restarted(place, number):
    plan("sleep", "exit:0")
    with in_a_process() as supervisor:
        supervisor.wait_until(Path("ready-0").exists)
        supervisor.send(number)
        assert supervisor.wait() == 128 + number
    assert Path("saved").read_text() == str(int(number))
    assert len(starts()) == 1


def test_a_second_stop_signal_kills(place):
    plan("stubborn")
    with in_a_process() as supervisor:
        supervisor.wait_until(Path("ready-0").exists)
        supervisor.send(signal.SIGTERM)
        supervisor.wait_for("once more to stop at once")
        supervisor.send(signal.SIGTERM)
        assert supervisor.wait() == 128 + signal.SIGTERM
    assert gone(starts()[0].pid)


def test_a_stop_signal_ends_a_pause(place):
    plan("exit:1", "exit:0")
    with in_a_process(SuperviseConfig(back_off=300)) as supervisor:
        supervisor.wait_for("restart 1 of 10 in 300 s")
        supervisor.send(signal.SIGTERM)
        assert supervisor.wait(10) == 128 + signal.SIGTERM
    assert len(starts()) == 1


@pytest.mark.parametrize("what", ["sleep", "stubborn"])
def test_a_killed_supervisor_takes_its_command_along(place, what):
    plan(what)
    with in_a_process(grace=1.0) as supervisor:
        supervisor.wait_until(Path("ready-0").exists)
        supervisor.send(signal.SIGKILL)
        supervisor.wait()
        assert gone(starts()[0].pid)
    assert Path("saved").exists()  # it had the time to save a checkpoint


def test_a_killed_run_goes_on_to_the_same_end(tmp_path):
    line = ["python", "-m", "shared_core.testing.tiny_run", "supervise", "--back-off", "0", "--"]
    settings = ["--epochs", "1", "--save-every", "1", "--threads", "1", "--device", "cpu"]
    run, alone = tmp_path / "run", tmp_path / "alone"
    words = ["train", "--run", run, *settings, "--pause", "0.4"]
    with Child([*line, *words]) as supervisor:
        supervisor.wait_until(lambda: newest_step(run) >= 1)
        _, trainer, *_ = supervisor.family()
        trainer.kill()
        assert supervisor.wait() == 0, supervisor.output
        assert "killed by SIGKILL" in supervisor.output
    tiny_run.train(TinyConfig(run=alone, epochs=1, save_every=1, threads=1, device="cpu"))
    assert tiny_run.trace(run) == tiny_run.trace(alone)


# --- the line -------------------------------------------------------------------------------------

HERE = "supervised_verbs"


@dataclass(frozen=True, kw_only=True)
class Train:
    """A training command."""

    run: Path = Path("runs/run")
    """Folder."""
    epochs: int = 1
    """Passes."""
    launch: str | None = None
    """A preset."""
    processes: int | None = None
    """How many."""

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError("epochs", self.epochs, "1 or more")


@pytest.fixture
def program(monkeypatch):
    """A program with a training command, as a function of its words, and what it supervised."""
    seen = []

    def note(module, words, *, run, settings):
        seen.append((module, words, run, settings))
        return 9

    module = SimpleNamespace(__doc__="Does things.", Train=Train)
    monkeypatch.setitem(sys.modules, HERE, module)
    monkeypatch.setattr("shared_core.launch.supervise.supervise", note)
    monkeypatch.setattr("shared_core.config.presets._files", lambda package: {})
    verbs = [
        Verb("train", f"{HERE}:Train", f"{HERE}:train", "Train.", launch=True),
        Verb("predict", f"{HERE}:Train", f"{HERE}:predict", "Predict."),
    ]
    return SimpleNamespace(run=lambda *words: commands.main("tool", HERE, verbs, words), seen=seen)


def test_the_line_of_the_command_follows_two_hyphens(program):
    words = ["train", "--run", "runs/night", "--epochs", "3"]
    assert program.run("supervise", "--max-restarts", "3", "--", *words) == 9
    assert program.seen == [(HERE, words, Path("runs/night"), SuperviseConfig(max_restarts=3))]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected a training command after --, found nothing.\nSuch as: tool supervise -- tr"),
        (["train"], "expected a training command after --, found nothing."),
        (["--", "predict"], "expected a training command after --, found predict."),
        (["--", "trian"], "expected a training command after --, found trian."),
        (["--", "train", "--epochs", "0"], "epochs: expected 1 or more, found 0."),
        (["--", "train", "--epohcs", "3"], "did you mean '--epochs'?"),
        (["--back-off", "-1", "--", "train"], "back_off: expected 0 or more seconds"),
        (["--max-restarts", "-1", "--", "train"], "max_restarts: expected 0 or more"),
        (["--longest-back-off", "1", "--", "train"], "expected at least back_off (5)"),
        (["--hang-seconds", "0", "--", "train"], "hang_seconds: expected a number above 0"),
    ],
)
def test_a_mistake_in_either_line_is_found_before_anything_starts(program, capsys, words, message):
    assert program.run("supervise", *words) == 2
    assert message in capsys.readouterr().err
    assert program.seen == []


def test_help_shows_the_settings_and_the_two_hyphens(program, capsys):
    assert program.run("supervise", "--help") == 0
    page = capsys.readouterr().out
    assert "--max-restarts" in page
    assert "-- train" in page


def test_the_supervisor_imports_no_torch():
    code = "import sys, shared_core.launch.supervise; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
