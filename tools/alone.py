"""Test one member as its users get it: from wheels, without the other packages or the sources.

python -m tools.alone abaw-va
python -m tools.alone --python 3.13 --wheels dist abaw-va -k predict

A new environment takes the wheels of the core and of that member, and what these need, in the
versions and with the hashes of `requirements/ci.txt`. The member's tests are copied to a folder
outside the checkout and run there; real sample data are not found from there, so tests that
need them skip.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

from tools import lock, release
from tools.packages import ROOT


def main() -> int:
    """Exit status of the member's tests; 1 where it cannot be installed."""
    parser = argparse.ArgumentParser(prog="tools.alone", description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="a version, or a path to one")
    parser.add_argument("--wheels", type=Path, help="folder of built wheels; absent: build them")
    parser.add_argument("member", choices=release.members())
    parser.add_argument("pytest", nargs=argparse.REMAINDER, help="further arguments of pytest")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix=f"{options.member}-") as name:
        folder = Path(name).resolve()
        began = time.monotonic()
        try:
            wheels = options.wheels or _built(folder / "wheels")
            python = install(options.member, wheels.resolve(), folder / "env", options.python)
        except (subprocess.CalledProcessError, KeyError) as error:
            print(f"{options.member} cannot be installed alone: {error}", file=sys.stderr)
            return 1
        print(f"{options.member}: installed alone in {time.monotonic() - began:.0f} s", flush=True)
        (folder / "checkout").mkdir()
        return test(options.member, python, folder / "checkout", options.pytest)


def install(member: str, wheels: Path, environment: Path, version: str) -> Path:
    """Make an environment that holds one member from its wheel; returns its Python.

    Raises:
        KeyError: the member needs what is not locked.
        subprocess.CalledProcessError: a step of uv failed, a hash that differs among them.
    """
    python = environment / "bin" / "python"
    ours = ["shared-core", member] if member != "shared-core" else [member]
    wanted = [f"{name}[all]" if name == member else f"{name}[testing]" for name in ours]
    _run(release.UV, "venv", "--quiet", "--python", version, environment)
    needed = _run(
        *(release.UV, "pip", "compile", "-", "--quiet", "--no-header", "--no-annotate"),
        *("--python", python, "--find-links", wheels, "--constraints", lock.HOUSE),
        text="\n".join([*wanted, *_test_tools()]),
    )
    names = [name for name in lock.entries(needed) if name not in ours]
    locked = environment / "locked.txt"
    locked.write_text(lock.chosen(lock.entries(lock.HOUSE.read_text("utf-8")), names), "utf-8")
    _run(release.UV, "pip", "sync", "--quiet", "--python", python, "--require-hashes", locked)
    files = [next(wheels.glob(f"{name.replace('-', '_')}-*.whl")) for name in ours]
    _run(
        release.UV,
        "pip",
        "install",
        "--quiet",
        "--python",
        python,
        "--no-deps",
        "--no-index",
        *files,
    )
    return python


def test(member: str, python: Path, folder: Path, arguments: list[str]) -> int:
    """Run a copy of the member's tests against what is installed; returns pytest's exit status.

    The copy lies as in the checkout: new processes of the tests find their modules by that place.
    """
    tests = (release.members()[member] / "tests").relative_to(ROOT)
    shutil.copytree(ROOT / tests, folder / tests, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow"]
    command += [*arguments, str(tests)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, cwd=folder, env=clean, check=False).returncode


def _built(folder: Path) -> Path:
    release.build(folder)
    return folder


def _test_tools() -> list[str]:
    """What `hatch run <package>:test` has beside the package."""
    hatch = tomllib.loads((ROOT / "hatch.toml").read_text("utf-8"))
    return list(hatch["envs"]["alone"]["dependencies"])


def _run(*command: str | Path, text: str = "") -> str:
    outcome = subprocess.run(
        command, input=text, text=True, stdout=subprocess.PIPE, check=True, cwd=ROOT
    )
    return outcome.stdout


if __name__ == "__main__":
    sys.exit(main())
