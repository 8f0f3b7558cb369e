"""`prepare check`: all that cannot be used is listed, and the exit status says whether there is any."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from refine_iqa.config import CheckConfig
from refine_iqa.data import check as room
from refine_iqa.data.check import check, command
from shared_core.errors import DataError
from shared_core.testing.media import grey_steps, write_media


@pytest.fixture
def folder(tmp_path):
    Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save(tmp_path / "good.png")
    write_media(tmp_path / "clip.mp4", grey_steps(6), fps=3)
    (tmp_path / "broken.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    (tmp_path / "broken.mp4").write_text("no video")
    return tmp_path


def settings(folder, rows, **changes) -> CheckConfig:
    (folder / "train.json").write_text(json.dumps(rows))
    return CheckConfig(data=folder / "train.json", out=folder / "check.json", **changes)


GOOD = [
    {"image": "good.png", "solution": 2.5},
    {"image": ["good.png", "good.png"], "solution": 4},
    {"video": "clip.mp4", "solution": 3},
    {"image": "good.png", "question": "What?", "task": "type", "solution": {"type": "noise"}},
]


def test_a_good_table_is_summed_up(folder, capsys):
    config = settings(folder, GOOD)
    assert command(config) == 0
    assert json.loads((folder / "check.json").read_text()) == {
        "rows": 4,
        "usable": 4,
        "tasks": {"scoring": 3, "type": 1},
        "pictures": 4,
        "videos": 1,
        "lowest": 2.5,
        "highest": 4.0,
        "problems": [],
    }
    said = capsys.readouterr()
    assert "4 of 4 rows can be used: 3 scoring, 1 type; 4 images, 1 videos" in said.out + said.err


def test_every_bad_row_is_listed_with_its_place(folder):
    bad = [
        {"image": "broken.png", "solution": 3},
        {"video": "broken.mp4", "solution": 3},
        {"image": "gone.png", "solution": 3},
        {"image": "good.png", "solution": 9},
    ]
    config = settings(folder, GOOD + bad)
    assert command(config) == 1
    found = json.loads((folder / "check.json").read_text())
    assert (found["rows"], found["usable"]) == (8, 4)
    problems = "\n".join(found["problems"])
    for place, fault in (
        ("row 5", "broken.png"),
        ("row 6", "broken.mp4"),
        ("row 7", "gone.png"),
        ("row 8", "found 9"),
    ):
        assert any(place in line and fault in line for line in found["problems"]), problems
    assert len(found["problems"]) == 4


def test_a_picture_that_many_rows_name_is_decoded_once(folder, monkeypatch):
    decoded = []
    monkeypatch.setattr(room, "read_picture", lambda path, **_: decoded.append(path))
    check(settings(folder, GOOD))
    assert decoded == [folder / "good.png"]


def test_a_video_with_fewer_frames_than_asked_is_a_problem(folder):
    (problem,) = check(settings(folder, [GOOD[2]], nframes=8)).problems
    assert "train.json, row 1: " in problem
    assert "expected 8 frames" in problem


def test_a_table_that_is_not_there_stops_the_command(tmp_path):
    with pytest.raises(DataError, match=r"gone\.json"):
        command(CheckConfig(data=tmp_path / "gone.json"))
