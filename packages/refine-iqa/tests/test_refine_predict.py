"""`refine-iqa predict`: a row for each file, whatever some of them are."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from refine_iqa.cli import main
from refine_iqa.config import MediaSettings
from refine_iqa.predict import predict
from refine_iqa.scoring import QualityScorer
from shared_core.data.video import VideoWriter
from shared_core.files import VIDEO_SUFFIXES
from shared_core.testing.data import shared_data
from shared_core.testing.media import grey_steps

SMALL = ("--max-pixels", "6272", "--device", "cpu")


@pytest.fixture
def folder(tmp_path):
    """Two images and a video of one frame, written in no order, and a note."""
    folder = tmp_path / "media"
    folder.mkdir()
    for name, colour in (("c.png", "red"), ("a.jpg", "gray")):
        Image.new("RGB", (60, 44), colour).save(folder / name)
    with VideoWriter(folder / "b.mp4") as writer:
        writer.write(grey_steps(1, (60, 80))[0])
    (folder / "note.txt").write_text("no image")
    return folder


def run(*argv):
    return main(["predict", *map(str, argv), *SMALL])


def test_acceptance_29_a_line_for_each_file_of_a_folder_in_sorted_order(
    folder, tiny_folders, capsys
):
    status = run(folder, "--checkpoint", tiny_folders["qwen2_5_vl"], "--format", "jsonl")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert status == 0
    assert [row["path"] for row in rows] == [str(folder / n) for n in ("a.jpg", "b.mp4", "c.png")]
    for row in rows:
        assert 1 <= row["score"] <= 5
        assert row["seconds"] > 0
        assert {"think", "parsed", "std", "error"} <= row.keys()


def test_acceptance_28_an_unreadable_file_is_a_row_and_the_run_continues(
    folder, tiny_folders, tmp_path, capsys
):
    (folder / "b.png").write_bytes(b"no image")
    out = tmp_path / "predictions.csv"
    line = ("--checkpoint", tiny_folders["qwen2_5_vl"], "--format", "csv", "--out", tmp_path)
    assert run(folder, *line) == 1
    told = capsys.readouterr()
    assert "b.png" in told.err
    assert f"3 of 4 scored, written to {out}" in told.out
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["score"]) for row in rows] == [True, True, False, True]
    assert "b.png" in rows[2]["error"]


def test_a_video_is_shown_as_in_training_or_as_the_models_own_input(folder, tiny_folders, capsys):
    checkpoint = tiny_folders["qwen2_5_vl"]

    def score(*shown):
        assert run(folder / "b.mp4", "--checkpoint", checkpoint, *shown) == 0
        return json.loads(capsys.readouterr().out)["score"]

    in_training, native = (
        QualityScorer.from_pretrained(
            checkpoint, device="cpu", media=MediaSettings(max_pixels=6272), video_as=video_as
        ).predict([folder / "b.mp4"])
        for video_as in ("frames", "video")
    )
    assert score() == score("--video-as", "frames") == in_training[0].score
    assert score("--video-as", "video") == native[0].score
    assert abs(in_training[0].score - native[0].score) > 1e-6


def test_csv_goes_to_standard_output_too(folder, tiny_folders, capsys):
    run(folder / "a.jpg", "--checkpoint", tiny_folders["qwen3_vl"], "--format", "csv")
    header, row = csv.reader(capsys.readouterr().out.splitlines())
    assert header[:2] == ["path", "score"]
    assert row[0] == str(folder / "a.jpg")


def test_explain_reasons_and_says_whether_a_score_was_found(folder, tiny_folders, tmp_path):
    out = tmp_path / "new"
    line = ("--checkpoint", tiny_folders["qwen2_5_vl"], "--explain", "--max-new-tokens", "4")
    assert run(folder / "a.jpg", *line, "--out", out) == 0
    row = json.loads((out / "predictions.jsonl").read_text())
    assert row["raw"]
    assert row["parsed"] is False
    assert 1 <= row["score"] <= 5


def test_without_a_checkpoint_it_is_said_how_to_get_one(folder, capsys):
    assert run(folder) == 2
    told = capsys.readouterr().err
    assert "refine-iqa train" in told
    assert "refine-iqa demo" in told


def test_a_folder_without_media_is_refused(tmp_path, tiny_folders, capsys):
    assert run(tmp_path, "--checkpoint", tiny_folders["qwen2_5_vl"]) == 1
    assert "no image or video in this folder" in capsys.readouterr().err


def test_the_function_takes_a_checkpoint_or_a_scorer(folder, tiny_folders):
    scorer = QualityScorer.from_pretrained(tiny_folders["qwen2_5_vl"], device="cpu")
    by_scorer = predict([folder], scorer)
    by_path = predict([str(folder)], tiny_folders["qwen2_5_vl"], batch_size=1)
    assert [p.path.name for p in by_path] == ["a.jpg", "b.mp4", "c.png"]
    assert [p.score for p in by_path] == pytest.approx([p.score for p in by_scorer], abs=1e-4)


@pytest.mark.parametrize(
    "shown", [(), ("--video-as", "video"), ("--video-as", "video", "--rope", "original")]
)
def test_acceptance_done_2_predict_scores_real_images_and_clips(shown, tiny_folders, capsys):
    """Four KADID versions and their reference, the Kodak photos, all clips; nothing else is told."""
    sources = [
        shared_data("refine-iqa/kadid10k_mini/images"),
        shared_data("common/kodak"),
        shared_data("common/video_fr_pair"),
        shared_data("common/video_plain"),
    ]
    line = ("--checkpoint", tiny_folders["qwen2_5_vl"], "--nframes", "4", *shown)
    assert run(*sources, *line) == 0
    told = capsys.readouterr()
    rows = [json.loads(line) for line in told.out.splitlines()]
    kinds = Counter(Path(row["path"]).suffix in VIDEO_SUFFIXES for row in rows)
    assert kinds == {False: 5 + 7, True: 2 + 2}
    assert all(1 <= row["score"] <= 5 for row in rows)
    assert told.err == ""
