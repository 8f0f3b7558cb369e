"""Run every package's demonstration, one after the other, and write one page over their results."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tools.demo.index import Result, write_index
from tools.packages import Package, packages


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demos; 1 where one of them failed, 130 after Ctrl-C."""
    known = {package.program: package for package in packages()}
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="PACKAGE", help=f"of {', '.join(known)}")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder to write")
    options = parser.parse_args(argv)
    if unknown := sorted(set(options.names) - set(known)):
        parser.error(f"no such package: {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = [known[name] for name in options.names] or list(known.values())
    try:
        results = [
            _run(package, options.out, f"{number}/{len(chosen)}")
            for number, package in enumerate(chosen, start=1)
        ]
    except KeyboardInterrupt:
        return 130
    page = write_index(options.out, results)
    print()
    for result in results:
        state = "done" if result.status == 0 else f"FAILED with status {result.status}"
        print(f"{result.program}: {state} in {result.seconds:.0f} s")
    print(f"Report of all: {page}")
    return int(any(result.status for result in results))


def _run(package: Package, out: Path, number: str) -> Result:
    """Run one demo, whose output goes straight to the terminal."""
    print(f"==> {number} {package.program}", flush=True)
    folder = out / package.program
    (folder / "demo.json").unlink(missing_ok=True)  # or an earlier one would stand for this one
    start = time.monotonic()
    command = [sys.executable, "-m", package.module, "demo", "--out", str(folder)]
    status = subprocess.run(command, check=False).returncode
    if status in (130, -2):
        raise KeyboardInterrupt
    return Result(package.program, folder, status, time.monotonic() - start)


if __name__ == "__main__":
    sys.exit(main())
