"""Locks: the exact versions that CI installs, with the hashes of their files.

python -m tools.lock              # what is locked stays, where it still fits what is declared
python -m tools.lock --upgrade    # the newest versions that fit

`requirements/ci.txt` covers every member with its extra `all`, and the tools that test them;
`requirements/tools.txt` what runs before there is an environment. Both hold for every platform and
Python that the members support, and name no index: whoever installs them chooses where from.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from tools.packages import ROOT
from tools.release import UV, members

HOUSE = ROOT / "requirements" / "ci.txt"
TOOLS = ROOT / "requirements" / "tools.txt"

BEFORE = ("detect-secrets>=1.5", "hatch>=1.18", "pip-audit>=2.9", "uv>=0.9")
"""What CI needs before it has an environment: these make environments, or look at files alone."""

OLDEST_PYTHON = "3.11"
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def declared() -> list[str]:
    """What the house's lock must cover: members as paths with extras, tools as requirements."""
    hatch = tomllib.loads((ROOT / "hatch.toml").read_text("utf-8"))
    paths = [f"./{folder.relative_to(ROOT).as_posix()}[all]" for folder in members().values()]
    return [*paths, *hatch["envs"]["default"]["dependencies"]]


def entries(lock: str) -> dict[str, list[str]]:
    """The entries of a lock by normalised name, each with its marker and hashes, as they stand.

    A name has several entries where versions differ by Python or platform.
    """
    found: dict[str, list[str]] = {}
    for entry in re.split(r"(?<!\\)\n", lock):
        if name := _NAME.match(entry):
            found.setdefault(normalised(name[0]), []).append(entry)
    return found


def normalised(name: str) -> str:
    """A distribution's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def chosen(locked: Mapping[str, list[str]], names: Iterable[str]) -> str:
    """The part of a lock that these distributions need.

    Raises:
        KeyError: the lock has no entry of a name.
    """
    return "\n".join(entry for name in names for entry in locked[normalised(name)]) + "\n"


def write(lock: Path, requirements: Iterable[str], *, upgrade: bool) -> None:
    """Resolve requirements for every platform and write the lock.

    Raises:
        subprocess.CalledProcessError: they cannot be met together, or no index answers.
    """
    command = [UV, "pip", "compile", "-", "--output-file", str(lock)]
    command += ["--universal", "--python-version", OLDEST_PYTHON, "--generate-hashes"]
    command += ["--no-annotate", "--custom-compile-command", "hatch run lock", "--quiet"]
    command += [f"--no-emit-package={name}" for name in members()]
    if upgrade:
        command.append("--upgrade")
    subprocess.run(command, input="\n".join(requirements), text=True, cwd=ROOT, check=True)


def main() -> int:
    """Renew both locks."""
    parser = argparse.ArgumentParser(prog="tools.lock", description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    options = parser.parse_args()
    write(HOUSE, declared(), upgrade=options.upgrade)
    write(TOOLS, BEFORE, upgrade=options.upgrade)
    return 0


if __name__ == "__main__":
    sys.exit(main())
