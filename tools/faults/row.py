"""A row of the table as its author writes it: a promise, and a function that puts it to the test."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.faults.subject import Subject
from tools.faults.table import Figure

_LONGEST = 1500
"""Characters of a failure that are kept: its beginning and its end."""


class Broken(Exception):  # noqa: N818  a promise is
    """A promise did not hold; the message says what happened instead."""


def expect(holds: bool, found: str) -> None:
    """Go on where a promise holds.

    Raises:
        Broken: it does not; `found` says what happened instead.
    """
    if not holds:
        raise Broken(found)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a row is told.

    Attributes:
        moments: how many moments are drawn, where a row draws them.
        seed: of everything that is drawn.
        folder: scratch of this row and package alone, empty at first.
    """

    moments: int
    seed: int
    folder: Path

    def draw(self, *names: str) -> random.Random:
        """A generator that the seed and the names decide."""
        key = zlib.crc32("/".join(names).encode())
        return random.Random(self.seed << 32 | key)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One kind of fault.

    Attributes:
        name: one word, such as `full-disk`.
        wanted: the promise, in a few words.
        run: does it to a subject and tells what was found.
        per_package: done to each package; else once, to the smallest run of the core.
    """

    name: str
    wanted: str
    run: Callable[[Subject, Options], Figure | Sequence[Figure]]
    per_package: bool = True


class Trials:
    """Counts how often a promise held.

    Args:
        row: name in the table.
        subject: what it is done to.
        wanted: the promise.
    """

    def __init__(self, row: str, subject: Subject, wanted: str) -> None:
        self._row, self._package, self._wanted = row, subject.program, wanted
        self._tried = 0
        self._failures: list[str] = []

    @contextmanager
    def trial(self, name: str) -> Iterator[None]:
        """One trial: an error inside the block is noted under the name, and does not hold."""
        self._tried += 1
        try:
            yield
        except Exception as error:  # noqa: BLE001  whatever a fault leads to belongs into the table
            self._failures.append(f"{name}: {_shortened(f'{type(error).__name__}: {error}')}")

    def figure(self, measured: str = "", *, reason: str = "") -> Figure:
        """What was counted so far."""
        return Figure(
            row=self._row,
            package=self._package,
            held=self._tried - len(self._failures),
            tried=self._tried,
            wanted=self._wanted,
            measured=measured,
            reason=reason,
            failures=tuple(self._failures),
        )


def not_offered(row: str, subject: Subject, wanted: str, reason: str) -> Figure:
    """The row of a promise that is not made, with the reason."""
    return Figure(row=row, package=subject.program, held=0, tried=0, wanted=wanted, reason=reason)


def _shortened(text: str) -> str:
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]} ... {text[-half:]}"
