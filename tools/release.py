"""Build the wheel and the sdist of every member, and check that their versions are the tag's.

python -m tools.release --tag v0.1.0 --out dist

The build backend is the one that `requirements/ci.txt` locks, and a wheel is built from its sdist:
the same commit gives the same bytes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tomllib
from pathlib import Path

from tools.packages import ROOT, packages

UV = os.environ.get("HATCH_UV", "uv")
"""The program: hatch tells its own, which need not be on the path."""


def members() -> dict[str, Path]:
    """Folders of the core and of all packages, by the name of their distribution."""
    folders = {package.program: package.folder for package in packages()}
    return {"shared-core": ROOT / "shared_core", **folders}


def version(folder: Path) -> str:
    """The version that a member's pyproject.toml states."""
    with (folder / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def build(out: Path) -> None:
    """Write every member's sdist and wheel into a folder.

    Raises:
        subprocess.CalledProcessError: a member does not build, or the backend is not the locked one.
    """
    command = [UV, "build", "--quiet", "--out-dir", str(out), "--no-create-gitignore"]
    command += ["--build-constraints", str(ROOT / "requirements" / "ci.txt"), "--require-hashes"]
    for folder in members().values():
        subprocess.run([*command, str(folder)], cwd=ROOT, check=True)


def main() -> int:
    """Build everything; 1 when the versions disagree."""
    parser = argparse.ArgumentParser(prog="tools.release", description=__doc__)
    parser.add_argument(
        "--tag", help="the release's tag, v<version>; absent: versions agree among themselves"
    )
    parser.add_argument("--out", type=Path, default=Path("dist"))
    options = parser.parse_args()
    versions = {name: version(folder) for name, folder in members().items()}
    wanted = options.tag.removeprefix("v") if options.tag else versions["shared-core"]
    if wrong := {name: found for name, found in versions.items() if found != wanted}:
        print(f"expected version {wanted}, found {wrong}", file=sys.stderr)
        return 1
    build(options.out.resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
