"""The public names of a package, each loaded when it is first used.

A package has rooms that are called like its functions: `predict` is in `predict.py`. Whoever imports
the room makes Python set it as an attribute of the package, where it would hide the function. Here
the public name wins, whatever was imported before; the room is there for `from package.predict import`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


def load_when_used(package: str, home: Mapping[str, str]) -> None:
    """Give a package its public names without importing any of their rooms.

    Args:
        package: import name; its `__init__` calls this.
        home: the room of each public name, below the package.
    """
    names: dict[str, Any] = {name: _public(package, room, name) for name, room in home.items()}
    sys.modules[package].__class__ = type("Package", (ModuleType,), names)


def _public(package: str, room: str, name: str) -> property:
    def read(module: ModuleType) -> Any:
        if name not in vars(module):
            vars(module)[name] = getattr(import_module(f"{package}.{room}"), name)
        return vars(module)[name]

    def write(module: ModuleType, value: Any) -> None:
        if not isinstance(value, ModuleType):  # Python sets a room that was imported
            vars(module)[name] = value

    def forget(module: ModuleType) -> None:
        del vars(module)[name]

    return property(read, write, forget)
