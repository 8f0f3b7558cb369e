"""Result files: their schema, ensembles, submissions, and the search for a window."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from abaw_va.cli import main
from abaw_va.results import (
    Trace,
    best_window,
    combine,
    concordance,
    read_traces,
    write_ensemble,
    write_results,
    write_submission,
)
from shared_core.errors import DataError

LENGTHS = {"x": 7, "y": 12}


def traces(seed, *, labelled=True, lengths=LENGTHS, window=2):
    draw = np.random.default_rng(seed)
    return {
        video: Trace(
            draw.normal(0, 1.2, n), draw.uniform(-1, 1, n) if labelled else None, window=window
        )
        for video, n in lengths.items()
    }


def results(folder, seed):
    """A result folder of both targets and both splits."""
    for column, target in enumerate(("valence", "arousal")):
        write_results(folder, "val", target, traces(seed + column))
        write_results(folder, "test", target, traces(seed + column + 10, labelled=False))
    return folder


def moving_mean(values, reach):
    return [np.mean(values[max(0, t - reach) : t + reach + 1]) for t in range(len(values))]


def test_acceptance_19_exactly_six_files_per_target_with_the_authors_schema(tmp_path):
    raw = traces(0)
    paths = write_results(tmp_path, "val", "valence", raw)
    paths += write_results(tmp_path, "test", "valence", traces(1, labelled=False))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)
    assert {path.name for path in paths} == {
        "val_pred_valence_nosmooth_ori.json",
        "val_pred_valence_nosmooth.json",
        "val_pred_valence_smooth.json",
        "val_pred_valence_result.txt",
        "tst_pred_valence_nosmooth.json",
        "tst_pred_valence_smooth.json",
    }
    for path in (path for path in paths if path.suffix == ".json"):
        for video, row in json.loads(path.read_text()).items():
            names = {"video_id", "pred", "label"} - ({"label"} if "tst" in path.name else set())
            assert set(row) == names
            assert row["video_id"] == video
            assert len(row["pred"]) == LENGTHS[video]
    ori = json.loads((tmp_path / "val_pred_valence_nosmooth_ori.json").read_text())
    assert ori["x"]["pred"] == raw["x"].prediction.tolist()
    smooth = json.loads((tmp_path / "val_pred_valence_smooth.json").read_text())
    expected = np.clip(moving_mean(raw["y"].prediction, 2), -1, 1)
    np.testing.assert_allclose(smooth["y"]["pred"], expected, atol=1e-12)


def test_acceptance_19_the_text_has_four_lines_and_no_final_newline(tmp_path):
    raw = traces(0)
    write_results(tmp_path, "val", "arousal", raw)
    lines = (tmp_path / "val_pred_arousal_result.txt").read_text().split("\n")
    names = [line.partition("\t")[0] for line in lines]
    assert names == ["nosmooth_ori_ccc:", "nosmooth_ccc:", "smoothed_ccc:", "setting window:"]
    assert float(lines[0].partition("\t")[2]) == concordance(raw)
    assert lines[3] == "setting window:\t2"


def test_frames_without_label_are_null_and_do_not_count(tmp_path):
    whole = traces(3)
    label = np.append(whole["x"].label, np.nan)
    holes = dict(whole, x=Trace(np.append(whole["x"].prediction, 0.7), label, 2))
    assert concordance(holes) == concordance(whole)
    write_results(tmp_path, "val", "valence", holes)
    path = tmp_path / "val_pred_valence_nosmooth_ori.json"
    assert json.loads(path.read_text())["x"]["label"][-1] is None
    assert math.isnan(read_traces(path)["x"].label[-1])


def test_acceptance_20_an_ensemble_is_the_mean(tmp_path):
    folders = [results(tmp_path / name, seed) for name, seed in (("a", 0), ("b", 50))]
    out = tmp_path / "both"
    scores = write_ensemble(folders, out, smoothed=False)
    assert set(scores) == {"valence", "arousal"}
    for name in ("val_pred_valence_nosmooth.json", "tst_pred_arousal_nosmooth.json"):
        one, two, mean = (json.loads((f / name).read_text()) for f in (*folders, out))
        for video in LENGTHS:
            expected = np.mean([one[video]["pred"], two[video]["pred"]], axis=0)
            np.testing.assert_allclose(mean[video]["pred"], expected, atol=1e-15)
    assert not list(out.glob("*_smooth.json"))


def test_acceptance_20_smoothed_takes_the_smooth_files(tmp_path):
    """They are neither smoothed nor clipped again."""
    folder = results(tmp_path / "a", 0)
    for smoothed, kind in ((True, "smooth"), (False, "nosmooth")):
        kept = json.loads((folder / f"tst_pred_valence_{kind}.json").read_text())
        found = combine([folder], "test", "valence", smoothed=smoothed)
        assert {v: t.prediction.tolist() for v, t in found.items()} == {
            v: row["pred"] for v, row in kept.items()
        }


def test_acceptance_20_texts_have_a_header_and_a_line_per_frame(tmp_path):
    folder = results(tmp_path / "a", 0)
    paths = write_submission([folder], tmp_path / "out", layout="upstream", smoothed=True)
    assert len(paths) == 4
    kept = json.loads((folder / "tst_pred_arousal_smooth.json").read_text())
    text = (tmp_path / "out" / "arousal" / "y.txt").read_text()
    assert text.endswith("\n")
    header, *lines = text.splitlines()
    assert header == "arousal"
    assert [float(line) for line in lines] == kept["y"]["pred"]


@pytest.mark.parametrize("layout", ["per-video", "single-file"])
def test_acceptance_20_combined_formats_hold_both_columns_within_the_scale(tmp_path, layout):
    folders = [results(tmp_path / name, seed) for name, seed in (("a", 0), ("b", 50))]
    paths = write_submission(folders, tmp_path / "out", layout=layout, smoothed=False)
    rows = []
    for path in paths:
        header, *lines = path.read_text().splitlines()
        assert header.endswith("valence,arousal")
        rows += lines
    assert len(rows) == sum(LENGTHS.values())
    values = np.array([row.split(",")[-2:] for row in rows], float)
    assert (np.abs(values) <= 1).all()
    assert np.abs(values).max() == 1  # something was clipped
    if layout == "single-file":
        assert rows[0].startswith("x/00001.jpg,")
        assert rows[LENGTHS["x"]].startswith("y/00001.jpg,")


def test_results_of_other_videos_are_not_combined(tmp_path):
    write_results(tmp_path / "a", "val", "valence", traces(0))
    write_results(tmp_path / "b", "val", "valence", traces(0, lengths={"x": 7, "y": 11}))
    write_results(tmp_path / "c", "val", "valence", traces(0, lengths={"x": 7}))
    for other, found in (("b", "11 frames"), ("c", "no such video")):
        folders = [tmp_path / "a", tmp_path / other]
        with pytest.raises(DataError, match=f"video y: expected 12 frames.*found {found}"):
            combine(folders, "val", "valence", smoothed=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "line 1"),
        ("[1]", "not a readable result file"),
        ('{"x": {"pred": [0.1, null]}}', "video x: predictions that are not finite"),
        ('{"x": {"pred": [0.1], "label": [0.1, 0.2]}}', "video x: expected 1 labels"),
        ('{"../x": {"pred": [0.1]}}', "id without a path"),
    ],
)
def test_a_wrong_result_file_is_a_message(tmp_path, content, message):
    path = tmp_path / "tst_pred_valence_smooth.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_traces(path)


def wandering(seed, lengths):
    """Noisy predictions of smooth labels: smoothing helps."""
    draw = np.random.default_rng(seed)
    found = {}
    for video, n in lengths.items():
        label = np.sin(np.arange(n) / 15 + draw.uniform(0, 6)) * 0.8
        found[video] = Trace(label + draw.normal(0, 0.6, n), label)
    return found


def test_q35_the_search_finds_the_best_window_and_what_the_choice_is_worth():
    found = wandering(0, {"a": 200, "b": 150, "c": 120})

    def ccc(window, videos):
        smoothed = [np.clip(moving_mean(found[v].prediction, window), -1, 1) for v in videos]
        p, t = np.concatenate(smoothed), np.concatenate([found[v].label for v in videos])
        return 2 * np.cov(p, t, ddof=0)[0, 1] / (p.var() + t.var() + (p.mean() - t.mean()) ** 2)

    windows = range(0, 100, 5)
    best = best_window(found)
    assert best.window == max(windows, key=lambda window: ccc(window, "abc"))
    assert best.ccc == pytest.approx(ccc(best.window, "abc"))
    assert best.window > 0
    held_out = {
        v: max(windows, key=lambda window: ccc(window, sorted(set("abc") - {v}))) for v in "abc"
    }
    smoothed = {v: Trace(np.array(moving_mean(found[v].prediction, w)), found[v].label).clipped()
                for v, w in held_out.items()}  # fmt: skip
    assert best.cross_validated == pytest.approx(concordance(smoothed))
    assert best.cross_validated <= best.ccc


@pytest.mark.parametrize("lengths", [{"a": 30}, {"a": 30, "b": 30}])
def test_q30_one_video_and_videos_of_equal_length_are_smoothed(tmp_path, lengths, capsys):
    """Where the authors' code crashes; by command, with the search and its honest figure (Q35)."""
    write_results(tmp_path / "in", "val", "valence", wandering(1, lengths))
    words = ["--results", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    assert main(["smooth", *words, "--valence", "3"]) == 0
    raw = read_traces(tmp_path / "in" / "val_pred_valence_nosmooth_ori.json")
    smooth = read_traces(tmp_path / "out" / "val_pred_valence_smooth.json")
    for video in lengths:
        expected = np.clip(moving_mean(raw[video].prediction, 3), -1, 1)
        np.testing.assert_allclose(smooth[video].prediction, expected, atol=1e-12)
    assert main(["smooth", *words, "--search"]) == 0
    assert "cross-validated over videos" in capsys.readouterr().out


def test_q10_a_submission_is_smoothed_unless_asked_otherwise(tmp_path):
    """From `ensemble` to `submit` by their defaults."""
    folder = results(tmp_path / "a", 0)
    mean, out = tmp_path / "mean", tmp_path / "out"
    assert main(["ensemble", "--results", str(folder), str(folder), "--out", str(mean)]) == 0
    assert main(["submit", "--results", str(mean), "--out", str(out)]) == 0
    kept = json.loads((folder / "tst_pred_valence_smooth.json").read_text())
    lines = (out / "x.txt").read_text().splitlines()[1:]
    assert [float(line.split(",")[0]) for line in lines] == kept["x"]["pred"]
    assert main(["submit", "--results", str(folder), "--no-smoothed", "--out", str(out)]) == 0
    kept = json.loads((folder / "tst_pred_valence_nosmooth.json").read_text())
    lines = (out / "x.txt").read_text().splitlines()[1:]
    assert [float(line.split(",")[0]) for line in lines] == kept["x"]["pred"]


def test_one_target_alone_can_be_submitted_in_the_authors_format(tmp_path):
    write_results(tmp_path / "a", "test", "valence", traces(0, labelled=False))
    words = ["submit", "--results", str(tmp_path / "a"), "--out", str(tmp_path / "out")]
    assert main([*words, "--format", "upstream"]) == 0
    assert sorted(p.name for p in (tmp_path / "out").rglob("*.txt")) == ["x.txt", "y.txt"]
    assert main([*words, "--format", "per-video"]) == 1


@pytest.mark.parametrize("verb", ["ensemble", "submit", "smooth"])
def test_an_empty_folder_writes_nothing(tmp_path, verb, capsys):
    (tmp_path / "in").mkdir()
    out = tmp_path / "out"
    assert main([verb, "--results", str(tmp_path / "in"), "--out", str(out)]) == 1
    assert str(tmp_path / "in") in capsys.readouterr().err
    assert not out.exists()
