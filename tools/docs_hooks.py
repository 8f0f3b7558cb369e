"""Pages that mkdocs makes of files elsewhere: the README of every member, and the house's papers.

Each keeps its place relative to the root, so that its links to its neighbours hold. The pages of a
member are listed and its API is documented as soon as the member exists.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.packages import packages  # noqa: E402 - mkdocs runs this file by its path

HOUSE = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
PICTURES = ("*.png", "*.svg", "*.webp")


def _members() -> dict[str, Path]:
    """Folders of the packages, then of the core, by their import names."""
    return {package.module: package.folder for package in packages()} | {
        "shared_core": ROOT / "shared_core"
    }


def on_config(config: Any) -> Any:
    """List every member's page and its API."""
    members = _members()
    config.nav += [
        {"Packages": [{_title(folder): _readme(folder)} for folder in members.values()]},
        {"API": [{module: f"api/{module}.md"} for module in members]},
    ]
    handler = config.plugins["mkdocstrings"].config.handlers["python"]
    handler["paths"] = [str(folder / "src") for folder in members.values()]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the files that lie outside the folder of the documentation."""
    for name in HOUSE:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    for module, folder in _members().items():
        sources = [
            folder / "README.md",
            *(p for kind in PICTURES for p in folder.glob(f"docs/{kind}")),
        ]
        for path in sources:
            place = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, place, abs_src_path=str(path)))
        if files.get_file_from_path(f"api/{module}.md") is None:
            page = f"# {module}\n\n::: {module}\n"
            files.append(File.generated(config, f"api/{module}.md", content=page))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links into the documentation's own folder, seen from the root of the site."""
    return markdown.replace("](../../docs/", "](../../").replace("](../docs/", "](../")


def _title(folder: Path) -> str:
    return folder.name.replace("_", "-")


def _readme(folder: Path) -> str:
    return folder.relative_to(ROOT).as_posix() + "/README.md"
