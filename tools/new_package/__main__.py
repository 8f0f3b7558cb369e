"""Command line of the scaffold."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.new_package.register import register
from tools.new_package.scaffold import ROOT, scaffold


def main(argv: Sequence[str] | None = None) -> int:
    """Write the package and register it; 2 where the name or the folder cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m tools.new_package", description=__doc__)
    parser.add_argument("name", help="such as eye-contact")
    parser.add_argument(
        "--summary", default="A number for every row of a table.", help="what it is, a sentence"
    )
    parser.add_argument("--into", type=Path, help="folder to make; default: packages/NAME")
    parser.add_argument(
        "--no-register",
        action="store_true",
        help="leave pyproject.toml, hatch.toml and the CI alone",
    )
    options = parser.parse_args(argv)
    folder = options.into or ROOT / "packages" / options.name
    try:
        files = scaffold(options.name, options.summary, folder)
        changed = [] if options.no_register else register(options.name, ROOT)
    except (ValueError, FileExistsError) as error:
        print(f"new_package: {error}", file=sys.stderr)
        return 2
    print(f"{folder}: {len(files)} files")
    for path in changed:
        print(f"{path.relative_to(ROOT)}: added {options.name}")
    print(f"Next: hatch run {options.name}:test")
    return 0


if __name__ == "__main__":
    sys.exit(main())
