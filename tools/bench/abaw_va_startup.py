"""What asking for help costs, beside importing the library that writes it.

CPU time (user and system) of a whole process, best of five, the commands taking turns so that a
busy moment of the machine falls on all of them.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tools.bench.timing import Row

REPEATS = 5
_REFERENCE = ("-c", "import tyro")
_COMMANDS = (
    ("abaw-va --help", ("-m", "abaw_va", "--help"), 2.5),
    ("abaw-va train --help", ("-m", "abaw_va", "train", "--help"), 4.0),
)


def measure() -> list[Row]:
    """Measure each command against `python -c "import tyro"`; `bound` is the largest ratio allowed.

    Raises:
        RuntimeError: a command failed.
    """
    lines = [_REFERENCE, *(line for _, line, _ in _COMMANDS)]
    for line in lines:
        _cpu_seconds(line)  # writes the bytecode and fills the page cache
    rounds = [[_cpu_seconds(line) for line in lines] for _ in range(REPEATS)]
    reference, *ours = [min(times) for times in zip(*rounds, strict=True)]
    return [
        Row(
            name=name,
            ours=seconds,
            reference=reference,
            ratio=seconds / reference,
            bound=bound,
            higher_is_better=False,
            note="against import tyro",
        )
        for (name, _, bound), seconds in zip(_COMMANDS, ours, strict=True)
    ]


def _cpu_seconds(line: tuple[str, ...]) -> float:
    process = subprocess.Popen([sys.executable, *line], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait for it again
    if process.returncode != 0:
        raise RuntimeError(f"python {' '.join(line)} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime
