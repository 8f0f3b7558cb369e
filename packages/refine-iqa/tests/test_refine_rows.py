"""Rows: the three forms of a table, scores on their scale, and every mistake with its place."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from refine_iqa.data.prompts import QUESTION_IMAGE, QUESTION_VIDEO
from refine_iqa.data.rows import Row, read_rows
from shared_core.data.quarantine import Quarantine
from shared_core.errors import DataError

ROW = {"image": "a.png", "question": "How good?", "solution": 4.400806947958697}
SEEN = {
    "image": "a.png",
    "question": "What is wrong?",
    "task": "joint",
    "solution": {"type": "noise", "severity": 3, "box": [10, 20, 30, 40]},
    "size": [100, 80],
}


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png", "clip.MOV"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def written(folder, rows, name="train.json"):
    path = folder / name
    if name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text(json.dumps(rows))
    return path


def changed(row=ROW, **values):
    return {name: value for name, value in {**row, **values}.items() if value is not None}


def refusal(folder, row, name="train.json") -> str:
    with pytest.raises(DataError) as caught:
        read_rows(written(folder, [ROW, row], name))
    return str(caught.value)


def _found(pattern, text):
    assert re.search(pattern, text), text


def test_the_authors_json_is_read(folder):
    rows = [
        {**ROW, "type": "scoring_image"},
        {"video": "clip.MOV", "question": "And this?", "solution": 5.0, "type": "scoring_video"},
    ]
    image, video = read_rows(written(folder, rows))
    assert image == Row(
        where="train.json, row 1",
        media=(folder / "a.png",),
        is_video=False,
        question="How good?",
        task="scoring",
        solution=4.400806947958697,
    )
    assert (video.media, video.is_video, video.solution) == ((folder / "clip.MOV",), True, 5.0)


def test_json_lines_count_lines_whatever_their_suffix(folder):
    for name in ("train.jsonl", "train.json"):
        path = folder / name
        path.write_text(f"{json.dumps(ROW)}\n\n{json.dumps(changed(solution='3.25'))}\n")
        first, second = read_rows(path)
        assert (first.where, second.where) == (f"{name}, line 1", f"{name}, line 3")
        assert second.solution == 3.25


def test_a_csv_is_read_with_its_optional_columns(folder):
    path = folder / "table.csv"
    path.write_text(
        "std,path,mos,split,note\n0.5,a.png,1,train,x\n,clip.MOV,4.25,,y\n", encoding="utf-8-sig"
    )
    image, video = read_rows(path)
    assert (image.solution, image.std, image.split, image.is_video) == (1.0, 0.5, "train", False)
    assert (video.solution, video.std, video.split, video.is_video) == (4.25, None, None, True)
    assert image.where == "table.csv, line 2"
    assert (image.question, video.question) == (QUESTION_IMAGE, QUESTION_VIDEO)


def test_relative_paths_begin_at_the_root_and_absolute_ones_win(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    rows = [ROW, changed(image=str(folder / "b.png"))]
    table = written(elsewhere, rows)
    first, second = read_rows(table, data_root=folder)
    assert (first.media, second.media) == ((folder / "a.png",), (folder / "b.png",))
    with pytest.raises(DataError, match=r"row 1: .*no file"):
        read_rows(table)


def test_a_row_may_show_several_images(folder):
    (row,) = read_rows(written(folder, [changed(image=["a.png", "b.png"])]))
    assert row.media == (folder / "a.png", folder / "b.png")


@pytest.mark.parametrize(("score", "mos"), [(0, 1.0), (100, 5.0), (50, 3.0), ("25", 2.0)])
def test_another_scale_is_mapped_to_1_to_5(folder, score, mos):
    (row,) = read_rows(written(folder, [changed(solution=score, scale=[0, 100], std=25)]))
    assert row.solution == mos
    assert row.std == 1.0


def test_a_question_of_the_caller_stands_in(folder):
    table = written(folder, [ROW, changed(question=None)])
    assert [row.question for row in read_rows(table, question="Well?")] == ["How good?", "Well?"]


def test_a_perception_row_keeps_what_is_to_be_seen(folder):
    (row,) = read_rows(written(folder, [SEEN]))
    assert row.task == "joint"
    assert row.solution == {"type": "noise", "severity": 3, "box": (10, 20, 30, 40)}
    assert row.size == (100, 80)
    whole = changed(SEEN, solution={"type": "noise", "severity": 3, "box": None})
    (row,) = read_rows(written(folder, [whole]))
    assert row.solution["box"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "gone.png"}, "expected the image that the row names, found no file"),
        ({"image": "a" * 5000}, "expected the image that the row names, found no file"),
        ({"image": "a\0b"}, "expected the image that the row names, found no file"),
        ({"image": None}, "either an image or a video, found neither"),
        ({"video": "clip.MOV"}, "either an image or a video, found image and video"),
        ({"image": "clip.MOV"}, "expected an image .*found the video clip.MOV"),
        ({"image": []}, "a path in 'image'"),
        ({"image": ["a.png", 3]}, "a path in 'image'"),
        ({"solution": None}, "a score from 1 to 5 in 'solution', found none"),
        ({"solution": 5.01}, "a score from 1 to 5 in 'solution', found 5.01"),
        ({"solution": 0}, "found 0"),
        ({"solution": "nan"}, "found 'nan'"),
        ({"solution": "good"}, "found 'good'"),
        ({"solution": True}, "found True"),
        ({"solution": [4]}, r"found \[4\]"),
        ({"solution": 101, "scale": [0, 100]}, "a score from 0 to 100 .*found 101"),
        ({"scale": [5, 1]}, "a scale of two numbers"),
        ({"scale": [1]}, "a scale of two numbers"),
        ({"std": -1}, "a standard deviation of 0 or more"),
        ({"question": " "}, "text in 'question'"),
        ({"question": 7}, "text in 'question'"),
        ({"task": "colour"}, "a task: scoring, type, severity, grounding, joint"),
    ],
)
def test_a_bad_row_names_its_place_and_what_was_expected(folder, change, message):
    text = refusal(folder, changed(**change))
    assert "train.json, row 2: " in text
    _found(message, text)
    assert "train.jsonl, line 2: " in refusal(folder, changed(**change), "train.jsonl")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "type", "solution": {"severity": 3}}, "'type' in the solution of the task type"),
        ({"task": "severity", "solution": {"type": "blur"}}, "'severity' in the solution"),
        ({"task": "grounding", "solution": {"type": "blur"}}, "'box' in the solution"),
        ({"solution": {"type": "blur"}}, "'severity' in the solution of the task joint"),
        ({"solution": 4.0}, "a solution of the task joint: an object"),
        ({"solution": {"type": "blur", "severity": 6}}, "a severity from 1 to 5"),
        ({"solution": {"type": "blur", "severity": 2.5}}, "a severity from 1 to 5"),
        ({"size": None}, "a 'size' of the picture"),
        ({"size": [100, 0]}, "a size of two whole numbers"),
        ({"size": [29, 80]}, "a box .* inside 29 x 80 pixels"),
        ({"size": [100, 39]}, "inside 100 x 39"),
    ],
)
def test_a_perception_row_is_complete_and_its_box_inside_the_picture(folder, change, message):
    _found(message, refusal(folder, changed(SEEN, **change)))


@pytest.mark.parametrize(
    "box", [[30, 20, 10, 40], [10, 20, 10, 40], [-1, 0, 5, 5], [1, 2, 3], "1234", [1, 2, 3, None]]
)
def test_a_box_has_an_area_and_four_edges(folder, box):
    solution = {"type": "noise", "severity": 1, "box": box}
    _found("a box .x1, y1, x2, y2.", refusal(folder, changed(SEEN, solution=solution)))


def test_what_is_no_row_is_refused(folder):
    assert "row 2: expected an object, found list" in refusal(folder, [1])


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("t.jsonl", '{"image": "a.png"}\n{"image": oops}\n', "line 2"),
        ("t.json", '[{"image": "a.png"},\n {"image" "a.png"}]', "line 2"),
        ("t.csv", "path,mos\na.png,3\nb.png\n", "line 3"),
        ("t.csv", "name,mos\na.png,3\n", "a column 'path'"),
        ("t.json", "", "expected rows"),
        ("t.json", "[]", "expected rows"),
        ("t.jsonl", '{"image": "a.png", "solution": NaN}', "line 1, column 32: .*NaN"),
        ("t.json", '[{"image": "a.png",\n "solution": NaN}]', "line 2, column 14: .*NaN"),
    ],
)
def test_damaged_text_is_refused_with_its_line_under_either_policy(folder, name, content, place):
    (folder / name).write_text(content)
    for quarantine in (None, Quarantine("quarantine", 1.0)):
        with pytest.raises(DataError) as caught:
            read_rows(folder / name, quarantine=quarantine)
        _found(place, str(caught.value))


def test_a_missing_table_is_named(tmp_path):
    for name in ("t.json", "t.csv"):
        with pytest.raises(DataError, match=rf"{name}: cannot be read"):
            read_rows(tmp_path / name)


def test_bad_rows_are_left_out_and_listed(folder):
    table = written(folder, [ROW, changed(solution=9), ROW])
    quarantine = Quarantine("quarantine", limit_share=0.5)
    rows = read_rows(table, quarantine=quarantine)
    assert [row.where for row in rows] == ["train.json, row 1", "train.json, row 3"]
    assert [row.where for row in quarantine.rows] == ["row 2"]
    with pytest.raises(DataError, match="1 of 3 rows cannot be used"):
        read_rows(table, quarantine=Quarantine("quarantine", limit_share=0.1))


def test_reading_rows_imports_no_torch():
    code = (
        "import refine_iqa.data.rows, sys; print({'torch', 'transformers', 'trl'} & {*sys.modules})"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
