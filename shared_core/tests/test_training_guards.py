"""Stop signals, the folder's lock, the stall watch, and failures that all processes share."""

from __future__ import annotations

import os
import signal
import time

import pytest

from shared_core.errors import RunFolderError
from shared_core.lock import FolderLock
from shared_core.testing.processes import Child, run_ranks
from shared_core.training import guards
from shared_core.training.guards import (
    Signals,
    StallWatch,
    Stopped,
    StoppedElsewhere,
    first_alone,
)


def test_a_stop_signal_is_noted_and_the_old_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    signals = Signals()
    with signals.caught():
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_interrupt_ends_at_once_but_an_echo_of_the_first_does_not(monkeypatch):
    signals = Signals()
    with signals.caught():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # the launcher's copy of the same Ctrl-C
        assert signals.received == signal.SIGINT
        monkeypatch.setattr(guards, "_ONE_PRESS_S", 0.0)
        time.sleep(0.01)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_carries_the_shells_exit_status(number, status):
    assert Stopped(number, "stopped").exit_status == status


HOLD = """
import sys, time
from pathlib import Path
from shared_core.lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
lock.take()
print("held", flush=True)
time.sleep(600)
"""


def test_a_folder_has_one_run_and_a_killed_one_leaves_no_lock(tmp_path):
    path = tmp_path / "run.lock"
    with Child(["python", "-c", HOLD, path]) as other:
        other.wait_for("held")
        with pytest.raises(RunFolderError, match=f"process {other.process.pid}\\)"):
            FolderLock(path).take()
        other.kill_all()
    lock = FolderLock(path)
    lock.take()
    assert path.read_text() == f"{os.getpid()}\n"
    lock.drop()


STALL = """
import sys, time
from pathlib import Path
from shared_core.training.guards import StallWatch
watch = StallWatch(0.5, Path(sys.argv[1]))
def a_call_that_never_returns():
    time.sleep(600)
with watch.watching():
    for _ in range(8):
        time.sleep(0.1)
        watch.beat()
    with watch.paused():
        time.sleep(0.9)
    print("alive", flush=True)
    a_call_that_never_returns()
"""


def test_a_stalled_process_ends_with_status_1_and_says_where_it_stood(tmp_path):
    dump = tmp_path / "stalled-0.txt"
    with Child(["python", "-c", STALL, dump]) as child:
        assert child.wait() == 1
        assert "alive" in child.output
        assert "no progress for 0.5 s" in child.output
        assert "raise --stall-seconds" in child.output
        assert "a_call_that_never_returns" in child.output
    assert "a_call_that_never_returns" in dump.read_text()


def test_the_stall_watch_ends_with_its_block(tmp_path):
    with StallWatch(0.05, tmp_path / "dump").watching():
        pass
    time.sleep(0.2)
    assert not (tmp_path / "dump").exists()


def test_one_process_gets_its_own_result_or_error():
    assert first_alone(lambda: 3, is_first=True) == 3

    def refuse():
        raise RunFolderError("in use")

    with pytest.raises(RunFolderError, match="in use"):
        first_alone(refuse, is_first=True)


def agree() -> list[object]:
    """What a rank of two gets from a success and from a failure of process 0."""
    import torch.distributed as dist

    first = dist.get_rank() == 0
    told = first_alone(lambda: {"step": 3}, is_first=first)

    def refuse():
        raise RunFolderError("in use")

    try:
        first_alone(refuse, is_first=first)
    except (RunFolderError, StoppedElsewhere) as error:
        return [told, type(error).__name__, str(error), error.exit_status]
    return [told]


def test_all_processes_get_the_result_or_the_failure_of_the_first():
    assert run_ranks(agree) == [
        [{"step": 3}, "RunFolderError", "in use", 2],
        [{"step": 3}, "StoppedElsewhere", "in use", 2],
    ]
