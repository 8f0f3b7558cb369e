"""What can go wrong, each as one sentence that helps: which file, which row, what was expected, what to do.

Everything a user can cause derives from `UserError`; a command prints its message alone, without a
traceback, and ends with its `exit_status` (2 for usage, 1 for data). Anything else is a bug and keeps
its traceback.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class UserError(Exception):
    """A mistake in what was asked for or in the data, reported as a message without a traceback."""

    exit_status: ClassVar[int] = 1


class UsageError(UserError):
    """The command line or the configuration asks for something that cannot be done."""

    exit_status = 2


class ConfigError(UsageError):
    """A field of a configuration holds a value it cannot take."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"{field}: expected {expected}, found {value!r}.")
        self.field = field


class MissingExtraError(UsageError):
    """An optional dependency is needed and absent; names the extra and the line that installs it."""

    def __init__(self, module: str, extra: str, package: str = "shared-core") -> None:
        super().__init__(
            f"this needs the module {module!r}, which the extra {extra!r} brings: "
            f'pip install "{package}[{extra}]"'
        )
        self.extra = extra


class DataError(UserError):
    """Data that cannot be used, with its place, what was expected, what was found, and a remedy.

    Args:
        path: the file or folder.
        found: what is wrong, as the end of "expected ..., found ..." or, without `expected`, a whole clause.
        where: the place inside the file, such as "video 12-24-1920x1080, row 381".
        expected: what should have been there.
        remedy: what the user can do, a full sentence.
    """

    def __init__(
        self,
        path: Path | str,
        found: str,
        *,
        where: str = "",
        expected: str = "",
        remedy: str = "",
    ) -> None:
        place = f"{path}, {where}" if where else f"{path}"
        fault = f"expected {expected}, found {found}" if expected else found
        super().__init__(f"{place}: {fault}." + (f"\n{remedy}" if remedy else ""))
        self.path = Path(path)
        self.where = where


class CheckpointError(DataError):
    """A checkpoint that is damaged, incomplete, unsafe, or made for another model."""


class RunFolderError(UsageError):
    """A run folder that is in use, holds another run, or cannot be written."""


class NonFiniteError(UserError):
    """A value that must be finite is NaN or infinite."""


class LaunchError(UsageError):
    """The processes that were asked for are not the ones that run."""


def first_line(error: Exception) -> str:
    """What another library says went wrong, without its details; the kind of error, if it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
