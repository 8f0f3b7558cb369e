"""The parent of the ranks: what it tells them, how it hands on signals, how it ends them."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared_core.errors import LaunchError
from shared_core.launch import ranks
from shared_core.testing.processes import Child, alive

PARENT = """
import sys
from shared_core.launch import ranks
from shared_core.errors import UserError
count, grace, *arguments = sys.argv[1:]
sys.exit(ranks.start("ranked", arguments, preset=None, processes=int(count), grace=float(grace)))
"""

RANKED = '''
"""What the ranks of these tests do, without torch: the first argument says it."""
import os, signal, sys, time
from pathlib import Path

rank, what = os.environ["RANK"], sys.argv[1]

def stop(number, frame):
    if what == "stubborn":
        return
    time.sleep(0.3)  # writing a checkpoint
    Path(f"saved-{rank}").write_text(str(number))
    sys.exit(128 + number)

signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
print(f"hello from {rank}", flush=True)
Path(f"ready-{rank}").write_text(str(os.getpid()))
if what == "environment":
    import json
    Path(f"environment-{rank}").write_text(json.dumps([sys.argv, dict(os.environ)]))
elif what == "fail":
    if rank == "1":
        sys.exit("rank 1 found a bad row")
    time.sleep(600)
elif what == "all-fail":
    sys.exit(2)
else:
    time.sleep(600)
'''


@dataclass(frozen=True, kw_only=True)
class Asked:
    launch: str | None = None
    processes: int | None = None


@pytest.fixture
def family(tmp_path):
    """Starts a parent of ranks; call it with what the ranks shall do."""
    (tmp_path / "ranked.py").write_text(RANKED)

    def start(*what: str, count: int = 2, grace: float = 10.0, **environment: str) -> Child:
        command = ["python", "-c", PARENT, str(count), str(grace), *what]
        return Child(command, folder=tmp_path, environment=environment)

    return start


def until_ready(child: Child, folder: Path, count: int = 2) -> None:
    child.wait_until(lambda: all((folder / f"ready-{rank}").exists() for rank in range(count)))


def test_a_rank_knows_its_place(family, tmp_path):
    with family("environment", "--flag", "a b", OMP_NUM_THREADS="") as child:
        assert child.wait() == 0
    told = [json.loads((tmp_path / f"environment-{rank}").read_text()) for rank in range(2)]
    for rank, (argv, environment) in enumerate(told):
        assert argv[1:] == ["environment", "--flag", "a b"]
        assert environment["RANK"] == environment["LOCAL_RANK"] == str(rank)
        assert environment["WORLD_SIZE"] == environment["LOCAL_WORLD_SIZE"] == "2"
        assert environment["MASTER_ADDR"] == "127.0.0.1"
        assert environment[ranks.PROCESSES] == "2"
        assert int(environment["OMP_NUM_THREADS"]) == max(1, ranks.cores() // 2)
    assert told[0][1]["MASTER_PORT"] == told[1][1]["MASTER_PORT"]


def test_only_rank_0_speaks_when_all_goes_well(family):
    with family("environment") as child:
        child.wait()
        assert "hello from 0" in child.output
        assert "hello from 1" not in child.output


def test_a_rank_that_fails_ends_all_and_is_heard(family):
    with family("fail") as child:
        assert child.wait() == 1
        assert "rank 1 of 2 ended with status 1" in child.output
        assert "rank 1 found a bad row" in child.output


def test_an_error_that_all_ranks_agree_on_is_told_once(family):
    with family("all-fail") as child:
        assert child.wait() == 2
        assert "hello from 1" not in child.output


def test_a_killed_rank_ends_all_within_seconds(family, tmp_path):
    with family("sleep") as child:
        until_ready(child, tmp_path)
        members = child.family()
        killed = time.monotonic()
        os.kill(int((tmp_path / "ready-1").read_text()), signal.SIGKILL)
        assert child.wait() == 128 + signal.SIGKILL
        assert time.monotonic() - killed < 8
        assert "rank 1 of 2 was killed by SIGKILL" in child.output
        assert not alive(members)


def test_a_rank_that_ignores_sigterm_is_killed_after_the_grace(family, tmp_path):
    with family("stubborn", grace=0.5) as child:
        until_ready(child, tmp_path)
        members = child.family()
        os.kill(int((tmp_path / "ready-0").read_text()), signal.SIGKILL)
        assert child.wait() == 128 + signal.SIGKILL
        assert not alive(members)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_is_handed_on_once_and_waits_for_the_checkpoint(family, tmp_path, number):
    with family("sleep") as child:
        until_ready(child, tmp_path)
        members = child.family()
        child.send(number)
        assert child.wait() == 128 + number
        assert not alive(members)
    assert [(tmp_path / f"saved-{rank}").read_text() for rank in range(2)] == [str(int(number))] * 2


def test_a_second_ctrl_c_ends_at_once(family, tmp_path):
    with family("stubborn") as child:
        until_ready(child, tmp_path)
        members = child.family()
        child.send(signal.SIGINT)
        child.wait_for("once more to stop at once")
        child.send(signal.SIGINT)
        assert child.wait() == 130
        assert not alive(members)


@pytest.mark.parametrize("what", ["sleep", "stubborn"])
def test_a_killed_parent_leaves_no_orphans(family, tmp_path, what):
    with family(what, grace=2.0) as child:
        until_ready(child, tmp_path)
        members = child.family()
        assert len(members) == 3
        child.send(signal.SIGKILL)
        child.wait()
        deadline = time.monotonic() + 15
        while alive(members) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not alive(members)
    saved = [(tmp_path / f"saved-{rank}").exists() for rank in range(2)]
    assert saved == [what == "sleep"] * 2  # they had the time to save a checkpoint


@pytest.mark.parametrize(
    ("launch", "processes", "needed"),
    [
        (None, None, False),
        (None, 1, False),
        (None, 2, True),
        ("cpu", None, False),
        ("cpu-2", None, True),
        ("gpu", None, False),
        ("ddp", None, True),
        ("ddp", 1, False),
        ("zero2", 1, True),
        ("fsdp2", 1, True),
        ("multi-node", None, True),
    ],
)
def test_ranks_are_needed_for_more_than_one_process_or_for_sharding(
    monkeypatch, launch, processes, needed
):
    for name in ("RANK", "WORLD_SIZE", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    asked = Asked(launch=launch, processes=processes)
    assert ranks.needs_ranks(asked) is needed
    with monkeypatch.context() as inside:
        inside.setenv("RANK", "0")
        inside.setenv("WORLD_SIZE", "2")
        assert not ranks.needs_ranks(asked)
    with monkeypatch.context() as inside:
        inside.setenv("ACCELERATE_MIXED_PRECISION", "no")
        assert not ranks.needs_ranks(asked)


def test_several_machines_are_started_by_accelerate():
    with pytest.raises(LaunchError, match=r"accelerate launch --config_file .*multi-node\.yaml"):
        ranks.start("nothing", [], preset="multi-node", processes=4)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the port is let go before")
def test_the_port_is_kept_for_the_ranks():
    with ranks._free_port() as port:
        with socket.socket() as other, pytest.raises(OSError) as refused:
            other.bind(("127.0.0.1", port))
        assert refused.value.errno == errno.EADDRINUSE
        with socket.socket() as store:  # as torch's store does
            store.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            store.bind(("127.0.0.1", port))
            store.listen()


def test_the_parent_imports_no_torch():
    modules = "shared_core.launch.ranks, shared_core.launch.config, shared_core.launch.rank"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules or 'accelerate' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
