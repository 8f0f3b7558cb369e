"""The lock of a run folder (without torch)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO

from shared_core.errors import RunFolderError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_FILE = "run.lock"
"""Its name in the folder."""


class FolderLock:
    """One run at a time in a folder.

    The operating system holds the lock for the process and drops it when the process dies, however
    it dies: there is no stale lock. The file's text, the holder's number, is for the message alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Take the lock.

        Raises:
            RunFolderError: another process holds it.
        """
        file = self.path.open("a+")
        try:
            if sys.platform == "win32":
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                # lockf, not flock: a child that outlives its killed parent must not hold the lock
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise RunFolderError(
                f"{self.path.parent}: another run (process {holder}) is writing here. "
                "Wait for it, end it, or choose another --run folder."
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file

    def is_held(self) -> bool:
        """Whether another process holds the lock."""
        if not self.path.exists():
            return False
        try:
            self.take()
        except RunFolderError:
            return True
        self.drop()
        return False

    def drop(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            self._file.close()
            self._file = None
