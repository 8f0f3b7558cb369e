"""How a model is judged: measures at every glimpse, fixed ways to look, scan paths, what is left out."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from adaglimpse.config import EvaluateConfig
from adaglimpse.data.items import ImageDataset, denormalised, normalised
from adaglimpse.data.layouts import read_images
from adaglimpse.evaluate import command, evaluate, judge
from adaglimpse.learner import learner_of, train
from adaglimpse.method.glimpses import glimpse_boxes, seen_share
from adaglimpse.model.network import GlimpseModel
from adaglimpse.policies import Learnt, Random, grid_actions
from adaglimpse.results import LEADING, Judged
from shared_core.data.loader import ItemKey
from shared_core.data.quarantine import Quarantine
from shared_core.data.tables import read_csv, read_json, read_jsonl
from shared_core.errors import ConfigError, DataError, UsageError
from shared_core.reporting.events import read

TASKS = ("reconstruction", "classification", "segmentation")


@pytest.fixture
def order(scenes, runs, tmp_path):
    """Settings of an evaluation: `order("classification")`."""

    def settings(task, **changes):
        layouts = {"reconstruction": "folder", "classification": "imagenet"}
        plain = {
            "data_dir": scenes / task,
            "dataset": layouts.get(task, "ade20k"),
            "checkpoint": str(runs(task)),
            "out": tmp_path / "results",
            "batch_size": 4,
            "device": "cpu",
        }
        return EvaluateConfig(**{**plain, **changes})

    return settings


def images_of(config, task, model):
    samples = read_images(config, task, "val").samples
    return ImageDataset(samples, task=task, size=model.config.image_size)


@pytest.mark.parametrize("task", TASKS)
def test_every_policy_has_a_curve_and_the_learnt_one_its_paths(order, task):
    # the segmentation head costs more than all the rest
    policies = ("learnt", "grid") if task == "segmentation" else order(task).policies
    config = order(task, policies=policies)
    command(config)
    kinds = {"policy": str, "glimpses": int, "pixels": float, "seen": float}
    rows = [row.values for row in read_csv(config.out / "curves.csv", kinds)]
    assert len(rows) == len(policies) * 4
    assert [row["glimpses"] for row in rows[:4]] == [0, 1, 2, 3]
    assert [row["pixels"] for row in rows[:4]] == [0, 0.25, 0.5, 0.75]  # 16 x 16 of 32 x 32
    assert all(0 <= row["seen"] <= 1 for row in rows)
    found = read_json(config.out / "evaluation.json")
    assert found["images"] == dict.fromkeys(config.policies, 10)
    leading = found["measures"]["learnt"][LEADING[task]]
    assert leading["low"] <= leading["value"] <= leading["high"]
    paths = [path for _, path in read_jsonl(config.out / "scan_paths.jsonl")]
    assert len(paths) == 10
    assert [np.array(paths[0][name]).shape for name in ("actions", "boxes")] == [(3, 3), (3, 1, 4)]
    assert (config.out / "report.html").is_file()


def test_the_curve_ends_with_what_the_run_measured(order, runs):
    """The run judged the same weights after its last update."""
    config = order("reconstruction")
    command(config)
    found = read_json(config.out / "evaluation.json")["measures"]["learnt"]["rmse"]["value"]
    last = [event for event in read(runs("reconstruction")) if event["kind"] == "evaluate"][-1]
    assert found == pytest.approx(last["measures"]["rmse"]["value"], rel=1e-5)


def test_acceptance_13_boxes_depend_on_neither_seed_nor_batch(order, scenes):
    paths = []
    for seed, batch_size in ((0, 4), (1, 7)):
        config = order("classification", seed=seed, batch_size=batch_size, policies=("learnt",))
        command(config)
        paths.append(
            {
                path["image"]: path["boxes"]
                for _, path in read_jsonl(config.out / "scan_paths.jsonl")
            }
        )
    assert paths[0] == paths[1]


def test_measures_are_those_of_the_predictions(order, runs):
    """RMSE after the last glimpse, from images that are looked at one by one."""
    config = order("reconstruction")
    model = GlimpseModel.from_pretrained(runs("reconstruction"))
    dataset = images_of(config, "reconstruction", model)
    judged = evaluate(model, dataset, ("random",), batch_size=10)["random"]
    errors = []
    choose = Random(model.config)
    with torch.no_grad():
        for index in range(10):
            item = dataset[ItemKey(0, 0, index)]
            views = model.views(normalised(item.images))
            for _ in range(3):
                views.look(choose(views, None, item.indices))
            made = model.mae.reconstruct(model.encode(views, for_policy=False).tokens)
            errors.append((denormalised(made) - item.images.float()).square().mean())
    assert judged.value(3) == pytest.approx(float(torch.stack(errors).mean().sqrt()), rel=1e-4)


def test_acceptance_22_thresholds_below_and_above_every_score(order):
    """Below: every image is counted, after no glimpse; above: none stops."""
    for threshold, glimpses in ((0.0, 0.0), (1.1, 3.0)):
        config = order("classification", early_stop_threshold=threshold, policies=("learnt",))
        command(config)
        found = read_json(config.out / "evaluation.json")
        assert found["glimpses"]["learnt"] == glimpses
        assert found["images"]["learnt"] == 10


def test_an_image_that_stops_keeps_its_last_answer(order, runs):
    model = GlimpseModel.from_pretrained(runs("classification"))
    dataset = images_of(order("classification"), "classification", model)
    whole = judge(model, dataset, Learnt(model))
    stopped = judge(model, dataset, Learnt(model), threshold=0.18)
    used = stopped[:, -1, 1].astype(int)
    for row, step in enumerate(used):
        np.testing.assert_array_equal(stopped[row, : step + 1, 2:], whole[row, : step + 1, 2:])
        np.testing.assert_array_equal(
            stopped[row, step:], np.repeat(stopped[row, [step]], 4 - step, 0)
        )


def test_tiles_cover_the_image_and_do_not_overlap(runs):
    config = replace(
        GlimpseModel.from_pretrained(runs("classification")).config, image_size=(64, 64)
    )
    boxes = glimpse_boxes(grid_actions(config, 4), grid=1, image_size=(64, 64))
    assert seen_share(boxes.view(1, 4, 4), (64, 64)).item() == 1.0
    assert (boxes[..., 2:] - boxes[..., :2]).unique().tolist() == [32]


def test_an_image_that_cannot_be_read_is_left_out_and_listed(order, scenes, tmp_path, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(scenes / "reconstruction", broken)
    victim = sorted((broken / "val").iterdir())[3]
    victim.write_bytes(b"no image")
    config = order("reconstruction", data_dir=broken, policies=("learnt",))
    with pytest.raises(DataError, match=victim.name):
        command(config)
    command(replace(config, on_bad_row="quarantine"))
    found = read_json(config.out / "evaluation.json")
    assert found["images"]["learnt"] == 9
    assert [row["path"] for row in found["quarantined"]] == [str(victim)]


def test_a_run_judges_without_an_image_that_cannot_be_read(tiny, scenes, tmp_path, no_report):
    broken = tmp_path / "broken"
    shutil.copytree(scenes / "reconstruction", broken)
    sorted((broken / "val").iterdir())[3].write_bytes(b"no image")
    config = tiny(
        task="reconstruction", data_dir=broken, run=tmp_path / "run", on_bad_row="quarantine",
        max_steps=1,
    )  # fmt: skip
    train(config)
    measures = [e for e in read(config.run) if e["kind"] == "evaluate"][-1]["measures"]
    assert np.isfinite(measures["rmse"]["value"])


def test_a_batch_whose_images_are_all_left_out_teaches_nothing(tiny, scenes, tmp_path, no_report):
    broken = tmp_path / "broken"
    shutil.copytree(scenes / "reconstruction", broken)
    sorted((broken / "train").iterdir())[3].write_bytes(b"no image")
    config = tiny(
        task="reconstruction", data_dir=broken, run=tmp_path / "run", on_bad_row="quarantine",
        batch_size=1, epochs=1, rl_batch_size=99, save_every=50,
    )  # fmt: skip
    train(config)
    steps = [event for event in read(config.run) if event["kind"] == "train"]
    assert [event.get("left_out", False) for event in steps].count(True) >= 1
    assert len(steps) == 32


def test_a_model_of_other_classes_is_refused(order, scenes, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(scenes / "classification", other)
    for split in ("train", "val"):
        (other / split / "rings").rename(other / split / "aardvarks")
    with pytest.raises(DataError, match=r"found 'aardvarks'"):
        command(order("classification", data_dir=other))


def test_segmentation_cannot_stop_early(order, tiny, tmp_path):
    with pytest.raises(UsageError, match=r"the score of a segmentation needs the labels"):
        command(order("segmentation", early_stop_threshold=0.5))
    with pytest.raises(ConfigError, match="early_stop_threshold"):
        tiny(task="segmentation", run=tmp_path / "run", early_stop_threshold=0.5)


def test_segmentation_without_labelled_pixels_is_undefined_or_as_the_authors_have_it():
    nothing = Judged("segmentation", np.zeros((3, 1, 2 + 3 * 4)))
    found = nothing.measures(0)
    assert all(not measure.defined for measure in found.values())
    assert "no pixel has a class" in str(found["mean_iou"])
    compat = nothing.measures(0, compat=True)
    assert (compat["pixel_accuracy"].value, compat["mean_accuracy"].value) == (0.0, 0.0)
    assert not compat["mean_iou"].defined


def test_a_process_counts_its_own_images_and_leaves_the_rest_at_zero(order, runs):
    model = GlimpseModel.from_pretrained(runs("classification"))
    dataset = images_of(order("classification"), "classification", model)
    whole = judge(model, dataset, Random(model.config), batch_size=3)
    parts = [
        judge(model, dataset, Random(model.config), batch_size=3, rank=rank, world=2)
        for rank in range(2)
    ]
    np.testing.assert_array_equal(sum(parts), whole)
    assert np.isfinite(whole).all()


def test_the_report_is_readable_json_and_page(order):
    config = order("classification", policies=("learnt", "random"))
    command(config)
    page = (config.out / "report.html").read_text()
    assert "Quality against glimpses" in page
    json.loads((config.out / "evaluation.json").read_text())


def test_the_learner_judges_with_a_quarantine_of_its_own(tiny, tmp_path):
    config = tiny(run=tmp_path / "run")
    images = {split: read_images(config, config.task, split) for split in ("train", "val")}
    learner = learner_of(config, images, quarantine=Quarantine("raise"))
    learner.model.eval()
    with torch.no_grad():
        first, second = learner.evaluate(), learner.evaluate()
    assert first == second
