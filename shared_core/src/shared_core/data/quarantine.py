"""What happens to rows that cannot be used: the run stops, or they are left out and listed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from shared_core.errors import DataError

Policy = Literal["raise", "quarantine"]


@dataclass(frozen=True)
class BadRow:
    """One row that was left out, and how often it came up (once an epoch)."""

    path: str
    where: str
    message: str
    count: int = 1


class Quarantine:
    """The rows that a run has left out; too many of them stop it.

    Args:
        policy: `raise` turns the first bad row into the error that it is; `quarantine` lists it.
        limit_share: share of a data set's rows, 0..1, above which the run stops: a model that was
            trained on what happens to be readable is not the one that was asked for.
    """

    def __init__(self, policy: Policy = "raise", limit_share: float = 0.1) -> None:
        self.policy = policy
        self.limit_share = limit_share
        self._rows: dict[tuple[str, str], BadRow] = {}

    @property
    def rows(self) -> tuple[BadRow, ...]:
        """Every row left out so far, once each, in the order of their first appearance."""
        return tuple(self._rows.values())

    def bad(self, error: DataError, *, of: int) -> None:
        """Take note of a bad row in a data set of `of` rows.

        Raises:
            DataError: `error` itself under the policy `raise`; otherwise when the distinct bad rows
                are more than `limit_share` of the set, listing the first of them.
        """
        if self.policy == "raise":
            raise error
        self._add(BadRow(str(error.path), error.where, str(error)))
        if len(self._rows) > self.limit_share * of:
            raise self._too_many(of) from error

    def merge(self, rows: Iterable[BadRow | Mapping[str, Any]]) -> None:
        """Add rows that another process listed, or that a checkpoint kept (see `to_json`)."""
        for row in rows:
            self._add(row if isinstance(row, BadRow) else BadRow(**row))

    def to_json(self) -> list[dict[str, Any]]:
        """The rows as plain values: for the run's report and its checkpoints."""
        return [asdict(row) for row in self.rows]

    def _add(self, row: BadRow) -> None:
        key = (row.path, row.where)
        known = self._rows.get(key)
        self._rows[key] = replace(known, count=known.count + row.count) if known else row

    def _too_many(self, of: int) -> DataError:
        first = [row.message.partition("\n")[0] for row in self.rows[:5]]
        return DataError(
            self.rows[0].path,
            f"{len(self._rows)} of {of} rows cannot be used, "
            f"more than the limit of {self.limit_share:.0%}",
            remedy="\n".join(["The first of them:", *first, "Repair or remove them."]),
        )
