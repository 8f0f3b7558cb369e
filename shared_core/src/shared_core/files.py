"""Files that are either whole and on the disk, or not there."""

from __future__ import annotations

import os
from pathlib import Path


def sync_file(path: Path) -> None:
    """Wait until the bytes of a file are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, so that no power cut undoes a rename."""
    sync_file(folder)


def replace_file(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a power cut, finds the old content or the new, whole.

    One writer at a time: the temporary name `.<name>.writing` beside the file is fixed, so that
    what a killed process left is overwritten by the next.

    Raises:
        OSError: as the operating system says; the old content is then still there.
    """
    temporary = path.with_name(f".{path.name}.writing")
    data = content.encode() if isinstance(content, str) else content
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
