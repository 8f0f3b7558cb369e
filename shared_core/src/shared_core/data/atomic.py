"""Data files that are written whole or not at all, with errors that say what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared_core.errors import DataError
from shared_core.files import sync_file, sync_folder


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` once the body has written it.

    The file is flushed to the disk before the rename, the folder after it, so that a reader sees
    the old content or the new one at any moment, a power cut included. When the body fails, `path`
    is as it was and nothing else is left.

    Raises:
        DataError: the file cannot be written; says why (no permission, no space, ...).
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        sync_file(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise DataError(
            path,
            f"cannot be written ({error.strerror or error})",
            remedy="Choose a folder that you may write to, on a disk with free space.",
        ) from error
    finally:
        if temporary.parent.is_dir():
            temporary.unlink(missing_ok=True)
