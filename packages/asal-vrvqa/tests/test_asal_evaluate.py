"""Evaluation, comparison and landscape: what training measured comes back, and what it costs is said."""

from __future__ import annotations

import io
import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from asal_vrvqa.compare import Contender, compare
from asal_vrvqa.compare import command as compare_command
from asal_vrvqa.config import CompareConfig, EvaluateConfig, LandscapeConfig
from asal_vrvqa.data.items import DistinctFrames, normalised
from asal_vrvqa.data.labels import read_clips
from asal_vrvqa.data.splits import Part
from asal_vrvqa.evaluate import command, evaluate
from asal_vrvqa.landscape import command as landscape_command
from asal_vrvqa.landscape import direction, losses_along
from asal_vrvqa.learner import train
from asal_vrvqa.model.network import QualityModel
from asal_vrvqa.results import GROUPS, Judged
from asal_vrvqa.runs import StreamRun, read_run
from asal_vrvqa.scoring import clip_scores, frame_table, score_clips, store_of
from shared_core.config import dump_yaml
from shared_core.errors import DataError, UsageError


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """A finished stream."""
    config = tiny(run=tmp_path_factory.mktemp("stream") / "run", epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shared_core.training.folder.run_report", lambda folder: None)
        train(config)
    return config


def numbers(tree):
    """All numbers of a tree, in order."""
    if isinstance(tree, dict):
        return [n for value in tree.values() for n in numbers(value)]
    if isinstance(tree, list):
        return [n for value in tree for n in numbers(value)]
    return [tree] if isinstance(tree, int | float) and not isinstance(tree, bool) else []


def test_acceptance_25_task_models_measure_what_training_did(finished, tmp_path):
    command(
        EvaluateConfig(
            checkpoint=str(finished.run),
            labels=finished.labels,
            frames=finished.frames,
            out=tmp_path,
            device="cpu",
        )
    )
    found = json.loads((tmp_path / "evaluation.json").read_text())
    trained = read_run(finished.run).results
    for key in ("srcc_before", "srcc", "after", "figures", "upstream"):
        assert numbers(found[key]) == pytest.approx(numbers(trained[key]), rel=1e-4, abs=1e-4), key
    assert len(numbers(found["after"])) > 50
    assert (tmp_path / "report.html").is_file()
    assert not list(tmp_path.glob("*landscape*"))


def test_a_model_is_judged_on_categories_it_never_saw(finished, tmp_path, capsys):
    command(
        EvaluateConfig(
            checkpoint=str(finished.run / "tasks" / "1-CG"),
            labels=finished.labels,
            frames=finished.frames,
            tasks=("Others",),
            split="all",
            logistic_fit=True,
            out=tmp_path,
            device="cpu",
        )
    )
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert list(found["measures"]) == ["Others", "pooled"]
    assert {"srcc", "plcc", "krcc", "rmse", "rl2", "plcc_fit", "rmse_fit"} == set(
        found["measures"]["Others"]
    )
    clips = [c for c in read_clips(finished.labels) if c.category == "Others"]
    model = QualityModel.from_pretrained(finished.run / "tasks" / "1-CG")
    same = evaluate(model, clips, finished.frames)
    assert found["measures"]["Others"]["srcc"]["value"] == pytest.approx(same["srcc"].value)
    assert "rl2" in capsys.readouterr().out


def test_a_stream_that_was_stopped_is_judged_after_its_last_task(tiny, tmp_path, no_report):
    config = tiny(run=tmp_path / "run", epochs=1, max_steps=6)
    train(config)
    out = tmp_path / "out"
    command(
        EvaluateConfig(
            checkpoint=str(config.run),
            labels=config.labels,
            frames=config.frames,
            out=out,
            device="cpu",
        )
    )
    found = json.loads((out / "evaluation.json").read_text())
    assert "learnt 2 of 3 tasks" in found["note"]
    after = found["after"]["Landscape"]["pooled"]["rmse"]["value"]
    assert found["measures"]["pooled"]["rmse"]["value"] == pytest.approx(after)


def test_categories_that_are_not_there_are_refused(finished, tmp_path):
    config = EvaluateConfig(
        checkpoint=str(finished.run / "model"),
        labels=finished.labels,
        frames=finished.frames,
        tasks=("Nothing",),
        out=tmp_path,
        device="cpu",
    )
    with pytest.raises(DataError, match="categories Nothing: expected clips to judge on"):
        command(config)


def test_sharing_frames_changes_no_score(finished):
    model = QualityModel.from_pretrained(finished.run).for_evaluation()
    store = store_of(model.config, finished.frames)
    clips = read_clips(finished.labels)[:40]
    reading = model.config.reading
    shared, alone = (DistinctFrames(clips, store, reading, share=share) for share in (True, False))
    assert len(shared) < len(alone)
    found, expected = (clip_scores(f, frame_table(model, f)) for f in (shared, alone))
    assert np.allclose(found.score, expected.score, atol=1e-5)
    slow = []
    with torch.no_grad():
        for numbers_ in alone.of_clip[:3]:
            frames = torch.from_numpy(store.read([alone.keys[n] for n in numbers_]))
            slow.append(model(normalised(frames)[None]).score.item())
    assert found.score[:3] == pytest.approx(slow, abs=1e-5)


def test_shares_of_processes_add_up(finished):
    model = QualityModel.from_pretrained(finished.run).for_evaluation()
    frames = DistinctFrames(
        read_clips(finished.labels)[:6],
        store_of(model.config, finished.frames),
        model.config.reading,
    )
    whole = frame_table(model, frames, batch_size=4)
    parts = [frame_table(model, frames, batch_size=4, rank=r, world=3) for r in range(3)]
    assert np.array_equal(sum(parts), whole)


def judged(predictions, clips, names=("one", "two")):
    half = len(clips) // 2
    parts = (Part(names[0], tuple(clips[:half])), Part(names[1], tuple(clips[half:])))
    return Judged(names, parts, np.array(predictions))


def test_the_figures_come_from_each_tasks_own_test_set(finished):
    clips = read_clips(finished.labels)
    labels = np.array([clip.score for clip in clips])
    half = len(clips) // 2
    first, second = labels[:half], labels[half:]
    rows = [
        np.concatenate([-first, -second]),
        np.concatenate([first, -second]),
        np.concatenate([-first, second]),
    ]
    stream = judged(rows, clips)
    assert stream.matrix() == pytest.approx(np.array([[-1, -1], [1, -1], [-1, 1]]))
    figures = stream.figures()
    values = {name: measure.value for name, measure in figures.items()}
    assert values == pytest.approx({"average": 0, "forgetting": 2, "backward": -2, "forward": 0})
    assert figures["forgetting"].higher_is_better is False
    assert figures["average"].low == pytest.approx(0)
    assert list(stream.upstream()["SRCC"]) == list(GROUPS)


def test_an_interval_over_sources_holds_the_value(finished):
    clips = read_clips(finished.labels)
    draw = np.random.default_rng(0)
    labels = np.array([clip.score for clip in clips])
    rows = [labels + draw.normal(0, noise, len(labels)) for noise in (9.0, 0.5, 1.0)]
    for measure in judged(rows, clips).figures().values():
        assert measure.low < measure.value < measure.high
        assert measure.high - measure.low > 0.01


def test_an_unlearnt_stage_and_a_lost_clip_do_not_count(finished):
    clips = read_clips(finished.labels)
    labels = np.array([clip.score for clip in clips])
    rows = np.stack([labels, labels, np.full_like(labels, np.nan)])
    rows[:, 3] = np.nan
    stream = judged(rows, clips)
    assert stream.learnt() == [(1, "one")]
    assert stream.matrix()[1] == pytest.approx([1, 1])
    assert "figures" not in stream.to_json()


def test_a_part_of_which_no_clip_is_left_is_undefined(finished):
    clips = read_clips(finished.labels)
    rows = np.tile([clip.score for clip in clips], (3, 1))
    rows[:, : len(clips) // 2] = np.nan
    found = judged(rows, clips).to_json()["after"]["one"]
    assert found["one"]["srcc"]["value"] is None
    assert found["one"]["srcc"]["reason"] == "no clip is left"
    assert found["two"]["srcc"]["value"] == found["pooled"]["srcc"]["value"] == 1


def test_a_figure_that_one_seed_lacks_is_undefined(finished):
    clips = read_clips(finished.labels)
    labels = np.array([clip.score for clip in clips])
    rows = np.stack([-labels, labels, labels])
    runs = [
        StreamRun(finished.run, finished, judged(of, clips), {}) for of in (rows, 0 * rows + 3.0)
    ]
    figures = Contender("er", (runs[0], runs[0])).figures()
    assert figures["average"].value == pytest.approx(1)
    assert not Contender("er", tuple(runs)).figures()["average"].defined


def test_seconds_are_of_a_task_also_where_all_are_learnt_at_once(finished, monkeypatch):
    events = [{"kind": "train", "time": 2.0 * step, "step": step} for step in range(1, 11)]
    monkeypatch.setattr("asal_vrvqa.runs.read_events", lambda folder: events)
    clips = read_clips(finished.labels)
    stream = judged(np.zeros((3, len(clips))), clips)
    once = Judged(("continual",), stream.tests, stream.predictions[:2])
    for each in (stream, once):
        assert StreamRun(finished.run, finished, each, {}).seconds_per_task == pytest.approx(10)


def test_strategies_are_compared_on_one_stream(tiny, tmp_path, no_report, capsys):
    base = tiny(run=tmp_path / "unused", epochs=1)
    config = CompareConfig(
        train=base, strategies=("asal", "joint"), seeds=(0, 1), out=tmp_path / "all"
    )
    compare_command(config)
    content = json.loads((config.out / "comparison.json").read_text())
    assert list(content) == ["asal", "joint"]
    assert content["asal"]["memory_bytes"] == 6 * (3 * 64 * 64 * 3 + 4 + 8)
    values = [content["asal"]["seeds"][seed]["figures"]["average"]["value"] for seed in "01"]
    average = content["asal"]["figures"]["average"]
    assert average["value"] == pytest.approx(np.mean(values))
    assert average["low"] < average["value"] < average["high"]
    assert content["asal"]["seconds_per_task"] > 0
    assert content["joint"]["figures"]["forgetting"]["value"] is None
    assert "joint" in (config.out / "comparison.csv").read_text()
    assert "95 % intervals over seeds" in (config.out / "report.html").read_text()
    before = (config.out / "asal-0" / "events.jsonl").read_bytes()
    compare_command(config)  # finished runs are read, not made again
    assert (config.out / "asal-0" / "events.jsonl").read_bytes() == before
    assert "asal" in capsys.readouterr().out


@pytest.mark.slow
def test_runs_are_made_side_by_side(tiny, tmp_path):
    """Each in a process of its own: the same results, and a failure is told."""
    base = tiny(run=tmp_path / "unused", epochs=1)
    (here,) = compare(base, ("finetune",), (0,), tmp_path / "here")
    (apart,) = compare(base, ("finetune",), (0,), tmp_path / "apart", jobs=2)
    assert apart.runs[0].results == here.runs[0].results
    broken = replace(base, frames=tmp_path / "nowhere")
    with pytest.raises(UsageError, match="its training ended with 1"):
        compare(broken, ("finetune",), (0,), tmp_path / "broken", jobs=2)


def test_what_is_no_stream_is_not_compared(tiny, tmp_path):
    config = tiny(run=tmp_path, mode="joint")
    with pytest.raises(UsageError, match="compared on a stream"):
        compare(config, ("finetune",), (0,), tmp_path)


def test_a_direction_has_the_length_of_each_filter(finished):
    model = QualityModel.from_pretrained(finished.run)
    way = direction(model, 1024)
    for name, weight in model.named_parameters():
        if weight.dim() <= 1:
            assert not way[name].any()
            continue
        found, expected = (t.detach().flatten(1).norm(dim=1) for t in (way[name], weight))
        assert torch.allclose(found, expected, rtol=1e-4), name
    draw = torch.Generator().manual_seed(1024)
    name, weight = next(iter(model.named_parameters()))
    noise = torch.randn(weight.shape, generator=draw)
    assert torch.allclose(
        torch.nn.functional.cosine_similarity(way[name].flatten(1), noise.flatten(1)),
        torch.ones(len(noise)),
    )


def test_losses_along_a_direction_begin_at_the_model(finished):
    model = QualityModel.from_pretrained(finished.run).eval()
    clips = read_clips(finished.labels)[:4]
    store = store_of(model.config, finished.frames)
    frames = DistinctFrames(clips, store, model.config.reading)
    labels = torch.tensor([clip.score for clip in clips])
    before = {n: p.clone() for n, p in model.named_parameters()}
    found = losses_along(
        model,
        direction(model, 0),
        [0.0, 0.5],
        torch.from_numpy(store.read(frames.keys)),
        frames.of_clip,
        labels,
        4,
    )
    scores = score_clips(model, clips, store).score
    assert found[0] == pytest.approx(np.mean((scores - labels.numpy()) ** 2), rel=1e-4)
    assert found[1] != pytest.approx(found[0], rel=1e-3)
    assert all(torch.equal(before[n], p) for n, p in model.named_parameters())


def test_the_landscape_says_its_cost_first(finished, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    config = LandscapeConfig(checkpoint=finished.run, out=tmp_path, step=1.0, clips=2, device="cpu")
    with pytest.raises(UsageError, match="--yes"):
        landscape_command(config)
    assert "3 task models x 1 directions x 2 steps" in capsys.readouterr().out
    landscape_command(replace(config, yes=True))
    content = json.loads((tmp_path / "landscape.json").read_text())
    assert content["steps"] == [-1.0, 0.0]
    assert list(content["mse"]) == list(finished.tasks)
    assert all(math.isfinite(v) for of in content["mse"].values() for row in of for v in row)


def test_the_landscape_leaves_out_the_rows_that_training_did(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    labels, run = tmp_path / "labels", tmp_path / "run"
    shutil.copytree(finished.labels, labels)
    shutil.copytree(finished.run, run)
    with (labels / "infoAB_all.csv").open("a") as file:
        file.write("7_A_C_CG9.mp4,nan\n")
    told = replace(finished, run=run, labels=labels, on_bad_row="quarantine")
    (run / "config.yaml").write_text(dump_yaml(told))
    config = LandscapeConfig(checkpoint=run, out=tmp_path, device="cpu")
    with pytest.raises(UsageError, match="--yes"):
        landscape_command(config)
