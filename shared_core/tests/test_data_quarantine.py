"""A bad row stops the run, or is left out, listed once, and counted; too many of them stop it."""

from __future__ import annotations

import json

import pytest

from shared_core.data.quarantine import BadRow, Quarantine
from shared_core.errors import DataError


def row(number: int, file: str = "a.csv") -> DataError:
    return DataError(file, "NaN", where=f"row {number}", expected="a number", remedy="Remove it.")


def test_the_policy_raise_raises_the_error_itself():
    error = row(1)
    with pytest.raises(DataError) as caught:
        Quarantine().bad(error, of=1000)
    assert caught.value is error


def test_a_row_is_listed_once_and_counted_however_often_it_comes():
    quarantine = Quarantine("quarantine", limit_share=0.5)
    for error in (row(3), row(1), row(3), row(3, "b.csv"), row(3)):
        quarantine.bad(error, of=10)
    assert [(r.path, r.where, r.count) for r in quarantine.rows] == [
        ("a.csv", "row 3", 3),
        ("a.csv", "row 1", 1),
        ("b.csv", "row 3", 1),
    ]
    assert quarantine.rows[0].message.startswith("a.csv, row 3: expected a number, found NaN.")


def test_the_limit_itself_is_allowed_and_one_more_stops_with_the_first_rows():
    quarantine = Quarantine("quarantine", limit_share=0.1)
    for number in range(10):
        quarantine.bad(row(number), of=100)
        quarantine.bad(row(number), of=100)  # the same row again is no further row
    with pytest.raises(DataError) as caught:
        quarantine.bad(row(10), of=100)
    message = str(caught.value)
    assert "11 of 100 rows cannot be used, more than the limit of 10%" in message
    assert "a.csv, row 0: expected" in message
    assert "row 4" in message
    assert "row 5" not in message
    assert "Remove it." not in message


def test_rows_survive_json_and_merge_over_processes():
    first, second = (Quarantine("quarantine", limit_share=1.0) for _ in range(2))
    first.bad(row(1), of=9)
    second.bad(row(1), of=9)
    second.bad(row(2), of=9)
    first.merge(json.loads(json.dumps(second.to_json())))
    first.merge([BadRow("c.csv", "row 9", "c.csv, row 9: bad.")])
    assert [(r.where, r.count) for r in first.rows] == [("row 1", 2), ("row 2", 1), ("row 9", 1)]
