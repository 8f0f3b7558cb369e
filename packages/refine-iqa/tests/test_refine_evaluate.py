"""How models are judged: agreement with opinions, benchmarks, tables of scores, and perception."""

from __future__ import annotations

import csv
import json
import logging
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from scipy.optimize import curve_fit

from refine_iqa import evaluate as public_evaluate
from refine_iqa import results
from refine_iqa.config import EvaluateConfig
from refine_iqa.data.benchmarks import BENCHMARKS, read_benchmark
from refine_iqa.data.rated import Rated, rated_items, read_scores
from refine_iqa.data.rows import Row, read_rows
from refine_iqa.evaluate import command, evaluate
from refine_iqa.perceiving import Answer, ask, perception_measures
from refine_iqa.results import Evaluation, measures
from refine_iqa.scoring import Prediction, QualityScorer
from shared_core.data.quarantine import Quarantine
from shared_core.errors import DataError, UsageError
from shared_core.metrics import FitError
from shared_core.testing.data import shared_data

FAMILIES = ("qwen2_5_vl", "qwen3_vl")


def tensors(*lists):
    return [torch.tensor(values, dtype=torch.float64) for values in lists]


def drawn(count, seed=0, noise=0.5):
    """Opinions, and scores that agree with them to a degree."""
    draws = np.random.default_rng(seed)
    mos = draws.uniform(1, 5, count)
    return (mos + noise * draws.standard_normal(count)).clip(1, 5), mos


class FakeScorer:
    """Gives scores by file name, and remembers what it was asked."""

    def __init__(self, scores, **fields):
        self.scores, self.fields, self.asked = scores, fields, []

    def stream(self, sources, **options):
        self.asked.append((sources, options))
        for source in sources:
            path = source if isinstance(source, Path) else source[0]
            yield Prediction(path=path, score=self.scores[path.name], **self.fields)


# --- measures -------------------------------------------------------------------------------------


def test_acceptance_22_srcc_with_ties_is_scipys():
    prediction, target = [1.0, 2, 2, 3, 3, 3, 5, 4], [1.0, 1, 2, 2, 4, 3, 3, 5]
    found = measures(*tensors(prediction, target), resamples=0)
    assert found["srcc"].value == pytest.approx(stats.spearmanr(prediction, target)[0], abs=1e-12)
    assert found["krcc"].value == pytest.approx(stats.kendalltau(prediction, target)[0], abs=1e-12)
    assert found["plcc"].value == pytest.approx(stats.pearsonr(prediction, target)[0], abs=1e-12)
    squares = [(p - t) ** 2 for p, t in zip(prediction, target, strict=True)]
    assert found["rmse"].value == pytest.approx(math.sqrt(sum(squares) / 8), abs=1e-12)
    assert [found[kind].higher_is_better for kind in results.KINDS] == [True] * 4 + [False]


@pytest.mark.parametrize(
    ("prediction", "target", "reason"),
    [
        ([3.0] * 6, [1.0, 2, 3, 4, 5, 1], "prediction is constant"),
        ([1.0, 2, 3], [2.0, 2, 2], "target is constant"),
        ([2.0], [3.0], "at least 2 values"),
        ([], [], "at least 2 values"),
    ],
)
def test_acceptance_22_what_is_undefined_is_nan_with_a_reason_and_a_warning(
    prediction, target, reason, caplog
):
    found = measures(*tensors(prediction, target))
    for kind in ("srcc", "plcc", "plcc_fit", "krcc"):
        assert math.isnan(found[kind].value)
        assert reason in found[kind].reason
    items = [Row(where="", media=(Path(str(i)),), is_video=False, question="", task="scoring",
                 solution=float(mos)) for i, mos in enumerate(target)]  # fmt: skip
    scorer = FakeScorer({str(i): score for i, score in enumerate(prediction)})
    with caplog.at_level(logging.WARNING):
        evaluate(scorer, items)
    assert f"srcc: {found['srcc'].reason}" in caplog.text


def test_acceptance_22_a_failed_fit_leaves_plcc_without_it_and_says_so(monkeypatch):
    prediction, target = drawn(30)
    expected = stats.pearsonr(prediction, target)[0]

    def fails(*_):
        raise FitError("it did not converge")

    monkeypatch.setattr(results, "fit_logistic", fails)
    found = measures(*tensors(prediction, target), resamples=50)
    assert found["plcc_fit"].value == pytest.approx(expected, abs=1e-12)
    assert "no logistic fit (it did not converge)" in found["plcc_fit"].reason
    assert found["plcc_fit"].low < expected < found["plcc_fit"].high
    assert found["plcc"].reason is None


def test_too_few_items_for_a_fit_are_judged_without():
    found = measures(*tensors([1.0, 2, 4], [1.0, 3, 4]), resamples=0)
    assert found["plcc_fit"].value == found["plcc"].value
    assert "needs more values" in found["plcc_fit"].reason


def test_the_logistic_is_that_of_the_field():
    """PLCC after scipy's fit of the same curve, from the usual start, is the same."""
    draws = np.random.default_rng(3)
    x = draws.uniform(1, 5, 200)
    y = 1 + 4 / (1 + np.exp(-(x - 3) / 0.3)) + 0.2 * draws.standard_normal(200)

    def curve(x, b1, b2, b3, b4):
        return (b1 - b2) / (1 + np.exp(-(x - b3) / b4)) + b2

    start = [y.max(), y.min(), x.mean(), x.std() / 4]
    fitted, _ = curve_fit(curve, x, y, p0=start)
    found = measures(*tensors(x, y), resamples=0)
    assert found["plcc_fit"].value == pytest.approx(
        stats.pearsonr(curve(x, *fitted), y)[0], abs=1e-6
    )
    assert found["plcc_fit"].value > found["plcc"].value + 0.02


def test_scores_of_another_scale_have_no_error_in_points_of_the_mos():
    prediction, target = drawn(20)
    found = measures(*tensors(prediction * 20, target), resamples=0)
    assert math.isnan(found["rmse"].value)
    assert "1 to 5" in found["rmse"].reason
    same = measures(*tensors(prediction, target), resamples=0)
    for kind in ("srcc", "plcc", "plcc_fit", "krcc"):
        assert found[kind].value == pytest.approx(same[kind].value, abs=1e-6)


def test_versions_of_one_reference_are_drawn_together():
    """Ten copies of each item, in a group, tell no more than the item alone."""
    prediction, target = drawn(30)
    alone = measures(*tensors(prediction, target), resamples=100)
    names = [f"{number:02}" for number in range(30)]
    copied = [np.repeat(values, 10) for values in (prediction, target)]
    grouped = measures(*tensors(*copied), list(np.repeat(names, 10)), resamples=100)
    loose = measures(*tensors(*copied), resamples=100)
    for kind in ("srcc", "plcc", "rmse"):
        assert grouped[kind].low == pytest.approx(alone[kind].low, abs=1e-9)
        assert grouped[kind].high == pytest.approx(alone[kind].high, abs=1e-9)
        narrow, wide = (found[kind].high - found[kind].low for found in (loose, grouped))
        assert narrow < wide / 2


def test_each_distortion_is_judged_by_itself():
    prediction, mos = drawn(60)
    kinds = ["2", "10", "1"] * 20
    items = [
        Rated(name=f"{i}.png", media=(Path(f"{i}.png"),), mos=m, group=f"{i // 3}", distortion=kind)
        for i, (m, kind) in enumerate(zip(mos, kinds, strict=True))
    ]
    predictions = [Prediction(score=score) for score in prediction]
    predictions[0] = Prediction(error="unreadable")
    found = Evaluation.of(items, predictions, resamples=50)
    assert list(found.by_distortion) == ["1", "2", "10"]
    assert found.count == 59
    for kind, measured in found.by_distortion.items():
        chosen = [i for i in range(1, 60) if kinds[i] == kind]
        expected = stats.spearmanr(prediction[chosen], mos[chosen])[0]
        assert measured["srcc"].value == pytest.approx(expected, abs=1e-12)
        assert measured["srcc"].low <= expected <= measured["srcc"].high
    whole = stats.spearmanr(prediction[1:], mos[1:])[0]
    assert found.measures["srcc"].value == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize(
    ("parsed", "rate"),
    [((None, None), None), ((True, False), 0.5), ((True, None), 1.0), ((False, False), 0.0)],
)
def test_the_parse_rate_counts_written_answers(parsed, rate):
    items = [Rated(name=str(i), media=(Path(str(i)),), mos=3.0) for i in range(2)]
    predictions = [Prediction(score=3.0, parsed=one) for one in parsed]
    assert Evaluation.of(items, predictions, resamples=0).parse_rate == rate


# --- what is judged -------------------------------------------------------------------------------


def test_questions_and_several_images_reach_the_model(pictures):
    table = pictures / "several.json"
    table.write_text(
        json.dumps(
            [
                {"image": ["0.png", "1.png"], "question": "First?", "solution": 4.5},
                {"image": "2.png", "question": "Second?", "solution": 2},
            ]
        )
    )
    scorer = FakeScorer({"0.png": 4.0, "2.png": 2.0})
    found = evaluate(scorer, read_rows(table), mode="levels", resamples=0)
    [(sources, options)] = scorer.asked
    assert sources == [(pictures / "0.png", pictures / "1.png"), pictures / "2.png"]
    assert options["question"] == ["First?", "Second?"]
    assert options["mode"] == "levels"
    assert options["on_error"] == "raise"
    assert [item.mos for item in found.items] == [4.5, 2.0]


def test_opinions_of_a_benchmark_are_mapped_to_the_scale_of_the_mos(tmp_path):
    (tmp_path / "csiq_all.txt").write_text("a/a.BLUR.1.png\t0.9\na/a.BLUR.5.png\t0.25\n")
    items = rated_items(read_benchmark("csiq", tmp_path))
    assert [item.mos for item in items] == pytest.approx([1 + 4 * 0.9, 2.0], abs=1e-12)
    assert [(item.group, item.distortion, item.level) for item in items] == [
        ("a", "BLUR", 1),
        ("a", "BLUR", 5),
    ]
    scorer = FakeScorer({"a.BLUR.1.png": 4.0, "a.BLUR.5.png": 2.0})
    found = evaluate(scorer, read_benchmark("csiq", tmp_path), resamples=0)
    assert found.measures["srcc"].value == 1
    assert "question" not in scorer.asked[0][1]  # the scorer's own


def test_a_row_about_a_distortion_has_no_score_to_compare_with(pictures):
    solution = {"type": "banding", "severity": 2, "box": None}
    row = Row(where="t, row 1", media=(pictures / "0.png",), is_video=False, question="?",
              task="type", solution=solution)  # fmt: skip
    with pytest.raises(UsageError, match="t, row 1: the task 'type' has no score"):
        rated_items([row])


# --- scores of others -----------------------------------------------------------------------------

ITEMS = [
    Rated(name=name, media=(Path("root", name),), mos=3.0)
    for name in ("jp2k/img1.bmp", "blur/img1.bmp", "blur/img2.bmp")
]


def scores_of(tmp_path, text, policy="raise"):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    return read_scores(path, ITEMS, Quarantine(policy, limit_share=0.5))


def test_scores_are_found_by_the_end_of_a_path(tmp_path):
    text = "score,path\n2,/data/live/blur/img1.bmp\n1,jp2k/img1.bmp\n3,img2.bmp\n9,other.bmp\n"
    text += "9,jpeg/img2.bmp\n"  # another file of the same name
    assert scores_of(tmp_path, text) == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "path,score\njp2k/img1.bmp,1\nblur/img1.bmp,2\n",
            "blur/img2.bmp: expected a score, found",
        ),
        (
            "path,score\njp2k/img1.bmp,1\nimg1.bmp,2\nimg2.bmp,3\n",
            "blur/img1.bmp: expected a score",
        ),
        ("path,score\nimg2.bmp,1\nblur/img2.bmp,2\n", "line 3: a second score of blur/img2.bmp"),
        ("path,score\nimg2.bmp,good\n", "line 2, column score"),
        ("path,score\nimg2.bmp,inf\n", "line 2, column score"),
        ("path,mos\nimg2.bmp,3\n", "expected a column 'score'"),
    ],
)
def test_scores_that_do_not_belong_are_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        scores_of(tmp_path, text)


def test_a_file_that_had_no_score_is_left_out_under_quarantine(tmp_path):
    text = "path,score\njp2k/img1.bmp,1\nblur/img1.bmp,\nimg2.bmp,3\n"
    assert scores_of(tmp_path, text, "quarantine") == pytest.approx([1, math.nan, 3], nan_ok=True)


# --- the command ----------------------------------------------------------------------------------


def read_back(folder):
    found = json.loads((folder / "evaluation.json").read_text())
    with (folder / "predictions.csv").open(newline="") as file:
        return found, list(csv.DictReader(file))


@pytest.mark.parametrize("mode", ["direct", "reasoned", "levels"])
def test_a_model_is_judged_on_a_table(tiny_folders, pictures, tmp_path, mode, capsys):
    config = EvaluateConfig(
        checkpoint=str(tiny_folders["qwen2_5_vl"]),
        benchmark="table",
        labels=pictures / "train.json",
        mode=mode,
        max_new_tokens=4,
        device="cpu",
        out=tmp_path,
    )
    command(config)
    found, rows = read_back(tmp_path)
    assert found["items"] == len(rows) == 8
    scorer = QualityScorer.from_pretrained(config.checkpoint, device="cpu")
    rows_read = read_rows(config.labels)
    questions = [row.question for row in rows_read]
    expected = scorer.predict(
        [row.media[0] for row in rows_read], mode=mode, question=questions, max_new_tokens=4
    )
    scores = [float(row["score"]) for row in rows]
    assert scores == pytest.approx([prediction.score for prediction in expected], abs=1e-4)
    opinions = [5.0 - number / 2 for number in range(8)]
    assert [float(row["mos"]) for row in rows] == opinions
    spearman = stats.spearmanr(scores, opinions)[0]
    assert found["measures"]["srcc"]["value"] == pytest.approx(spearman, abs=1e-9)
    assert found["parse_rate"] == (0.0 if mode == "reasoned" else None)
    assert f"srcc               {spearman:.4f} [" in capsys.readouterr().out
    assert "<h1" in (tmp_path / "report.html").read_text()


def test_its_own_table_of_predictions_gives_the_same_measures(tiny_folders, pictures, tmp_path):
    settings = {"benchmark": "table", "labels": pictures / "train.json", "device": "cpu"}
    model = str(tiny_folders["qwen2_5_vl"])
    command(EvaluateConfig(checkpoint=model, out=tmp_path / "model", **settings))
    again = {"predictions": tmp_path / "model" / "predictions.csv", "out": tmp_path / "again"}
    command(EvaluateConfig(**settings, **again))
    first, _ = read_back(tmp_path / "model")
    second, _ = read_back(tmp_path / "again")
    assert first["measures"] == second["measures"]


def test_a_damaged_picture_is_raised_or_left_out(tiny_folders, pictures, tmp_path):
    rows = [{"image": f"{number}.png", "solution": 5 - number / 2} for number in range(8)]
    for number in range(8):
        (tmp_path / f"{number}.png").write_bytes((pictures / f"{number}.png").read_bytes())
    rows += [{"image": "broken.png", "solution": 2}, *rows[:3]]
    (tmp_path / "broken.png").write_bytes((tmp_path / "3.png").read_bytes()[:90])
    (tmp_path / "train.json").write_text(json.dumps(rows))
    config = {
        "checkpoint": str(tiny_folders["qwen2_5_vl"]),
        "benchmark": "table",
        "labels": tmp_path / "train.json",
        "device": "cpu",
        "out": tmp_path / "results",
    }
    with pytest.raises(DataError, match=r"broken\.png"):
        command(EvaluateConfig(**config))
    command(EvaluateConfig(**config, on_bad_row="quarantine"))
    found, written = read_back(tmp_path / "results")
    assert (found["items"], len(written)) == (11, 12)
    [left_out] = found["quarantined"]
    assert left_out["path"].endswith("broken.png")
    assert left_out["message"].count("broken.png") == 1
    assert "Left out" in (tmp_path / "results" / "report.html").read_text()
    assert [row["path"] for row in written if not row["score"]] == [left_out["path"]]


@pytest.mark.parametrize(
    "name", ["koniq", "spaq", "kadid", "livec", "agiqa", "csiq", "pipal", "bid", "live"]
)
def test_real_label_files_are_judged_and_a_perfect_order_is_1(name, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[evaluate.__module__], "RESAMPLES", 10)
    labels = shared_data("refine-iqa", "labels")
    table = read_benchmark(name, labels)
    scores = tmp_path / "scores.csv"
    with scores.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "score"])
        writer.writerows([[item.path, math.exp(item.mos / 300)] for item in table.items])
    config = EvaluateConfig(
        benchmark=name,
        data=labels,
        split="all",
        limit=100,
        predictions=scores,
        out=tmp_path / "results",
    )
    command(config)
    found, rows = read_back(tmp_path / "results")
    assert found["items"] == len(rows) == 100
    assert found["measures"]["srcc"]["value"] == pytest.approx(1, abs=1e-9)
    assert found["measures"]["krcc"]["value"] == pytest.approx(1, abs=1e-9)
    assert BENCHMARKS[name].higher_is_better
    has_kinds = name in ("kadid", "csiq", "pipal", "live")
    assert bool(found["by_distortion"]) == has_kinds


def test_real_pictures_of_kadid_are_judged(tiny_folders, tmp_path):
    labels = shared_data("refine-iqa", "labels", "kadid10k_label.txt")
    root = shared_data("refine-iqa", "kadid10k_mini", "images")
    there = [
        line for line in labels.read_text().splitlines() if (root / line.split(",")[0]).exists()
    ]
    (tmp_path / "kadid10k_label.txt").write_text("\n".join(there))
    command(
        EvaluateConfig(
            checkpoint=str(tiny_folders["qwen3_vl"]),
            benchmark="kadid",
            data=root,
            labels=tmp_path / "kadid10k_label.txt",
            split="all",
            device="cpu",
            out=tmp_path / "results",
        )
    )
    found, rows = read_back(tmp_path / "results")
    assert found["items"] == 4
    assert [row["path"] for row in rows] == [
        f"I01_{end}.png" for end in ("01_02", "01_05", "06_05", "15_05")
    ]
    assert {row["group"] for row in rows} == {"I01"}
    assert "no interval: fewer than 5 groups" in found["measures"]["srcc"]["reason"]


def test_the_splits_of_a_table_are_kept_apart(pictures, tmp_path):
    table = pictures / "split.csv"
    lines = [f"{n}.png,{5 - n / 2},{'test' if n % 2 else 'train'}" for n in range(8)]
    table.write_text("\n".join(["path,mos,split", *lines]))
    scores = pictures / "scores.csv"
    scores.write_text("\n".join(["path,score", *(f"{n}.png,{n / 2}" for n in range(8))]))
    settings = {"benchmark": "table", "labels": table, "predictions": scores, "out": tmp_path}
    command(EvaluateConfig(**settings))
    found, rows = read_back(tmp_path)
    assert [Path(row["path"]).name for row in rows] == ["1.png", "3.png", "5.png", "7.png"]
    assert found["measures"]["srcc"]["value"] == pytest.approx(-1)
    with pytest.raises(DataError, match="only test, train"):
        command(EvaluateConfig(**{**settings, "split": "val"}))


def test_a_limit_draws_the_same_rows_again(pictures, tmp_path):
    scores = tmp_path / "scores.csv"
    scores.write_text("\n".join(["path,score", *(f"{n}.png,{5 - n / 2}" for n in range(8))]))
    settings = {"benchmark": "table", "labels": pictures / "train.json", "predictions": scores}
    chosen = []
    for seed in (0, 0, 1):
        command(EvaluateConfig(**settings, limit=4, seed=seed, out=tmp_path))
        chosen.append([row["path"] for row in read_back(tmp_path)[1]])
    assert chosen[0] == chosen[1] != chosen[2]
    assert chosen[0] == sorted(chosen[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "either a model"),
        ({"checkpoint": "x", "predictions": Path("y")}, "either a model"),
        ({"predictions": Path("y")}, "--data"),
        ({"predictions": Path("y"), "benchmark": "table"}, "--labels"),
        ({"predictions": Path("y"), "benchmark": "perception"}, "--checkpoint"),
        ({"checkpoint": "x", "benchmark": "konig", "data": Path()}, "no benchmark 'konig'"),
    ],
)
def test_what_cannot_be_asked_is_a_usage_error(settings, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        command(EvaluateConfig(**settings, out=tmp_path / "results"))
    assert not (tmp_path / "results").exists()


def test_evaluate_is_a_public_name():
    assert public_evaluate is evaluate


# --- perception -----------------------------------------------------------------------------------


def perception_row(task, solution, path="a.png", size=(100, 100)):
    return Row(where="row 1", media=(Path(path),), is_video=False, question="?", task=task,
               solution=solution, size=size)  # fmt: skip


TRUTH = {"type": "gaussian blur", "severity": 4, "box": (0, 0, 10, 10)}


def answer(task, said, truth=TRUTH, path="a.png"):
    text = said if isinstance(said, str) else f"<think>.</think><answer>{json.dumps(said)}</answer>"
    return Answer(perception_row(task, truth, path), text, truth)


@pytest.mark.parametrize(
    ("task", "said", "marks"),
    [
        ("type", {"type": "Gaussian Blurring"}, {"answered": 1, "type_accuracy": 1}),
        ("type", {"type": "banding"}, {"answered": 1, "type_accuracy": 0}),
        ("severity", {"severity": 3},
         {"answered": 1, "severity_accuracy": 0, "severity_mae": 1}),
        ("severity", {"severity": 4},
         {"answered": 1, "severity_accuracy": 1, "severity_mae": 0}),
        ("severity", "strong", {"answered": 0, "severity_accuracy": 0, "severity_mae": 4}),
        ("grounding", {"box": [0, 0, 10, 5]}, {"answered": 1, "iou": 0.5, "iou_above_half": 0}),
        ("grounding", {"box": [0, 0, 10, 6]}, {"answered": 1, "iou": 0.6, "iou_above_half": 1}),
        ("grounding", "there", {"answered": 0, "iou": 0, "iou_above_half": 0}),
        ("joint", {"type": "jpeg", "severity": 4, "box": [0, 0, 10, 10]},
         {"answered": 1, "type_accuracy": 0, "severity_accuracy": 1, "severity_mae": 0, "iou": 1,
          "iou_above_half": 1}),
    ],
)  # fmt: skip
def test_an_answer_gets_the_marks_that_its_task_asks_for(task, said, marks):
    assert answer(task, said).marks() == pytest.approx(marks)


def test_a_picture_distorted_everywhere_has_no_box_to_find():
    marks = answer("joint", {"type": "banding", "severity": 1, "box": None},
                   {"type": "banding", "severity": 1, "box": None}).marks()  # fmt: skip
    assert "iou" not in marks
    assert marks["type_accuracy"] == 1


def test_means_are_over_answers_and_intervals_over_pictures():
    answers = [
        answer("type", {"type": "gaussian blur" if number % 3 else "noise"}, path=f"{number}.png")
        for number in range(12)
    ]
    found = perception_measures(answers)
    assert found["type_accuracy"].value == pytest.approx(8 / 12)
    assert found["type_accuracy"].low < 8 / 12 < found["type_accuracy"].high
    assert math.isnan(found["iou"].value)
    assert found["iou"].reason == "no row asks for it"
    assert not found["severity_mae"].higher_is_better
    one_picture = [answer("type", {"type": "gaussian blur"}) for _ in range(12)]
    reason = perception_measures(one_picture)["type_accuracy"].reason
    assert reason == "no interval: fewer than 5 pictures"


@pytest.fixture(scope="module")
def perception_table(tmp_path_factory):
    """Rows of every task about pictures of 84 x 56 pixels, one of which is damaged."""
    folder = tmp_path_factory.mktemp("perception")
    draws = np.random.default_rng(1)
    rows = []
    for number, task in enumerate(["type", "severity", "grounding", "joint"] * 3):
        pixels = draws.integers(0, 256, (56, 84, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        solution = {"type": "banding", "severity": 3, "box": [21, 14, 63, 42]}
        rows.append({"image": f"{number}.png", "question": f"About {task}?", "task": task,
                     "solution": solution, "size": [84, 56]})  # fmt: skip
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "train.jsonl"


@pytest.mark.parametrize(
    ("family", "box"), [("qwen2_5_vl", (21, 14, 63, 42)), ("qwen3_vl", (250, 250, 750, 750))]
)
def test_a_box_is_compared_as_the_model_says_it(tiny_folders, perception_table, family, box):
    scorer = QualityScorer.from_pretrained(tiny_folders[family], device="cpu")
    rows = read_rows(perception_table)
    answers = list(ask(scorer, rows, batch_size=5, max_new_tokens=3))
    assert [given.row for given in answers] == rows
    assert all(given.truth["box"] == box for given in answers)
    alone = list(ask(scorer, rows[:1], batch_size=1, max_new_tokens=3))
    assert alone[0].text == answers[0].text  # always the likeliest, whatever its batch mates


def test_perception_is_judged_from_the_command_line(tiny_folders, perception_table, tmp_path):
    config = {
        "checkpoint": str(tiny_folders["qwen2_5_vl"]),
        "benchmark": "perception",
        "labels": perception_table,
        "max_new_tokens": 3,
        "device": "cpu",
        "out": tmp_path,
    }
    command(EvaluateConfig(**config))
    found, rows = read_back(tmp_path)
    assert found["items"] == len(rows) == 12
    assert [row["task"] for row in rows] == ["type", "severity", "grounding", "joint"] * 3
    assert found["measures"]["severity_mae"]["value"] == 4  # an untrained model writes no answer
    assert found["measures"]["answered"]["value"] == 0
    damaged = perception_table.parent / "5.png"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:80])
    with pytest.raises(DataError, match=r"5\.png"):
        command(EvaluateConfig(**config))
    command(EvaluateConfig(**config, on_bad_row="quarantine"))
    damaged.write_bytes(whole)
    found, rows = read_back(tmp_path)
    assert (found["items"], len(found["quarantined"])) == (11, 1)


def test_a_row_for_a_score_is_no_question_about_a_distortion(tiny_folders, pictures):
    scorer = QualityScorer.from_pretrained(tiny_folders["qwen2_5_vl"], device="cpu")
    with pytest.raises(UsageError, match="row 1: expected a row about a distortion"):
        next(ask(scorer, read_rows(pictures / "train.json")))
