"""Tables: typed rows with line numbers in errors; hostile input is a sentence, not a hang."""

from __future__ import annotations

import csv
import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared_core.data import tables
from shared_core.data.tables import (
    jsonable,
    read_csv,
    read_json,
    read_jsonl,
    write_csv,
    write_json,
    write_jsonl,
)
from shared_core.errors import DataError
from shared_core.testing.data import shared_data

COLUMNS = {"name": str, "frame": int, "valence": float}


def saved(tmp_path: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_columns_are_typed_found_by_name_and_keep_their_line(tmp_path):
    path = saved(
        tmp_path,
        "\ufefframe_before,valence, name ,frame\r\n"
        "x,-0.5,a,3\r\n"
        "\r\n"
        'x,1e-3,"b, ""quoted""\nand broken",-4\r\n'
        "x, 1 ,ÿ,5",
    )
    assert [tuple(row) for row in read_csv(path, COLUMNS)] == [
        (2, {"name": "a", "frame": 3, "valence": -0.5}),
        (5, {"name": 'b, "quoted"\nand broken', "frame": -4, "valence": 0.001}),
        (6, {"name": "ÿ", "frame": 5, "valence": 1.0}),
    ]


def test_another_delimiter_and_a_type_of_ones_own(tmp_path):
    def percent(text: str) -> float:
        if not text.endswith("%"):
            raise ValueError("a percentage")
        return float(text[:-1]) / 100

    path = saved(tmp_path, "a\tb\n50%\tx\n7\ty\n")
    rows = read_csv(path, {"a": percent}, delimiter="\t")
    assert next(rows).values == {"a": 0.5}
    with pytest.raises(DataError, match=r"line 3, column a: expected a value \(a percentage\)"):
        next(rows)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: expected a column 'name', found none"),
        ("name,frame,valance\n", r"expected a column 'valence', found .*nearest: 'valance'"),
        ("name,frame,valence,name\n", "line 1: two columns 'name'"),
        ("name,frame,valence\na,1\n", "line 2: expected 3 fields, as in the header, found 2"),
        ("name,frame,valence\na,1,0\na,1,0,9\n", "line 3: expected 3 fields.*found 4"),
        ("name,frame,valence\na,1.5,0\n", "line 2, column frame: expected a whole number"),
        (
            "name,frame,valence\na,1,none\n",
            "column valence: expected a finite number, found 'none'",
        ),
        ("name,frame,valence\na,1,nan\n", "column valence: expected a finite number, found 'nan'"),
        ("name,frame,valence\na,1,1e999\n", "expected a finite number, found '1e999'"),
        ("name,frame,valence\na,1,\n", "expected a finite number, found ''"),
        ("name,frame,valence\na\0,1,0\n", "line 2: expected text, found a NUL byte"),
        ('name,frame,valence\n"a,1,0\n', "line 2: unexpected end of data"),
        (b"name,frame,valence\n\xff,1,0\n", "expected UTF-8 text, found the byte 0xff"),
    ],
    ids=repr,
)
def test_a_wrong_table_is_named_by_line_and_column(tmp_path, content, message):
    path = saved(tmp_path, content)
    with pytest.raises(DataError, match=rf"table\.csv.*{message}"):
        list(read_csv(path, COLUMNS))


def test_a_line_or_field_without_end_is_refused(tmp_path, monkeypatch):
    path = saved(tmp_path, "name\n" + "x" * 200_000 + "\n")
    with pytest.raises(DataError, match="line 2: field larger than field limit"):
        list(read_csv(path, {"name": str}))
    monkeypatch.setattr(tables, "MAX_LINE", 1000)
    with pytest.raises(DataError, match="line 2: expected 1000 characters, found more"):
        list(read_csv(path, {"name": str}))


def test_a_missing_file_is_named(tmp_path):
    for read in (read_json, lambda p: list(read_jsonl(p)), lambda p: list(read_csv(p, {}))):
        with pytest.raises(DataError, match=r"gone: cannot be read \(No such file"):
            read(tmp_path / "gone")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1, column 1: expected JSON"),
        ('{"a": 1,\n"b" 2}', "line 2, column 5: expected JSON"),
        ('{"a": NaN}', "found NaN, which JSON does not have"),
        ('{"a": -Infinity}', "found -Infinity, which JSON does not have"),
        ('["NaN",\n "\\"NaN", NaN]', "line 2, column 11: expected JSON, found NaN"),
        ("[1e999]", "found 1e999 is not finite"),
        (r'["\ud800"]', "expected text, found half a character"),
        (r'{"\udfff": 1}', "expected text, found half a character"),
        ('{"a": 1, "b": 2, "a": 3}', "found the name 'a' twice in one object"),
        ("[" * 1_000_000, "it is nested too deeply"),
        ('{"a":' * 1_000_000, "it is nested too deeply"),
        ("1" * 10_000, "Exceeds the limit"),
        (b"\xff\xfe", "expected UTF-8 text"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_wrong_json_is_one_sentence_in_a_moment(tmp_path, content, message):
    path = saved(tmp_path, content, "file.json")
    before = time.process_time()
    with pytest.raises(DataError, match=message):
        read_json(path)
    assert time.process_time() - before < 1


def test_json_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_JSON", 10)
    with pytest.raises(DataError, match="expected at most 10 bytes, found 20"):
        read_json(saved(tmp_path, "[" + "1" * 18 + "]"))


def test_json_lines_have_numbers_and_errors_name_them(tmp_path):
    path = saved(tmp_path, '{"a": 1}\n\n[2.5]\n{"a": }\n', "events.jsonl")
    lines = read_jsonl(path)
    assert [next(lines), next(lines)] == [(1, {"a": 1}), (3, [2.5])]
    with pytest.raises(DataError, match=r"events\.jsonl, line 4, column 7: expected JSON"):
        next(lines)
    with pytest.raises(DataError, match=r"nan\.jsonl, line 2, column 7: expected JSON, found NaN"):
        list(read_jsonl(saved(tmp_path, '{"a": 1}\n{"a": NaN}\n', "nan.jsonl")))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), inner
    ),
    max_leaves=10,
)  # fmt: skip


@given(value=json_values)
def test_json_comes_back_as_it_was_written(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value
    write_jsonl(path, [value, value])
    assert list(read_jsonl(path)) == [(1, value), (2, value)]


@given(
    texts=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"))
        .map(str.lstrip)
        .filter(lambda text: not text.startswith(("=", "+", "-", "@"))),  # see the test below
        min_size=1,
    )
)
def test_csv_comes_back_as_it_was_written(tmp_path_factory, texts):
    path = tmp_path_factory.getbasetemp() / "value.csv"
    write_csv(
        path, ["number", "text"], ({"text": t, "number": 0.1 + n} for n, t in enumerate(texts))
    )
    found = [row.values for row in read_csv(path, {"number": float, "text": str})]
    assert found == [{"number": 0.1 + n, "text": t} for n, t in enumerate(texts)]


def test_what_is_not_finite_becomes_null(tmp_path):
    value = {
        "loss": math.nan,
        Path("a/b"): (np.float32(0.5), np.float64("inf"), np.int64(3), np.bool_(True)),
        "tensor": torch.tensor([[1.0, math.nan]]),
        "array": np.arange(2),
    }
    write_json(tmp_path / "v.json", value)
    assert json.loads((tmp_path / "v.json").read_text()) == {
        "loss": None,
        "a/b": [0.5, None, 3, True],
        "tensor": [[1.0, None]],
        "array": [0, 1],
    }
    write_csv(tmp_path / "v.csv", ["a", "b"], [{"a": math.nan, "b": None}, {"a": 1, "b": "x"}])
    assert (tmp_path / "v.csv").read_text() == "a,b\n,\n1,x\n"
    with pytest.raises(TypeError, match="object has no JSON form"):
        jsonable({"a": [object()]})


def test_a_spreadsheet_computes_no_text(tmp_path):
    cells = ["=1+1", "@SUM(A1)", "-x.png", "+1", "-0.5", "a=b", -0.5]
    write_csv(tmp_path / "a.csv", ["file"], [{"file": cell} for cell in cells])
    _, *written = (tmp_path / "a.csv").read_text("utf-8").splitlines()
    assert written == ["'=1+1", "'@SUM(A1)", "'-x.png", "+1", "-0.5", "a=b", "-0.5"]


def test_what_utf8_cannot_hold_is_escaped(tmp_path):
    name = Path("a\udcff.png")
    assert jsonable({"a\udcff": [name, "é"]}) == {r"a\udcff": [r"a\udcff.png", "é"]}
    write_jsonl(tmp_path / "a.jsonl", [{"path": name}])
    assert list(read_jsonl(tmp_path / "a.jsonl")) == [(1, {"path": r"a\udcff.png"})]


def test_a_value_without_json_form_leaves_the_old_file(tmp_path):
    path = tmp_path / "v.jsonl"
    write_jsonl(path, [1])
    with pytest.raises(TypeError):
        write_jsonl(path, [2, object()])
    assert path.read_text() == "1\n"
    assert [p.name for p in tmp_path.iterdir()] == ["v.jsonl"]


def test_the_real_sequences_are_read_as_the_csv_module_reads_them():
    paths = sorted(shared_data("abaw-va", "va_sequences").glob("[0-9]*.csv"))
    assert len(paths) == 20
    for path in paths:
        with path.open(newline="") as file:
            slow = [float(row["valence"]) for row in csv.DictReader(file)]
        assert [row.values["valence"] for row in read_csv(path, {"valence": float})] == slow
        assert 14 <= len(slow) <= 39
