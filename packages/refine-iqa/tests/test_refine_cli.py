"""The command line: its help pages, what they import, and what it says to mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from refine_iqa.cli import VERBS, main
from shared_core.testing.commands import assert_help_snapshots, modules_after

NAMES = [verb.name for verb in VERBS]
HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "accelerate"}


def test_every_verb_of_the_house_is_there():
    assert {"train", "evaluate", "predict", "convert", "demo"} <= set(NAMES)
    assert {"prepare check", "prepare perception-db", "prepare tiny-model"} <= set(NAMES)


def test_help_pages_are_those_that_are_kept():
    assert_help_snapshots(main, NAMES, Path(__file__).parent / "snapshots")


@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_imports_nothing_heavy(name):
    """`--help` answers without torch, transformers and trl (law 3)."""
    modules = modules_after(["refine_iqa", *name.split(), "--help"])
    assert "refine_iqa.cli" in modules
    assert not HEAVY & modules


def test_the_package_itself_costs_nothing():
    """`import refine_iqa` alone, as every command does."""
    modules = modules_after(["refine_iqa", "--version"])
    assert not (HEAVY | {"numpy", "tyro"}) & modules


@pytest.mark.parametrize("words", [["--config", "upstream"], []], ids=["preset", "defaults"])
def test_mistakes_in_a_table_are_told_without_trl(words, tmp_path):
    """Whoever mistypes a path waits for no trainer."""
    line = [*words, "--launch", "cpu", "--processes", "1"]
    modules = modules_after(["refine_iqa", *train(tmp_path / "missing.json", *line)])
    assert "refine_iqa.data.rows" in modules
    assert not {"trl", "transformers"} & modules


# --- mistakes: one message, and a status ----------------------------------------------------------


def train(table, *more):
    """A training command on a table; no model is looked at before the table."""
    run = table.parent / "run"
    return ["train", "--model", "no/model", "--data", str(table), "--run", str(run), *more]


def told(capsys, argv):
    """The exit status of a command, and the message that it ends with."""
    status = main([str(word) for word in argv])
    message = capsys.readouterr().err
    assert message.startswith("refine-iqa: ")
    assert "Traceback" not in message
    return status, message


@pytest.fixture
def image(tmp_path):
    """A picture that a row may name."""
    path = tmp_path / "a.png"
    Image.new("RGB", (64, 64), "gray").save(path)
    return path


def test_a_missing_table_is_named(tmp_path, capsys):
    status, message = told(capsys, train(tmp_path / "missing.json"))
    assert status == 1
    assert "missing.json" in message


def test_a_malformed_row_is_named_by_its_line(tmp_path, image, capsys):
    table = tmp_path / "train.jsonl"
    good = json.dumps({"image": image.name, "solution": 3})
    table.write_text(f'{good}\n{good}\n{{"image": "a.png", "solution": 3\n')
    status, message = told(capsys, train(table))
    assert status == 1
    assert "train.jsonl, line 3" in message


@pytest.mark.parametrize("mos", [5.01, 0, "NaN", None])
def test_a_score_outside_the_scale_is_named_by_its_row(mos, tmp_path, image, capsys):
    table = tmp_path / "train.json"
    rows = [{"image": image.name, "solution": value} for value in (3, mos)]
    table.write_text(json.dumps(rows))
    status, message = told(capsys, train(table))
    assert status == 1
    assert "train.json, row 2" in message
    assert "from 1 to 5" in message


def test_fewer_rows_than_an_update_takes_are_refused(tmp_path, image, capsys):
    table = tmp_path / "train.json"
    table.write_text(json.dumps([{"image": image.name, "solution": 3}]))
    status, message = told(capsys, train(table))
    assert status == 1
    assert "Lower --batch-size." in message


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        (("--num-generations", "1"), "num_generations"),
        (("--strategy", "refine", "--num-iterations", "2"), "num_iterations"),
        (("--strategy", "refine", "--stage", "perception"), "strategy"),
        (("--strategy", "refine", "--rewards", "rank"), "rewards"),
        (("--max-pixels", "100"), "max_pixels"),
        (("--weights-dtype", "bfloat16"), "weights_dtype"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_settings_that_cannot_work_are_refused(words, setting, tmp_path, capsys):
    status, message = told(capsys, train(tmp_path / "train.json", *words))
    assert status == 2
    assert setting in message


def test_predict_without_a_checkpoint_says_how_to_get_one(image, capsys):
    status, message = told(capsys, ["predict", image])
    assert status == 2
    assert "refine-iqa train" in message
    assert "refine-iqa demo" in message


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_a_checkpoint_of_another_family_is_named(verb, tmp_path, image, capsys):
    model = tmp_path / "llama"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"model_type": "llama"}))
    table = tmp_path / "train.json"
    table.write_text(json.dumps([{"image": image.name, "solution": 3}] * 2))
    asked = {
        "predict": [image],
        "evaluate": ["--benchmark", "table", "--labels", table, "--out", tmp_path / "results"],
    }
    status, message = told(capsys, [verb, *asked[verb], "--checkpoint", model])
    assert status == 1
    assert "'llama'" in message
    assert "qwen2_5_vl or qwen3_vl" in message


def test_a_damaged_picture_is_told_of_and_the_others_are_scored(
    tiny_folders, tmp_path, image, capsys
):
    (tmp_path / "b.png").write_bytes(image.read_bytes()[:60])
    Image.new("RGB", (64, 64), "red").save(tmp_path / "c.png")
    sources = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    line = ["--checkpoint", tiny_folders["qwen2_5_vl"], "--max-pixels", "6272", "--device", "cpu"]
    status = main([str(word) for word in ("predict", *sources, *line)])
    shown = capsys.readouterr()
    rows = [json.loads(row) for row in shown.out.splitlines()]
    assert status == 1
    assert "b.png" in shown.err
    assert [row["score"] is not None for row in rows] == [True, False, True]
    assert [row["error"] is None for row in rows] == [True, False, True]


def test_a_flag_that_does_not_exist_ends_with_status_2(image, capsys):
    assert main(["predict", str(image), "--checkpiont", "model"]) == 2
    assert "--checkpoint" in capsys.readouterr().err
