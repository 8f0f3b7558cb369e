"""Models of the transformers library, from a local folder or a hub."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from shared_core.errors import CheckpointError
from shared_core.extras import require


def transformers() -> ModuleType:
    """The library, or the line that installs it.

    Raises:
        MissingExtraError: it is not installed.
    """
    return require("transformers", "transformers", "abaw-va")


def from_pretrained(loader: Any, source: Path | str) -> Any:
    """Load with `loader.from_pretrained` from a folder, `owner/name`, or `owner/name@revision`.

    Raises:
        CheckpointError: nothing of this kind is there.
    """
    name, _, revision = (
        (str(source), "", "") if Path(source).exists() else str(source).partition("@")
    )
    try:
        return loader.from_pretrained(name, **({"revision": revision} if revision else {}))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            source,
            f"nothing that {loader.__name__} can load ({str(error).splitlines()[0]})",
            expected="a folder or hub id of a transformers model",
            remedy="Without network access, download the model elsewhere and give its folder.",
        ) from error
