"""Tests of command lines: help pages kept as files, and what a command imports.

A help page is part of a package's interface: a flag that appears, vanishes or changes its default
shows as a difference to the page that is kept beside the test. `UPDATE_SNAPSHOTS=1 pytest ...`
writes the pages anew; the difference is then reviewed like code.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

_UPDATE = "UPDATE_SNAPSHOTS"
_WIDTH = "100"
_RUN_AND_LIST_MODULES = """
import runpy, sys
listing, module = sys.argv[1], sys.argv[2]
sys.argv = [module, *sys.argv[3:]]
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
finally:
    with open(listing, "w", encoding="utf-8") as file:
        file.write("\\n".join(sys.modules))
"""


def help_page(main: Callable[[Sequence[str]], int], *words: str) -> str:
    """The help of a program or of one of its verbs, without the frames drawn around it.

    Args:
        main: the program as a function of its arguments; it runs in this process.
        words: the verb, such as "prepare", "annotations"; none for the program itself.

    Returns:
        The text at a width of 100 columns, one space between words, no empty lines.
    """
    shown = io.StringIO()
    with _environment(COLUMNS=_WIDTH, NO_COLOR="1"), contextlib.redirect_stdout(shown):
        status = main([*words, "--help"])
    assert status == 0, f"{' '.join(words)} --help ended with {status}"
    plain = re.sub(r"[\u2500-\u257f]|\x1b\[[0-9;]*m", " ", shown.getvalue())
    lines = (" ".join(line.split()) for line in plain.splitlines())
    return "".join(f"{line}\n" for line in lines if line)


def assert_snapshot(text: str, path: Path) -> None:
    """Compare a text with the file that holds what it was; `UPDATE_SNAPSHOTS=1` writes the file."""
    if os.environ.get(_UPDATE) == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    assert path.exists(), f"{path} is missing; {_UPDATE}=1 writes it"
    kept = path.read_text(encoding="utf-8")
    difference = difflib.unified_diff(
        kept.splitlines(), text.splitlines(), str(path), "now", lineterm="", n=1
    )
    assert text == kept, f"{_UPDATE}=1 accepts this change:\n" + "\n".join(difference)


def assert_help_snapshots(
    main: Callable[[Sequence[str]], int], verbs: Sequence[str], folder: Path
) -> None:
    """Compare the help of a program and of each of its verbs with the pages kept in a folder.

    Args:
        main: the program as a function of its arguments.
        verbs: the names of its verbs; a name may hold a space.
        folder: holds `program.txt` and a `<verb>.txt` for each verb, with hyphens for spaces.
    """
    assert_snapshot(help_page(main), folder / "program.txt")
    for verb in verbs:
        name = "-".join(verb.split())
        assert_snapshot(help_page(main, *verb.split()), folder / f"{name}.txt")


def modules_after(argv: Sequence[str], timeout: float = 120.0) -> frozenset[str]:
    """The modules that are imported when `python -m ARGV...` has ended, whatever its exit status.

    Args:
        argv: a module and its arguments: `["abaw_va", "train", "--help"]`.
        timeout: seconds after which the command is ended and the test fails.

    Returns:
        The keys of its `sys.modules`.
    """
    with tempfile.TemporaryDirectory() as folder:
        listing = Path(folder, "modules.txt")
        subprocess.run(
            [sys.executable, "-c", _RUN_AND_LIST_MODULES, str(listing), *argv],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )
        return frozenset(listing.read_text(encoding="utf-8").splitlines())


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
