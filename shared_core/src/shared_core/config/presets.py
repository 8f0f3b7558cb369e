"""The settings files that a package ships in its `presets` folder, offered by name."""

from __future__ import annotations

import importlib.resources
import re
from importlib.resources.abc import Traversable
from pathlib import Path

from shared_core.config.fields import annotations_of, nearest
from shared_core.config.yaml_text import read_file
from shared_core.errors import UsageError

_TOP_LEVEL_KEY = re.compile(r"^([A-Za-z_][\w-]*):", re.MULTILINE)


def offered(cls: type, package: str | None) -> dict[str, str]:
    """The presets made for `cls`, by name, each with the comment in its first line.

    A package keeps the presets of all its commands in one folder; those made for another command
    name settings that this one lacks. Only the top-level names are looked at, without reading YAML,
    because every `--help` asks.
    """
    names = annotations_of(cls)
    texts = {name: file.read_text("utf-8") for name, file in _files(package).items()}
    return {
        name: text.partition("\n")[0].removeprefix("#").strip() if text.startswith("#") else ""
        for name, text in texts.items()
        if all(key in names for key in _TOP_LEVEL_KEY.findall(text))
    }


def settings_text(value: str, cls: type, package: str | None) -> tuple[str, str]:
    """The YAML text that `--config VALUE` means, and how messages call it.

    A value that ends in `.yaml` or `.yml`, or holds a folder, is a file; any other is a preset's
    name.

    Raises:
        UsageError: the file cannot be read, or there is no such preset; lists those there are.
    """
    if Path(value).suffix in (".yaml", ".yml") or Path(value).name != value:
        return read_file(Path(value)), value
    files = _files(package)
    if value not in files:
        raise UsageError(
            f"--config: no preset is called {value!r}"
            + nearest(value, offered(cls, package))
            + " A file is given with its ending: --config settings.yaml."
        )
    return files[value].read_text("utf-8"), f"preset {value}"


def _files(package: str | None) -> dict[str, Traversable]:
    if package is None:
        return {}
    folder = importlib.resources.files(package) / "presets"
    if not folder.is_dir():
        return {}
    found = {file.name.removesuffix(".yaml"): file for file in folder.iterdir()}
    return {name: file for name, file in sorted(found.items()) if file.name.endswith(".yaml")}
