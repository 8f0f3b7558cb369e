"""Finding the files that a user means, and writing files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from shared_core.errors import DataError

VIDEO_SUFFIXES = frozenset(
    {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}
)
"""What is taken for a video in a folder; a file named by the user may have any other."""


def find_files(paths: Iterable[Path], suffixes: Collection[str], noun: str) -> list[Path]:
    """The files that a user names, and those inside the folders that a user names, each once.

    Args:
        paths: files, whatever their suffix, and folders, whose files are sorted by name.
        suffixes: endings, in small letters, of what is taken from a folder; hidden files are not.
        noun: what such a file is, for messages: "video".

    Raises:
        DataError: a path does not exist, or a folder holds no such file.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DataError(path, "no such file or folder")
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(
            inner
            for inner in path.iterdir()
            if inner.suffix.lower() in suffixes and not inner.name.startswith(".")
        )
        if not inside:
            kinds = ", ".join(sorted(suffixes))
            raise DataError(path, f"no {noun} in this folder", expected=f"files with {kinds}")
        found += inside
    return list({path.resolve(): path for path in found}.values())


def as_text(name: str | Path) -> str:
    r"""A name as text that UTF-8 can hold: a byte of a file's name that is no text is escaped, `\udcff`."""
    return str(name).encode("utf-8", "backslashreplace").decode("utf-8")


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
