"""Optional dependencies, imported where they are used and reported by name where they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from shared_core.errors import MissingExtraError


def require(module: str, extra: str, package: str = "shared-core") -> ModuleType:
    """Import an optional module, such as `require("av", "video")`.

    Raises:
        MissingExtraError: the module is not installed; the message holds the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # the module is there, but something it needs is broken: that is not ours to explain
        raise MissingExtraError(module, extra, package) from error
