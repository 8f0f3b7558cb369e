"""Where the house lists its packages: tool settings, environments, and the matrix of the CI."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path


def register(program: str, root: Path) -> list[Path]:
    """Add a package to `pyproject.toml`, `hatch.toml` and the CI; returns the changed files.

    Raises:
        ValueError: a list is not where it was; nothing is changed then.
    """
    edits: dict[str, Callable[[str, str], str]] = {
        "pyproject.toml": _to_tool_settings,
        "hatch.toml": _to_environments,
        ".github/workflows/ci.yml": _to_matrix,
    }
    changed = {
        root / place: edit((root / place).read_text("utf-8"), program)
        for place, edit in edits.items()
    }
    for path, text in changed.items():
        path.write_text(text, "utf-8")
    return list(changed)


def _to_tool_settings(text: str, program: str) -> str:
    package = program.replace("-", "_")
    text = _append(text, "files", f'"packages/{program}/src"')
    lists = ("known-first-party", "source_pkgs", "root_packages", "forbidden_modules", "modules")
    for key in lists:
        text = _append(text, key, f'"{package}"')
    return text


def _to_environments(text: str, program: str) -> str:
    return (
        text.rstrip("\n")
        + f"""

[envs.{program}]
template = "alone"
workspace.members = [
  {{ path = "shared_core", features = ["all"] }},
  {{ path = "packages/{program}", features = ["all"] }},
]
scripts.test = "pytest -m 'not slow' {{args:packages/{program}}}"
"""
    )


def _to_matrix(text: str, program: str) -> str:
    return _append(text, "package", program, is_=":")


def _append(text: str, key: str, item: str, *, is_: str = " =") -> str:
    """Add an item to the one list, on one line, of that key."""
    pattern = re.compile(rf"^(\s*{key}{is_} \[.+)\]$", re.MULTILINE)
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"expected one list {key!r} on a line of its own")
    return pattern.sub(lambda found: f"{found[1]}, {item}]", text)
