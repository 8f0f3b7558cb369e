"""Real processes for tests: connected ranks, commands that are signalled, runs that are killed."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import ModuleType, TracebackType
from typing import IO, Any

import psutil

from shared_core import faultpoints
from shared_core.launch.ranks import Ranks

POLL_SECONDS = 0.02


# --- connected ranks ------------------------------------------------------------------------------


def run_ranks(
    function: str | Callable[..., Any],
    *,
    world: int = 2,
    arguments: Mapping[str, Any] | None = None,
    timeout: float = 120.0,
    connect: bool = True,
    preset: str | None = None,
) -> list[Any]:
    """Call a function in new, connected processes and return what each rank returned.

    Args:
        function: "module:function", "path/to/file.py:function", or a function at the top of a file.
        world: how many processes.
        arguments: keyword arguments, of what JSON can hold (and paths).
        timeout: seconds, after which the ranks are killed.
        connect: connect the ranks by gloo before the call; False where the function does it.
        preset: name of the launch preset that the ranks are told.

    Returns:
        For each rank, its result, through JSON.

    Raises:
        AssertionError: a rank failed; the message holds what it printed.
        TimeoutError: the ranks took longer than `timeout`.
    """
    where = function if isinstance(function, str) else _place(function)
    with tempfile.TemporaryDirectory() as folder:
        order = {"function": where, "arguments": dict(arguments or {}), "connect": connect}
        Path(folder, "order.json").write_text(json.dumps(order, default=str), encoding="utf-8")
        with Ranks(
            "shared_core.testing.processes",
            [folder],
            processes=world,
            preset=preset,
            environment={"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        ) as ranks:
            status = ranks.wait(timeout=timeout)
        failed = [path.read_text(encoding="utf-8") for path in Path(folder).glob("*.error")]
        if status != 0:
            raise AssertionError(f"{where} ended with status {status}:\n" + "\n".join(failed))
        return [
            json.loads(Path(folder, f"{rank}.json").read_text(encoding="utf-8"))
            for rank in range(world)
        ]


def _place(function: Callable[..., Any]) -> str:
    return f"{inspect.getsourcefile(function)}:{function.__name__}"


def _rank_main(folder: Path) -> None:
    """What each rank of `run_ranks` does."""
    import torch.distributed as dist

    from shared_core.launch.collectives import part

    order = json.loads((folder / "order.json").read_text(encoding="utf-8"))
    rank = int(os.environ["RANK"])
    try:
        if order["connect"]:
            dist.init_process_group("gloo", timeout=timedelta(seconds=60))
        result = _find(order["function"])(**order["arguments"])
        (folder / f"{rank}.json").write_text(json.dumps(result), encoding="utf-8")
        part()
    except BaseException:
        text = f"rank {rank}:\n{traceback.format_exc()}"
        (folder / f"{rank}.error").write_text(text, encoding="utf-8")
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _find(where: str) -> Callable[..., Any]:
    place, _, name = where.rpartition(":")
    module = load_module(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    found: Callable[..., Any] = getattr(module, name)
    return found


def load_module(path: Path) -> ModuleType:
    """Import a Python file by its path, such as a test file that holds functions for ranks."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


# --- one command ----------------------------------------------------------------------------------


class Child:
    """A command that runs beside the test; a context manager that leaves no process behind.

    Args:
        command: program and arguments; "python" stands for this interpreter.
        environment: variables beside those of this process.
        folder: where it runs.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        program, *rest = map(str, command)
        self.command = [sys.executable if program == "python" else program, *rest]
        self._environment = {**os.environ, **(environment or {})}
        self._folder = folder
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Child:
        self._process = subprocess.Popen(
            self.command,
            env=self._environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill_all()
        self._output.close()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        assert self._process is not None, "use Child as a context manager"
        return self._process

    @property
    def output(self) -> str:
        """What it printed so far, both streams together."""
        return os.pread(self._output.fileno(), os.fstat(self._output.fileno()).st_size, 0).decode(
            errors="replace"
        )

    def wait_until(self, condition: Callable[[], bool], timeout: float = 60.0) -> None:
        """Wait until the condition holds.

        Raises:
            AssertionError: the command ended before, or the time is over; holds its output.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            ended = self.process.poll() is not None and not condition()
            if ended or time.monotonic() > deadline:
                reason = f"ended with {self.process.returncode}" if ended else "took too long"
                raise AssertionError(f"{self.command} {reason}:\n{self.output}")
            time.sleep(POLL_SECONDS)

    def wait_for(self, text: str, timeout: float = 60.0) -> None:
        """Wait until it has printed the text; see `wait_until`."""
        self.wait_until(lambda: text in self.output, timeout)

    def wait(self, timeout: float = 60.0) -> int:
        """Wait for its end and return its exit status (minus the signal that killed it)."""
        return self.process.wait(timeout)

    def send(self, number: int) -> None:
        """Send a signal to it alone, not to the processes it started."""
        self.process.send_signal(number)

    def family(self) -> list[psutil.Process]:
        """It and all processes that it started, while it runs."""
        try:
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill_all(self) -> None:
        """SIGKILL to it and to all processes that it started, as a power cut would."""
        if self.process.poll() is None:
            members = self.family()
            for member in members:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
            self.process.wait()
            psutil.wait_procs(members, timeout=10)


def alive(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; zombies do not count."""
    running = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                running.append(process)
    return running


# --- kill and resume ------------------------------------------------------------------------------


def kill_and_resume(
    command: Sequence[str | Path],
    run_folder: Path,
    moments: Sequence[str | tuple[float, float]],
    *,
    seed: int = 0,
    environment: Mapping[str, str] | None = None,
    timeout: float = 300.0,
) -> int:
    """Run a command, killing it by SIGKILL once for each moment, then let it finish.

    Each start after the first gets `--resume`, once there is a run folder.

    Args:
        command: such as ["python", "-m", "abaw_va", "train", ...], without `--resume`.
        run_folder: the folder it writes.
        moments: each either a point of `shared_core.faultpoints`, "name[:occurrence]", where the
            process kills itself, or (earliest, latest) seconds after the start, drawn by the seed.
            A start that is over before its moment counts as no kill, and ends the kills.
        seed: of the drawn seconds; printed, so that a failure can be repeated.
        environment: variables beside those of this process.
        timeout: seconds for each start.

    Returns:
        How many times it was killed.

    Raises:
        AssertionError: a start ended with another error than the kill; holds its output.
    """
    draw = random.Random(seed)  # noqa: S311 - moments of a test
    kills = 0
    for moment in moments:
        delay = None if isinstance(moment, str) else draw.uniform(*moment)
        print(f"kill_and_resume seed={seed} moment={moment} delay={delay}")
        point = {faultpoints.VARIABLE: moment} if isinstance(moment, str) else {}
        with Child(
            _resumed(command, run_folder), environment={**(environment or {}), **point}
        ) as child:
            status = _wait_or_kill(child, delay, timeout)
            _expect(child, status, (0, -signal.SIGKILL, 128 + signal.SIGKILL))
        if status == 0:
            break
        kills += 1
    with Child(_resumed(command, run_folder), environment=environment) as child:
        _expect(child, child.wait(timeout), (0,))
    return kills


def _resumed(command: Sequence[str | Path], run_folder: Path) -> list[str | Path]:
    return [*command, "--resume"] if run_folder.exists() else list(command)


def _wait_or_kill(child: Child, delay: float | None, timeout: float) -> int:
    try:
        return child.wait(timeout if delay is None else delay)
    except subprocess.TimeoutExpired:
        if delay is None:
            raise AssertionError(f"{child.command} took too long:\n{child.output}") from None
        child.kill_all()
        return child.wait()


def _expect(child: Child, status: int, allowed: Sequence[int]) -> None:
    if status not in allowed:
        raise AssertionError(f"{child.command} ended with {status}:\n{child.output}")


if __name__ == "__main__":
    _rank_main(Path(sys.argv[1]))
