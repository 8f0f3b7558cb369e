"""Pages that mkdocs makes of files elsewhere: the README of every member, its API, the house's papers.

Each keeps its place relative to the root, so that its links to its neighbours hold. The pages of a
member are listed and its API is documented as soon as the member exists. A package loads its public
names when they are used, so its page names each in the room where it is defined.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.packages import packages  # noqa: E402 - mkdocs runs this file by its path

CORE = ROOT / "shared_core"
HOUSE = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
PICTURES = ("*.png", "*.svg", "*.webp")
API = "api"
_COMMENT = re.compile(r"^<!--.*-->\n", flags=re.MULTILINE)


def on_config(config: Any) -> Any:
    """List every member's page and its API, and of the other pages those that are there."""
    folders = {package.module: package.folder for package in packages()}
    start, *rest = [_present(section) for section in config.nav]
    readmes = [{_title(folder): _readme(folder)} for folder in (*folders.values(), CORE)]
    apis = [{_title(folder): f"{API}/{module}.md"} for module, folder in folders.items()]
    rooms = [{room: f"{API}/shared_core/{room}.md"} for room in _rooms()]
    config.nav = [
        start,
        {"Packages": readmes},
        *[section for section in rest if section],
        {"API": [*apis, {"shared-core": rooms}]},
    ]
    handler = config.plugins["mkdocstrings"].config.handlers["python"]
    handler["paths"] = [str(folder / "src") for folder in (*folders.values(), CORE)]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the files that lie outside the folder of the documentation, and the pages of the API."""
    for name in HOUSE:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    pages = dict(_core_pages())
    for package in packages():
        pages[f"{API}/{package.module}.md"] = _package_page(package.module, package.folder)
    for folder in (*(package.folder for package in packages()), CORE):
        pictures = (path for kind in PICTURES for path in folder.glob(f"docs/{kind}"))
        for path in (folder / "README.md", *pictures):
            place = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, place, abs_src_path=str(path)))
    for place, text in pages.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as in the checkout, seen from the site, whose root is `docs`; without comments."""
    text = _COMMENT.sub("", markdown)
    if Path(page.file.abs_src_path or ROOT).parent == ROOT / "docs":
        return text.replace("](../", "](")
    return re.sub(r"\]\(((?:\.\./)*)docs/(?=[\w-]+\.md)", r"](\1", text)


def public_names(init: Path) -> dict[str, str]:
    """The public names of a package, each with the room that defines it, below the package.

    Args:
        init: its `__init__.py`, which is read and not run.

    Raises:
        ValueError: it has no `_HOME`, or one that is no plain dictionary.
    """
    for node in ast.parse(init.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOME":
            return dict(ast.literal_eval(node.value))
    raise ValueError(f"{init} has no _HOME")


def _package_page(module: str, folder: Path) -> str:
    home = public_names(folder / "src" / module / "__init__.py")
    names = (_public(module, room, name) for name, room in home.items())
    about = _block(
        module, "members: false", "show_root_heading: false", "show_root_toc_entry: false"
    )
    return f"# {module}\n\n{about}" + "".join(names)


def _public(module: str, room: str, name: str) -> str:
    """A public name; of settings also those that every package has."""
    inherited = ["inherited_members: true"] if room == "config" else []
    return _block(f"{module}.{room}.{name}", *inherited)


def _core_pages() -> Iterator[tuple[str, str]]:
    """A page for each room of the core: what it is for, then its modules."""
    for room, modules in _rooms().items():
        about = (
            _block(f"shared_core.{room}", "members: false", "heading_level: 1") if modules else ""
        )
        shown = modules or [f"shared_core.{room}"]
        level = "heading_level: 2" if modules else "heading_level: 1"
        text = about + "".join(_block(module, level) for module in shown)
        yield f"{API}/shared_core/{room}.md", text


def _rooms() -> dict[str, list[str]]:
    """The public rooms of the core by name, each with its modules; of a single file none."""
    source = CORE / "src" / "shared_core"
    found = {}
    for path in sorted(source.iterdir()):
        if path.name.startswith("_") or not (
            path.suffix == ".py" or (path / "__init__.py").exists()
        ):
            continue
        inside = sorted(path.glob("*.py")) if path.is_dir() else []
        modules = [f"shared_core.{path.name}.{file.stem}" for file in inside]
        found[path.stem] = [name for name in modules if not name.rpartition(".")[2].startswith("_")]
    return found


def _block(path: str, *options: str) -> str:
    lines = "".join(f"      {option}\n" for option in options)
    return f"::: {path}\n" + (f"    options:\n{lines}" if options else "") + "\n"


def _present(section: dict[str, Any]) -> dict[str, Any]:
    """A section of the navigation without the pages that are not there."""
    ((title, content),) = section.items()
    if isinstance(content, str):
        return section
    pages = [page for page in content if _exists(*page.values())]
    return {title: pages} if pages else {}


def _exists(page: str) -> bool:
    return page in HOUSE or (ROOT / "docs" / page).is_file()


def _title(folder: Path) -> str:
    return folder.name.replace("_", "-")


def _readme(folder: Path) -> str:
    return folder.relative_to(ROOT).as_posix() + "/README.md"
