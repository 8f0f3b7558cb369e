"""Build the wheel and the sdist of every package, and check that their versions are the tag's.

python tools/release.py --tag v0.1.0 --out dist
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def packages() -> list[Path]:
    """Folders of all packages, the core first."""
    return [ROOT / "shared_core", *sorted(p.parent for p in ROOT.glob("packages/*/pyproject.toml"))]


def version(package: Path) -> str:
    """The version that a package's pyproject.toml states."""
    with (package / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def main() -> int:
    """Build everything; 1 when the versions disagree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--tag", help="the release's tag, v<version>; absent: versions agree among themselves"
    )
    parser.add_argument("--out", type=Path, default=Path("dist"))
    options = parser.parse_args()
    versions = {package.name: version(package) for package in packages()}
    wanted = options.tag.removeprefix("v") if options.tag else versions["shared_core"]
    if wrong := {name: found for name, found in versions.items() if found != wanted}:
        print(f"expected version {wanted}, found {wrong}", file=sys.stderr)
        return 1
    out = options.out.resolve()
    for package in packages():
        command = [sys.executable, "-m", "hatch", "build", str(out)]
        subprocess.run(command, cwd=package, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
