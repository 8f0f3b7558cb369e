"""Small archives for tests, written with the members that are asked for."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Members = Mapping[str, bytes] | Iterable[tuple[str, bytes]]
"""Content by name; pairs, where two members share a name."""


def tar_of(path: Path, members: Members, mode: str = "w", **settings: Any) -> Path:
    """Write a tar archive whose files all claim special rights; `settings` are tarfile's."""
    with tarfile.open(path, mode, **settings) as tar:  # type: ignore[call-overload]
        for name, content in _pairs(members):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mode = 0o6777
            tar.addfile(info, io.BytesIO(content))
    return path


def zip_of(path: Path, members: Members, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write a zip archive."""
    with zipfile.ZipFile(path, "w", method) as zipped:
        for name, content in _pairs(members):
            zipped.writestr(zipfile.ZipInfo(name), content, method)
    return path


def _pairs(members: Members) -> Iterable[tuple[str, bytes]]:
    return members.items() if isinstance(members, Mapping) else members
