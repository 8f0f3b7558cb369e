"""Commands where something that is usually there is missing: network, home, cache, time zone, output."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.faults.processes import Ended, ended
from tools.faults.row import Options, Row, Trials, expect
from tools.faults.subject import Subject, Words
from tools.faults.table import Figure

NAME = "environment"
WANTED = "works, or says in one message what is missing"

NOWHERE = "/dev/null/nowhere"
"""A folder that nobody can make, root neither."""
_CACHES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HF_HOME", "TORCH_HOME", "MPLCONFIGDIR")

PLACES: dict[str, dict[str, str | None]] = {
    "no home, C locale, odd time zone": {"HOME": None, "LC_ALL": "C", "TZ": "Nowhere/Never"},
    "unwritable home, Turkish": {"HOME": NOWHERE, "LC_ALL": "tr_TR.UTF-8", "TZ": "Asia/Kathmandu"},
    "unwritable caches, ASCII output": {
        **dict.fromkeys(_CACHES, NOWHERE),
        "PYTHONIOENCODING": "ascii",
        "PYTHONUTF8": "0",
    },
    "a terminal of 20 columns": {"COLUMNS": "20", "TERM": "dumb", "NO_COLOR": "1"},
}
"""Variables that are set, or taken away (None)."""


def run(subject: Subject, options: Options) -> Figure:
    """Each command in each place, without a network where that can be taken away."""
    trials = Trials(NAME, subject, WANTED)
    cut_off = _can_unshare()
    source = subject.media(options.folder / "media", 1)
    for number, (place, variables) in enumerate(PLACES.items()):
        folder = options.folder / str(number)
        for name, words in _commands(subject, folder, source).items():
            with trials.trial(f"{place}: {name}"):
                _fine(ended([*_prefix(variables, cut_off), *words]), name)
    for name, words in _commands(subject, options.folder / "closed", source).items():
        line = [os.fspath(word) for word in words]
        with trials.trial(f"standard output closed: {name}"):
            _fine(ended(["sh", "-c", 'exec "$@" >&-', "sh", *line]), name)
    return trials.figure("without a network" if cut_off else "offline by variable alone")


def _commands(subject: Subject, folder: Path, source: list[Path]) -> dict[str, Words]:
    python: Words = [sys.executable, "-m", subject.module]
    train = subject.train(subject.data, folder / "run", epochs=1)[3:]
    predict = subject.predict(subject.whole, source, folder / "out")[3:]
    return {
        "--help": [*python, "--help"],
        "--version": [*python, "--version"],
        "doctor": [*python, "doctor"],
        "train": [*python, *train],
        "predict": [*python, *predict],
    }


def _prefix(variables: dict[str, str | None], cut_off: bool) -> Words:
    words: Words = ["unshare", "--net"] if cut_off else []
    words += ["env"]
    for name, value in variables.items():
        words += ["-u", name] if value is None else []
    return [*words, *(f"{name}={value}" for name, value in variables.items() if value is not None)]


def _fine(found: Ended, name: str) -> None:
    told = f"exit {found.status}: {found.output.strip()[-500:]}"
    expect("Traceback" not in found.output, f"it crashed: {told}")
    expect(found.status == 0, f"{name} does not work: {told}")


def _can_unshare() -> bool:
    program = shutil.which("unshare")
    if program is None:
        return False
    return (
        subprocess.run([program, "--net", "true"], capture_output=True, check=False).returncode == 0
    )


ROWS = (Row(name=NAME, wanted=WANTED, run=run),)
