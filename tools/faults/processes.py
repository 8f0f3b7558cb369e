"""The real commands, as the rows start them: quiet, on the CPU, offline, ending with the tool."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from shared_core.testing.processes import Child

ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""For every command: one thread, no GPU, no network."""

LONGEST_S = 600.0
_SETPRIV = shutil.which("setpriv")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended.

    Attributes:
        status: exit status; minus the signal that killed it.
        output: what it printed, both streams together.
        seconds: from its start to its end.
    """

    status: int
    output: str
    seconds: float


@contextmanager
def child(
    words: Sequence[str | Path], environment: Mapping[str, str] | None = None
) -> Iterator[Child]:
    """A command that runs during the block; at its end nothing of it is left.

    On Linux it also ends with this process, whatever kills that.
    """
    program, *rest = words
    command = [sys.executable if program == "python" else program, *rest]
    if _SETPRIV:
        command = [_SETPRIV, "--pdeathsig", "KILL", *command]
    with Child(command, environment={**ENVIRONMENT, **(environment or {})}) as started:
        yield started


def ended(
    words: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    timeout: float = LONGEST_S,
) -> Ended:
    """Run a command to its end, whatever that is.

    Raises:
        TimeoutError: it takes longer than `timeout` seconds; holds what it printed.
    """
    begun = time.monotonic()
    with child(words, environment) as started:
        try:
            status = started.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"not over after {timeout:g} s:\n{started.output}") from None
        return Ended(status=status, output=started.output, seconds=time.monotonic() - begun)


def finish(words: Sequence[str | Path], *, environment: Mapping[str, str] | None = None) -> Ended:
    """Run a command to its good end.

    Raises:
        RuntimeError: it ends with another status than 0; holds what it printed.
    """
    found = ended(words, environment=environment)
    if found.status != 0:
        raise RuntimeError(f"ended with {found.status}, not 0:\n{found.output}")
    return found


def end_all() -> None:
    """Kill every process that this one has started, and theirs."""
    for process in psutil.Process().children(recursive=True):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
