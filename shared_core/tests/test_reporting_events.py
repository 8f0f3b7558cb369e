"""The record holds every step once, survives a kill, and is strict about all but its tail."""

from __future__ import annotations

import collections
import itertools
import json
import time
from pathlib import Path

import pytest
import torch

from shared_core.errors import DataError
from shared_core.reporting.events import Events, read
from shared_core.testing.faults import fill_disk, small_disk


def test_each_event_is_one_json_line_at_once(tmp_path: Path) -> None:
    events = Events(tmp_path)
    events.write(3, "train", epoch=0, loss=0.5, lr=[1e-3, 2e-3], name="a\nb é")
    line = (tmp_path / "events.jsonl").read_text()
    assert line.endswith("}\n")
    assert line.count("\n") == 1
    event = json.loads(line)
    assert abs(event.pop("time") - time.time()) < 60
    assert event == {
        "kind": "train",
        "step": 3,
        "epoch": 0,
        "loss": 0.5,
        "lr": [1e-3, 2e-3],
        "name": "a\nb é",
    }
    events.close()


def test_what_is_not_finite_is_null_and_tensors_are_numbers(tmp_path: Path) -> None:
    with Events(tmp_path) as events:
        events.write(
            1, "train", a=float("nan"), b=[float("inf"), {"c": -float("inf")}], d=torch.tensor(2.5)
        )
    (event,) = read(tmp_path)
    assert (event["a"], event["b"], event["d"]) == (None, [None, {"c": None}], 2.5)


def test_a_reserved_name_is_a_bug(tmp_path: Path) -> None:
    with Events(tmp_path) as events, pytest.raises(TypeError):
        events.write(1, "train", time=3)


@pytest.mark.parametrize("tail", [b'{"kind": "tr', b"\0" * 5000, b'{"step": 3}', b'"x'])
def test_an_unfinished_last_line_is_left_out_and_overwritten(tmp_path: Path, tail: bytes) -> None:
    with Events(tmp_path) as events:
        events.write(1, "train", loss=1.0)
        events.write(2, "train", loss=2.0)
    path = tmp_path / "events.jsonl"
    path.write_bytes(path.read_bytes() + tail)
    assert [event["step"] for event in read(path)] == [1, 2]
    with Events(tmp_path) as events:
        events.write(3, "train")
    assert [event["step"] for event in read(path)] == [1, 2, 3]


def test_a_file_that_is_all_tail_starts_anew(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"x" * 10_000)
    with Events(tmp_path) as events:
        events.write(0, "note", text="again")
    assert len(read(tmp_path)) == 1


@pytest.mark.parametrize("damage", ["{", "[]", "3", '{"kind": "a"}', '{"kind": "a", "step": "1"}'])
def test_damage_before_the_last_line_names_the_line(tmp_path: Path, damage: str) -> None:
    good = '{"kind": "a", "step": 1}\n'
    (tmp_path / "events.jsonl").write_text(good + damage + "\n" + good)
    with pytest.raises(DataError, match=r"events\.jsonl, line 2: expected one event"):
        read(tmp_path)


def test_rewind_keeps_each_step_once_and_can_be_written_on(tmp_path: Path) -> None:
    with Events(tmp_path) as events:
        for step in range(6):
            events.write(step, "train", run=1)
        events.write(3, "evaluate")
        events.rewind(3)
        for step in range(4, 6):
            events.write(step, "train", run=2)
    seen = [(event["step"], event["kind"], event.get("run")) for event in read(tmp_path)]
    assert seen == [
        *((step, "train", 1) for step in range(4)),
        (3, "evaluate", None),
        *((step, "train", 2) for step in (4, 5)),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["events.jsonl"]


def test_rewind_to_the_beginning_empties_the_record(tmp_path: Path) -> None:
    with Events(tmp_path) as events:
        events.write(0, "train")
        events.rewind(-1)
    assert read(tmp_path) == []


def test_no_record_and_no_folder_are_one_message(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "events.jsonl")
    with pytest.raises(DataError, match="cannot be written"):
        Events(tmp_path / "absent")


def test_a_full_disk_is_an_os_error_and_whole_lines_remain(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64 << 10) as disk:
        events = Events(disk)
        fill_disk(disk, leave=4096)
        steps = itertools.count()
        with pytest.raises(OSError, match="No space left"):
            collections.deque(events.write(step, "train", loss=0.5) for step in steps)
        events.close()
        steps = [event["step"] for event in read(disk)]
        assert steps == list(range(len(steps)))
        assert steps
