"""A program that has imported its libraries once and runs each line in a fork of itself.

`python -m tools.faults.corpus.forks MODULE` reads one JSON request a line and answers with one. A
fork begins where the imports ended, so a measured line is the program's own work, and what one line
leaves behind, or breaks, reaches no other.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, cast

ROOT = Path(__file__).parents[3]
"""The checkout: what `tools` is imported from."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How one line ended."""

    status: int
    """Exit status; minus the signal that ended it."""
    told: str
    """Standard output and error together."""
    seconds: float
    """Wall time, imports of libraries aside."""
    cpu: float
    """Processor seconds."""
    grown: int
    """Bytes by which the process was larger at its largest than at its start."""

    @property
    def crashed(self) -> bool:
        """Whether it ended by a traceback or a signal instead of a message."""
        return "Traceback (most recent call last)" in self.told or self.status < 0

    @property
    def last(self) -> str:
        """The end of what it said."""
        return f"exit {self.status}: {self.told.strip()[-400:]}"


class Program:
    """A package's program, kept warm: `Program("abaw_va")("predict", ...)`; see `warm`.

    Args:
        module: import name of a package, or a module of the corpus with a `main(words)`.
    """

    def __init__(self, module: str) -> None:
        self.module = module
        self._lock = Lock()
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, *words: object, limit_s: float = 120.0) -> Ended:
        """Run one line in a fork, for at most `limit_s` seconds; lines wait for one another."""
        with self._lock, TemporaryDirectory() as folder:
            told = Path(folder, "told")
            request = {"words": [str(word) for word in words], "told": str(told)}
            answer = self._ask(json.dumps(request | {"limit_s": limit_s}))
            return Ended(told=told.read_text(errors="replace"), **json.loads(answer))

    def _ask(self, request: str) -> str:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tools.faults.corpus.forks", self.module],
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        stdin, stdout = cast("Any", self._process.stdin), cast("Any", self._process.stdout)
        stdin.write(f"{request}\n")
        stdin.flush()
        answer: str = stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.module} cannot be imported: it says why above")
        return answer

    def close(self) -> None:
        """End the process that waits for lines."""
        if self._process is not None:
            cast("Any", self._process.stdin).close()
            self._process.wait()


@cache
def warm(module: str) -> Program:
    """The program of a module, one for the whole tool, ended with it."""
    program = Program(module)
    atexit.register(program.close)
    return program


def forked(work: Callable[[], int], told: Path, limit_s: float) -> dict[str, Any]:
    """Run a function in a fork, its output in a file: the fields of `Ended` but the text."""
    start = time.monotonic()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _work_and_leave(work, told, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as grown:
        if not select.select([grown], [], [], limit_s)[0]:
            os.kill(child, signal.SIGKILL)
        size = int(grown.read() or b"0")
    _, status, usage = os.wait4(child, 0)
    return {
        "status": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - start,
        "cpu": usage.ru_utime + usage.ru_stime,
        "grown": size,
    }


def _work_and_leave(work: Callable[[], int], told: Path, writer: int) -> None:
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        output = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1, closefd=False)
        before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        try:
            status = work()
        except BaseException:  # noqa: BLE001  a bug: told as the interpreter tells it
            traceback.print_exc()
        sys.stdout.flush()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        os.write(writer, b"%d" % max(0, peak - before))
    finally:
        os._exit(status)


def _entry(module: str) -> Callable[[list[str]], int]:
    """Import all that a package's commands will need; its `main`."""
    if module.startswith("tools."):
        return cast("Callable[[list[str]], int]", importlib.import_module(module).main)
    package = importlib.import_module(f"{module}.cli")
    for verb in package.VERBS:
        if verb.name == "demo":  # no fault is done to it
            continue
        for place in (verb.config, verb.run):
            importlib.import_module(place.partition(":")[0])
    importlib.import_module("shared_core.launch.accelerator")
    return cast("Callable[[list[str]], int]", package.main)


def _serve(module: str) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what an import prints is no answer
    main = _entry(module)
    for line in sys.stdin:
        request = json.loads(line)
        work = partial(main, request["words"])
        ended = forked(work, Path(request["told"]), request["limit_s"])
        answers.write(json.dumps(ended) + "\n")


if __name__ == "__main__":
    _serve(sys.argv[1])
