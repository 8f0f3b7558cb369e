"""The record of a run: `events.jsonl`, one JSON object a line, always written.

    {"time": 1764072000.5, "kind": "train", "step": 120, "epoch": 3, "loss": 0.41}

`time` is in seconds since 1970, `kind` says what happened ("train", "evaluate", "note", ...), and
`step` is the number of updates made. A number that is not finite is null: JSON has no NaN.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from shared_core.errors import DataError
from shared_core.files import replace_file

FILE = "events.jsonl"


class Events:
    """Appends to the record of one run; each line is handed to the system before `write` returns.

    A last line that a killed run left unfinished is removed when the record is opened. One process
    writes.

    Args:
        folder: the run folder, which must exist.

    Raises:
        DataError: the record cannot be opened for writing.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        try:
            self._file = self._opened()
        except OSError as error:
            raise DataError(self.path, f"it cannot be written ({error.strerror})") from error
        whole = _whole_length(self.path)
        if whole < self._file.tell():
            self._file.truncate(whole)

    def write(self, step: int, kind: str, **values: Any) -> None:
        """Append one event.

        Args:
            step: number of updates made.
            kind: what happened.
            values: numbers, 0-d tensors, text, or lists and dicts of them.

        Raises:
            OSError: the line cannot be written, as on a full disk; the lines before it are whole.
        """
        event = dict(time=round(time.time(), 3), kind=kind, step=step, **values)
        line = json.dumps(finite(event), allow_nan=False)
        raw = line.encode() + b"\n"
        if self._file.write(raw) < len(raw):  # a full disk takes what still fits
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def rewind(self, step: int) -> None:
        """Forget the events after a step, so that a resumed run records each step exactly once.

        Raises:
            DataError: a line before the last is damaged; names it.
        """
        self._file.close()
        kept = [raw for raw, event in _lines(self.path) if event["step"] <= step]
        replace_file(self.path, b"".join(kept))
        self._file = self._opened()

    def sync(self) -> None:
        """Wait until the record is on the disk; called with every checkpoint."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        self._file.close()

    def _opened(self) -> io.FileIO:
        return self.path.open(
            "ab", buffering=0
        )  # unbuffered: a full disk shows at the line it hits

    def __enter__(self) -> Events:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def read(path: Path) -> list[dict[str, Any]]:
    """Read a record, also while the run writes it: an unfinished last line is left out.

    Args:
        path: the file, or the run folder.

    Raises:
        DataError: there is no record, or a line before the last is damaged; names it.
    """
    file = path / FILE if path.is_dir() else path
    return [event for _, event in _lines(file)]


def finite(value: Any) -> Any:
    """The value as JSON can hold it: tensors become numbers, and NaN and infinities become None."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Whole lines, raw and parsed; a damaged last one is taken for the mark of a killed run."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise DataError(path, f"it cannot be read ({error.strerror})") from error
    for number, raw in enumerate(lines, start=1):
        event = _parsed(raw)
        if event is not None:
            yield raw, event
        elif number < len(lines):
            raise DataError(
                path,
                "something else",
                where=f"line {number}",
                expected="one event as a JSON object",
                remedy="Remove the line, or restore the file from a copy.",
            )


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(raw) if raw.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
    whole = isinstance(event, dict) and isinstance(event.get("step"), int) and "kind" in event
    return event if whole else None


def _whole_length(path: Path) -> int:
    """Bytes up to and with the last line end."""
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        while position > 0:
            start = max(0, position - 4096)
            file.seek(start)
            end = file.read(position - start).rfind(b"\n")
            if end >= 0:
                return start + end + 1
            position = start
    return 0
