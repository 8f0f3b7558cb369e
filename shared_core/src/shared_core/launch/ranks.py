"""Starts the processes ("ranks") of a run on this machine, and ends them together.

`start` is the parent of the ranks. It imports no torch, so that the ranks start at once. It
connects nothing: each rank finds the others through its environment (see `Ranks`), and
`shared_core.launch.accelerator` connects them.

- Ctrl-C and SIGTERM are handed on once; the ranks save a checkpoint and end. A second one ends
  them at once.
- A rank that fails ends all: the others get SIGTERM, and SIGKILL after a grace.
- A parent that is killed takes its ranks along (see `shared_core.launch.rank`).
- Rank 0 speaks; what the others print is shown only when one of them is the reason of the end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType, TracebackType
from typing import IO

from shared_core.errors import LaunchError
from shared_core.launch.presets import (
    Asked,
    Preset,
    preset_asked,
    preset_path,
    processes_asked,
)

PRESET = "SHARED_CORE_PRESET"
"""Environment variable of a rank: the preset it belongs to (absent without a preset)."""
PROCESSES = "SHARED_CORE_PROCESSES"
"""Environment variable of a rank: how many processes were started."""

GRACE_SECONDS = 10.0
"""Between SIGTERM and SIGKILL."""
SETTLE_SECONDS = 1.0
"""After a rank failed: an error that all ranks agree on ends the others without a signal."""
POLL_SECONDS = 0.02
TAIL_LINES = 40


def inside_a_rank() -> bool:
    """Whether `start`, torchrun or `accelerate launch` started this process as one of several."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def inside_accelerate_launch() -> bool:
    """Whether `accelerate launch` started this process, be it alone or as a rank."""
    return "ACCELERATE_MIXED_PRECISION" in os.environ


def needs_ranks(settings: Asked) -> bool:
    """Whether a command must start ranks to do what its settings ask for.

    It must for more than one process, and for any sharding (DeepSpeed and FSDP need a rank's
    environment even alone). It must not where somebody else has started the processes.

    Raises:
        LaunchError: an unknown preset, or a preset for another number of processes.
    """
    preset = preset_asked(settings)
    count = processes_asked(preset, settings.processes)
    if inside_a_rank() or inside_accelerate_launch():
        return False
    if preset and (preset.sharding != "none" or count is None):
        return True
    return (count or 1) > 1


def start(
    module: str,
    argv: Sequence[str],
    *,
    preset: str | None = None,
    processes: int | None = None,
    grace: float = GRACE_SECONDS,
) -> int:
    """Run `python -m module argv...` in connected processes and wait for their end.

    Args:
        module: such as "abaw_va".
        argv: its arguments, the same for every rank.
        preset: name of a shipped preset; None: processes on what is there (GPUs, else the CPU).
        processes: how many; None: as the preset says, or one for each GPU.
        grace: seconds between SIGTERM and SIGKILL for a rank that does not end.

    Returns:
        The exit status: 0; that of the first rank that failed (128 + signal for a killed one);
        130 after Ctrl-C and 143 after SIGTERM, once the ranks have ended in order.

    Raises:
        LaunchError: the preset is unknown, is for several machines, or the number is unclear.
    """
    chosen = None if preset is None else Preset.named(preset)
    count = _processes(chosen, processes)
    with (
        stop_signals() as received,
        Ranks(module, argv, preset=preset, processes=count, grace=grace) as ranks,
    ):
        return ranks.wait(received)


class Ranks:
    """The processes of one run; a context manager that leaves none behind.

    Each gets RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT, the
    preset's name and the count, and a share of the cores as OMP_NUM_THREADS where that is not set.
    Each is a session of its own, so that a terminal's Ctrl-C reaches the parent alone.
    """

    def __init__(
        self,
        module: str,
        argv: Sequence[str],
        *,
        processes: int,
        preset: str | None = None,
        grace: float = GRACE_SECONDS,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command = (module, *argv)
        self._grace = grace
        self._environment = {**os.environ, **(environment or {})}
        self._preset = preset
        self._count = processes
        self._ranks: list[subprocess.Popen[bytes]] = []
        self._outputs: list[IO[bytes]] = []
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> Ranks:
        read, write = os.pipe()
        self._resources.callback(os.close, write)
        port = self._resources.enter_context(_free_port())
        try:
            for rank in range(self._count):
                self._start(rank, read, port)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        finally:
            os.close(read)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        for process in self._ranks:
            process.wait()
        self._resources.close()

    def wait(self, received: Sequence[int] = (), timeout: float | None = None) -> int:
        """Wait for the end of all ranks; see `start` for the status that is returned.

        Args:
            received: signal numbers, filled by the caller's handlers while this waits.
            timeout: seconds, after which the ranks are killed.

        Raises:
            TimeoutError: they took longer than `timeout`.
        """
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        handed_on = False
        while self._running() and not self._failed(received):
            if received and not handed_on:
                handed_on = True
                say("stopping after the next checkpoint; once more to stop at once.")
                self.send(received[0])
            if len(received) > 1:
                self.kill()
                return 128 + received[0]
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"the ranks did not end within {timeout:g} s")
            time.sleep(POLL_SECONDS)
        if failed := self._failed(received):
            self._end_all()
            return self._explain(failed[0])
        return 128 + received[0] if received else 0

    def send(self, number: int) -> None:
        """Send a signal to every rank that runs."""
        for process in self._running():
            process.send_signal(number)

    def kill(self) -> None:
        """Kill every rank that runs, with what it started."""
        for process in self._running():
            os.killpg(process.pid, signal.SIGKILL)

    def output(self, rank: int) -> str:
        """What a rank other than 0 printed."""
        stream = self._outputs[rank]
        stream.seek(0)
        return stream.read().decode(errors="replace")

    def _start(self, rank: int, lifeline: int, port: int) -> None:
        quiet = self._resources.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        self._outputs.append(quiet)
        speaks = None if rank == 0 else quiet
        self._ranks.append(
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "shared_core.launch.rank"),
                    *(str(lifeline), str(self._grace), *self._command),
                ],
                env=self._environment | _rank_environment(rank, self._count, port, self._preset),
                stdin=subprocess.DEVNULL,
                stdout=speaks,
                stderr=speaks,
                pass_fds=(lifeline,),
                start_new_session=True,
            )
        )

    def _running(self) -> list[subprocess.Popen[bytes]]:
        return [process for process in self._ranks if process.poll() is None]

    def _failed(self, received: Sequence[int]) -> list[int]:
        """Ranks that ended out of order; those that were killed come first, as the cause."""
        in_order = {None, 0, *(128 + number for number in received)}
        codes = [process.poll() for process in self._ranks]
        failed = [rank for rank, code in enumerate(codes) if code not in in_order]
        return sorted(failed, key=lambda rank: (codes[rank] or 0) > 0)

    def _end_all(self) -> None:
        if not self._ended_within(SETTLE_SECONDS):
            self.send(signal.SIGTERM)
        if not self._ended_within(self._grace):
            self.kill()

    def _ended_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self._running() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return not self._running()

    def _explain(self, rank: int) -> int:
        """Say which rank ended the run, where its own output did not; return the exit status."""
        code = self._ranks[rank].returncode
        if code < 0:
            killed_by = signal.Signals(-code).name
            say(f"rank {rank} of {self._count} was killed by {killed_by}; the run was ended.")
            return 128 - code
        if rank > 0 and self._ranks[0].returncode != code:  # else rank 0 has said the same
            tail = "\n".join(self.output(rank).splitlines()[-TAIL_LINES:])
            say(f"rank {rank} of {self._count} ended with status {code}:\n{tail}")
        return int(code)


def _rank_environment(rank: int, count: int, port: int, preset: str | None) -> dict[str, str]:
    numbers = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_PORT": port,
        PROCESSES: count,
    }
    environment = {name: str(number) for name, number in numbers.items()}
    environment["MASTER_ADDR"] = "127.0.0.1"
    environment["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS") or str(
        max(1, cores() // count)
    )
    return environment | ({PRESET: preset} if preset else {})


def cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processes(preset: Preset | None, processes: int | None) -> int:
    if preset and preset.machines > 1:
        raise LaunchError(
            f"--launch {preset.name} cannot start other machines. Start this on each of them:\n"
            f"accelerate launch --config_file {preset_path(preset.name)} --num_machines M "
            "--num_processes N --machine_rank R --main_process_ip ADDRESS -m ..."
        )
    count = processes_asked(preset, processes)
    if count is not None:
        return count
    import torch  # only here, where the number is left to the machine

    if gpus := torch.cuda.device_count():
        return gpus
    name = preset.name if preset else "several processes"
    raise LaunchError(f"{name}: there is no GPU to count. Say how many: --processes N.")


@contextlib.contextmanager
def _free_port() -> Iterator[int]:
    """A port for the ranks' meeting, kept from other programs until rank 0 listens on it.

    On Linux two sockets may be bound to one port while neither listens, if both allow reuse, as
    the store of torch does; elsewhere the port is let go, and taken a moment later.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = int(held.getsockname()[1])
        if sys.platform != "linux":
            held.close()
        yield port


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """The list of SIGINT and SIGTERM that arrive meanwhile."""
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(text: str) -> None:
    """Tell the user something on standard error, at once."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
