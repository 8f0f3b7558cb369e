"""Files of a new package, from the templates beside this file."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from string import Template

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = Path(__file__).parent / "templates"

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def scaffold(program: str, summary: str, folder: Path) -> list[Path]:
    """Write a package; returns the paths of its files.

    Args:
        program: its name, words of small letters and digits joined by hyphens.
        summary: what it is, a sentence.
        folder: where it goes; must not exist.

    Raises:
        ValueError: the name is not of that form, or the summary does not fit into a line.
        FileExistsError: there is something at `folder` already.
    """
    if not _NAME.fullmatch(program):
        raise ValueError(f"{program!r}: expected words of a-z and 0-9 joined by hyphens")
    if not 0 < len(summary) <= 90 or not summary.isprintable() or {'"', "\\"} & set(summary):
        raise ValueError("summary: expected a sentence of 90 characters at most, without quotes")
    package = program.replace("-", "_")
    words = {
        "program": program,
        "package": package,
        "prefix": "".join(word.capitalize() for word in program.split("-")),
        "summary": summary,
        "version": _version(),
    }
    folder.mkdir(parents=True)
    written = []
    for template in sorted(TEMPLATES.rglob("*.template")):
        place = template.relative_to(TEMPLATES).with_suffix("")
        if place.parts[0] == "src":
            place = Path("src", package, *place.parts[1:])
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(template.read_text("utf-8")).substitute(words), "utf-8")
        written.append(path)
    _tidy(folder)
    return written


def _version() -> str:
    """All packages share one version."""
    settings = tomllib.loads((ROOT / "shared_core" / "pyproject.toml").read_text("utf-8"))
    return str(settings["project"]["version"])


def _tidy(folder: Path) -> None:
    """Where imports and line breaks go depends on how the package is called."""
    settings = ["--quiet", "--config", str(ROOT / "pyproject.toml"), str(folder.resolve())]
    for tool in (["check", "--select", "I,RUF022", "--fix"], ["format"]):
        subprocess.run([sys.executable, "-m", "ruff", *tool, *settings], cwd=ROOT, check=True)
