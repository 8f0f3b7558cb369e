"""Prediction for a user's own images and videos: what is found, what is written, and ablations of it."""

from __future__ import annotations

import itertools
import json
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adaglimpse.cli import main
from adaglimpse.config import GlimpseModelConfig
from adaglimpse.data.items import ImageDataset
from adaglimpse.data.layouts import Sample
from adaglimpse.method.actions import mean
from adaglimpse.model.network import GlimpseModel
from adaglimpse.predict import AverageState, predict, predictions
from adaglimpse.predict.sources import pictures
from adaglimpse.predict.state import PARTS, Replaced
from adaglimpse.predict.writing import Names
from shared_core.data.loader import ItemKey
from shared_core.data.video import frames
from shared_core.errors import CheckpointError, ConfigError, DataError, NonFiniteError, UsageError
from shared_core.testing.data import shared_data
from shared_core.testing.media import grey_steps, step_of, write_media

TASKS = ("reconstruction", "classification", "segmentation")
CLASSES = ("disc", "ring", "cross", "triangle", "stripes", "checker")
STEPS = 3


def made(task="reconstruction", **changes):
    """An untrained model whose policy looks at another place in every image."""
    torch.manual_seed(3)
    settings = {
        "task": task,
        "backbone_size": "tiny",
        "image_size": (48, 64),
        "num_glimpses": STEPS,
        "glimpse_grid_size": 1,
        "num_classes": len(CLASSES),
        "classes": CLASSES,
        **changes,
    }
    model = GlimpseModel(GlimpseModelConfig(**settings)).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "gamma" in name:
                tensor.fill_(1.0)
            if name == "actor.head.2.weight":
                tensor.mul_(8)
            if name == "mae.head.weight":
                tensor.normal_()
        if task == "classification":  # who has seen nothing takes all classes for equally likely
            nothing = model.encode(model.views(torch.zeros(1, 3, *model.config.image_size)))
            model.mae.head.bias.sub_(model.mae.classify(nothing.tokens)[0])
    return model


@pytest.fixture(scope="module")
def models():
    """One for each task."""
    return {task: made(task) for task in TASKS}


@pytest.fixture(scope="module")
def saved(models, tmp_path_factory):
    """The same as folders."""
    root = tmp_path_factory.mktemp("models")
    for task, model in models.items():
        model.save_pretrained(root / task)
    return root


def write_image(path, seed=0, size=(80, 60)):
    """A smooth picture of noise."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    coarse.resize(size, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Five pictures."""
    root = tmp_path / "photos"
    root.mkdir()
    for number in range(5):
        write_image(root / f"photo{number}.png", number)
    return root


def run(saved, out, *line, task="classification"):
    return main(["predict", *map(str, line), "--checkpoint", str(saved / task), "--out", str(out)])


def lines(out):
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


# --- what is found --------------------------------------------------------------------------------


def by_hand(model, image):
    """An episode of one image, written out: answers, boxes and actions."""
    config = model.config
    picture = Image.open(image).convert("RGB")
    how = 3 if config.task == "segmentation" else 2  # bicubic, bilinear
    pixels = np.asarray(picture.resize((64, 48), how), np.float32) / 255
    normal = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    views = model.views(torch.tensor(normal).float().permute(2, 0, 1)[None])
    answers, boxes, actions = [], [], []
    for step in range(STEPS + 1):
        encoded = model.encode(views)
        if config.task == "reconstruction":
            found = model.mae.reconstruct(encoded.tokens)[0].permute(1, 2, 0).numpy()
            found = (found * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406]) * 255
            answers.append(np.clip(found, 0, 255))
        elif config.task == "classification":
            logits = model.mae.classify(encoded.tokens)[0].double().numpy()
            answers.append(np.exp(logits) / np.exp(logits).sum())
        else:
            answers.append(model.mae.segment(encoded.tokens)[0].argmax(dim=0).numpy())
        if step < STEPS:
            action = mean(*model.policy(model.observation(views, encoded)))
            actions.append(action[0].numpy())
            boxes.append(views.look(action)[0].numpy())
    return np.stack(answers), np.stack(boxes), np.stack(actions)


@torch.inference_mode()
@pytest.mark.parametrize("task", TASKS)
def test_an_episode_is_what_the_model_does_step_by_step(models, folder, task):
    model = models[task]
    found = predict(model, [folder], batch_size=2)
    assert [prediction.name for prediction in found] == [f"photo{n}" for n in range(5)]
    for prediction in found:
        answers, boxes, actions = by_hand(model, prediction.path)
        np.testing.assert_array_equal(prediction.boxes, boxes)
        np.testing.assert_allclose(prediction.actions, actions, atol=1e-5)
        if task == "segmentation":
            assert (prediction.answers == answers).mean() > 0.999
            assert np.isnan(prediction.scores).all()
            continue
        half = 0.51 if task == "reconstruction" else 1e-5  # pixels are rounded
        np.testing.assert_allclose(prediction.answers, answers, atol=half)
        if task == "classification":
            np.testing.assert_allclose(prediction.scores, answers.max(axis=1), atol=1e-5)
            continue
        error = answers - prediction.image
        rmse = np.sqrt((error**2).mean(axis=(1, 2, 3)))
        np.testing.assert_allclose(prediction.scores, -rmse, rtol=1e-4)
        assert prediction.rmse(2) == pytest.approx(rmse[2], rel=1e-4)


def test_the_images_are_explored_in_different_ways(models, folder):
    """Else the comparisons here would hold for a policy that is blind."""
    found = predict(models["classification"], [folder])
    last = {tuple(prediction.boxes[-1, 0]) for prediction in found}
    assert len(last) > 2


@pytest.mark.parametrize("how", ["mean", "sample"])
def test_a_prediction_does_not_depend_on_batch_mates(models, folder, how):
    model = models["classification"]
    together = predict(model, [folder], eval_action=how, batch_size=5)
    alone = predict(model, [folder], eval_action=how, batch_size=1)
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)


def test_drawn_actions_depend_on_the_seed_and_means_do_not(models, folder):
    model = models["classification"]

    def boxes(how, seed):
        return np.stack([p.boxes for p in predict(model, [folder], eval_action=how, seed=seed)])

    assert (boxes("sample", 0) == boxes("sample", 0)).all()
    assert (boxes("sample", 0) != boxes("sample", 1)).any()
    assert (boxes("mean", 0) == boxes("mean", 1)).all()


@pytest.mark.parametrize("task", TASKS)
def test_images_are_resized_as_for_evaluation(models, folder, task):
    path = folder / "photo1.png"
    mask = folder.parent / "mask.png"
    Image.new("L", (80, 60), 1).save(mask)
    item = ImageDataset([Sample("x", path, mask=mask)], task=task, size=(48, 64))[ItemKey(0, 0, 0)]
    (found,) = predict(models[task], [path])
    np.testing.assert_array_equal(found.image, item.images[0].permute(1, 2, 0).numpy())


def test_a_number_of_glimpses_other_than_in_training(models, folder):
    for count in (1, 5):
        (found, *_) = predict(models["reconstruction"], [folder], num_glimpses=count)
        assert found.boxes.shape == (count, 1, 4)
        assert len(found.answers) == len(found.seconds) == len(found.scores) == count + 1


def test_an_image_stops_once_its_score_is_above_the_threshold(models, folder):
    model = models["classification"]
    whole = predict(model, [folder])
    threshold = float(np.median([prediction.scores[1] for prediction in whole]))
    stopped = predict(model, [folder], early_stop_threshold=threshold)
    assert len({prediction.steps for prediction in stopped}) > 1
    for one, other in zip(stopped, whole, strict=True):
        above = np.flatnonzero(other.scores > threshold)
        assert one.steps == (above[0] if len(above) else STEPS)
        np.testing.assert_array_equal(one.boxes, other.boxes[: one.steps])
        np.testing.assert_allclose(one.answers, other.answers[: one.steps + 1], atol=1e-5)


@pytest.mark.parametrize(("threshold", "steps"), [(0.0, 0), (1.1, STEPS)])
def test_acceptance_22_a_threshold_of_0_stops_at_once_and_one_above_1_never(
    models, folder, threshold, steps
):
    for found in predict(models["classification"], [folder], early_stop_threshold=threshold):
        assert found.steps == steps
        assert found.boxes.shape == (steps, 1, 4)
        assert found.actions.shape == (steps, 3)


def test_the_time_of_a_step_is_shared_by_the_images_of_its_batch(models, folder, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr("time.perf_counter", lambda: float(next(ticks)))
    found = predict(models["classification"], [folder], batch_size=4)
    expected = [1 / 4] * 4 + [1.0]
    for prediction, seconds in zip(found, expected, strict=True):
        np.testing.assert_allclose(prediction.seconds, [seconds] * (STEPS + 1))


def test_classes_are_told_by_name_or_by_number(models, folder):
    (found,) = predict(models["classification"], [folder / "photo0.png"])
    order = np.argsort(-found.answers[1])
    assert [name for name, _ in found.classes(1)] == [CLASSES[index] for index in order[:5]]
    assert found.caption(1) == f"{CLASSES[order[0]]}: {found.answers[1].max():.0%}"
    (found,) = predict(made("classification", classes=()), [folder / "photo0.png"])
    assert found.label(4) == "4"


def test_shares_of_a_label_map_are_counted(models, folder):
    (found,) = predict(models["segmentation"], [folder / "photo0.png"])
    for name, share in found.classes(2):
        assert share == pytest.approx((found.answers[2] == CLASSES.index(name)).mean())
    assert sum(share for _, share in found.classes(2, len(CLASSES))) == pytest.approx(1)


def test_a_model_in_training_predicts_as_in_evaluation_and_stays_in_training(folder):
    model = made("classification")
    before = predict(model, [folder])
    model.train()
    for one, other in zip(model.predict([folder]), before, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
    assert model.training


@pytest.mark.parametrize("name", ["num_glimpses", "every", "batch_size"])
def test_numbers_below_1_are_refused(models, folder, name):
    with pytest.raises(ConfigError, match=name):
        predict(models["classification"], [folder], **{name: 0})


def test_weights_that_are_not_finite_are_said(folder):
    model = made("classification")
    with torch.no_grad():
        model.mae.head.weight.fill_(torch.nan)
    with pytest.raises(NonFiniteError, match="not finite"):
        predict(model, [folder])


def test_only_a_batch_of_images_is_in_memory(models, folder):
    """Images are read as they are looked at, however many there are."""
    read = []

    def reading():
        for picture in pictures(sorted(folder.iterdir()), 1, pytest.fail):
            read.append(picture.name)
            yield picture

    found = predictions(models["classification"], reading(), batch_size=2)
    next(found)
    assert len(read) == 2


# --- sources --------------------------------------------------------------------------------------


def test_every_so_many_frames_of_a_video_are_images_of_their_own(models, tmp_path):
    clip = write_media(tmp_path / "clip.mkv", grey_steps(14))
    found = predict(models["reconstruction"], [clip], every=5)
    assert [prediction.name for prediction in found] == ["clip-0", "clip-5", "clip-10"]
    assert [prediction.frame for prediction in found] == [0, 5, 10]
    assert [step_of(prediction.image) for prediction in found] == [0, 5, 10]


@pytest.mark.parametrize("kind", ["grey", "grey16", "rgba", "turned"])
def test_images_of_every_kind_are_read_as_they_look(models, tmp_path, kind):
    ramp = np.linspace(0, 255, 64).round().astype(np.uint8)[None].repeat(48, axis=0)
    path = tmp_path / "image.png"
    expected = ramp
    match kind:
        case "grey":
            Image.fromarray(ramp).save(path)
        case "grey16":
            Image.fromarray(ramp.astype(np.uint16) * 257).save(path)
        case "rgba":
            expected = (ramp * 0.5).round()
            half = np.full_like(ramp, 128)
            Image.fromarray(np.dstack([ramp, ramp, ramp, half]), "RGBA").save(path)
        case "turned":
            stored = Image.fromarray(ramp).rotate(90, expand=True)
            exif = stored.getexif()
            exif[0x0112] = 6  # to be turned clockwise
            stored.save(path, exif=exif)
    (found,) = predict(models["segmentation"], [path])
    np.testing.assert_allclose(found.image, np.dstack([expected] * 3), atol=1)


def test_a_random_sample_is_drawn_once_for_a_seed(folder, tmp_path):
    files = [*sorted(folder.iterdir()), write_media(tmp_path / "clip.mkv", grey_steps(12))]

    def drawn(count, seed=0):
        found = pictures(files, 3, pytest.fail, random_samples=count, seed=seed)
        return [picture.name for picture in found]

    every = [*(f"photo{n}" for n in range(5)), *(f"clip-{n}" for n in (0, 3, 6, 9))]
    assert drawn(100) == every
    assert drawn(4) == drawn(4)
    assert len(drawn(4)) == 4
    assert len({tuple(drawn(4, seed)) for seed in range(8)}) > 4
    often = [name for seed in range(25) for name in drawn(3, seed)]
    assert set(often) == set(every)


def test_a_file_that_cannot_be_used_ends_a_call(models, folder):
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match="broken"):
        predict(models["classification"], [folder])
    with pytest.raises(DataError, match="no such file"):
        predict(models["classification"], [folder / "nothing.png"])


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_acceptance_29_a_folder_with_a_photo_a_png_and_a_text(saved, tmp_path, task):
    """The text is ignored; there are one PNG and one line each, and 5 * steps + 8 frames."""
    root = tmp_path / "mixed"
    root.mkdir()
    write_image(root / "a.jpg", 1)
    write_image(root / "b.PNG", 2)
    (root / "notes.txt").write_text("not an image")
    out = tmp_path / "out"
    assert run(saved, out, root, "--animate", task=task) == 0
    told = lines(out)
    assert [line["path"] for line in told] == [str(root / "a.jpg"), str(root / "b.PNG")]
    masks = {"a-mask.png", "b-mask.png"} if task == "segmentation" else set()
    assert {path.name for path in out.glob("*.png")} == {"a.png", "b.png"} | masks
    for line in told:
        assert line["steps"] == STEPS
        assert Image.open(out / line["gif"]).n_frames == 5 * STEPS + 8
        assert len(list(frames(out / line["mp4"]))) == 5 * STEPS + 8


def test_a_line_holds_everything_that_was_found(models, saved, tmp_path, folder):
    assert run(saved, tmp_path / "out", folder) == 0
    for line, found in zip(
        lines(tmp_path / "out"), predict(models["classification"], [folder]), strict=True
    ):
        assert line["path"] == str(found.path)
        assert line["frame"] is None
        assert line["note"] is None
        assert line["image_size"] == [48, 64]
        assert line["picture"] == f"{found.name}.png"
        np.testing.assert_array_equal(line["boxes"], found.boxes)
        np.testing.assert_allclose(line["actions"], found.actions, atol=1e-6)
        np.testing.assert_allclose(line["scores"], found.scores, atol=1e-6)
        assert len(line["seconds"]) == STEPS + 1
        assert min(line["seconds"]) > 0
        assert [p["label"] for p in line["predictions"]] == [
            CLASSES[answer.argmax()] for answer in found.answers
        ]
        np.testing.assert_allclose(
            [p["probability"] for p in line["predictions"]], found.answers.max(axis=1), atol=1e-6
        )
        last = line["predictions"][-1]["top"]
        assert len(last) == 5
        values = [one["probability"] for one in last]
        np.testing.assert_allclose(values, np.sort(found.answers[-1])[:0:-1], atol=1e-6)


def test_a_reconstruction_tells_its_error_and_a_segmentation_its_mask(
    models, saved, tmp_path, folder
):
    run(saved, tmp_path / "pixels", folder, task="reconstruction")
    run(saved, tmp_path / "labels", folder, task="segmentation")
    for line, found in zip(
        lines(tmp_path / "pixels"), predict(models["reconstruction"], [folder]), strict=True
    ):
        errors = [answer["rmse"] for answer in line["predictions"]]
        np.testing.assert_allclose(errors, -found.scores, rtol=1e-5)
    for line, found in zip(
        lines(tmp_path / "labels"), predict(models["segmentation"], [folder]), strict=True
    ):
        assert line["scores"] == [None] * (STEPS + 1)
        assert line["mask"] == f"{found.name}-mask.png"
        mask = Image.open(tmp_path / "labels" / line["mask"])
        assert mask.mode == "L"
        np.testing.assert_array_equal(np.asarray(mask), found.answers[-1])
        shares = line["predictions"][-1]["classes"]
        assert shares[0]["share"] == max(one["share"] for one in shares)


def test_a_bad_file_does_not_stop_the_others(saved, tmp_path, folder, capsys):
    (folder / "photo2.png").write_bytes((folder / "photo2.png").read_bytes()[:200])
    clip = write_media(tmp_path / "clip.mp4", grey_steps(4))
    clip.write_bytes(clip.read_bytes()[:100])
    out = tmp_path / "out"
    assert run(saved, out, clip, folder) == 1
    assert [line["picture"] for line in lines(out)] == [f"photo{n}.png" for n in (0, 1, 3, 4)]
    told = capsys.readouterr().err
    report = (out / "report.html").read_text()
    for name in ("photo2.png", "clip.mp4"):
        assert name in told
        assert name in report.split("Not looked at")[-1]


def test_nothing_that_can_be_used_is_still_reported(saved, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    out = tmp_path / "out"
    assert run(saved, out, bad, "--dump-avg-state", tmp_path / "mean.safetensors") == 1
    assert lines(out) == []
    assert "bad.png" in (out / "report.html").read_text()
    assert not (tmp_path / "mean.safetensors").exists()


def test_without_a_checkpoint_it_is_said_where_one_comes_from(folder, capsys):
    assert main(["predict", str(folder)]) == 2
    told = capsys.readouterr().err
    for way in ("train", "convert", "demo"):
        assert f"adaglimpse {way}" in told


def test_a_segmentation_cannot_stop_early(models, saved, tmp_path, folder, capsys):
    with pytest.raises(UsageError, match="early_stop_threshold"):
        predict(models["segmentation"], [folder], early_stop_threshold=-0.1)
    line = [folder, "--early-stop-threshold", "-0.1"]
    assert run(saved, tmp_path / "out", *line, task="segmentation") == 2
    assert "cannot stop" in capsys.readouterr().err
    assert not (tmp_path / "out" / "predictions.jsonl").exists()


def test_images_that_stop_at_once_are_drawn_too(saved, tmp_path, folder):
    out = tmp_path / "out"
    line = [folder / "photo0.png", "--early-stop-threshold", "0", "--animate"]
    assert run(saved, out, *line) == 0
    assert lines(out)[0]["boxes"] == []
    assert Image.open(out / "photo0.gif").n_frames == 8
    assert (out / "photo0.png").is_file()


@pytest.mark.parametrize(("task", "rows"), [("classification", 2), ("reconstruction", 3)])
def test_panels_are_written_one_by_one_when_asked_for(saved, tmp_path, folder, task, rows):
    out = tmp_path / "out"
    line = [folder / "photo0.png", "--save-all", "--no-pictures"]
    assert run(saved, out, *line, task=task) == 0
    assert {path.name for path in out.glob("*.png")} == {
        f"photo0_{column}_{row}.png" for column in range(STEPS + 1) for row in range(rows)
    }
    assert "picture" not in lines(out)[0]
    first = np.asarray(Image.open(out / "photo0_0_0.png"))
    (found,) = predict(GlimpseModel.from_pretrained(saved / task), [folder / "photo0.png"])
    np.testing.assert_array_equal(
        first[1::3, 1::3], found.image
    )  # 64 pixels wide, drawn 3 times larger


def test_images_of_one_name_write_files_of_their_own(saved, tmp_path, folder):
    other = tmp_path / "photo0.jpg"
    write_image(other, 9)
    out = tmp_path / "out"
    assert run(saved, out, folder / "photo0.png", other) == 0
    assert [line["picture"] for line in lines(out)] == ["photo0.png", "photo0-2.png"]


def test_no_two_names_share_a_file():
    """An image's files are NAME.*, NAME-mask.png and NAME_<column>_<row>.png."""
    wanted = ("x", "x-mask", "x", "x_0_1", "y_2_3", "y", "y_2_3", "z-2", "z", "z", "w_1_1", "w_1_2")
    for order in (wanted, wanted[::-1], sorted(wanted)):
        names = Names()
        found = [names.new(name) for name in order]
        assert len(set(found)) == len(order)
        for name, other in itertools.permutations(found, 2):
            assert not re.fullmatch(rf"{re.escape(name)}(-mask|_\d+_\d+)", other)
    names = Names()
    tiles = ("w_1_1", "w_1_2", "w-mask")
    assert tuple(map(names.new, tiles)) == tiles  # numbered only where that is needed


def test_an_untrained_policy_is_told_everywhere(tmp_path, folder, capsys):
    made("classification", trained=False).save_pretrained(tmp_path / "classification")
    assert run(tmp_path, tmp_path / "out", folder) == 0
    assert "NOTE: this model" in capsys.readouterr().out
    assert all("never been trained" in line["note"] for line in lines(tmp_path / "out"))
    assert "never been trained" in (tmp_path / "out" / "report.html").read_text()


def test_the_report_shows_the_first_images_and_counts_all(saved, tmp_path, folder, monkeypatch):
    monkeypatch.setattr(import_module("adaglimpse.predict.report"), "SHOWN", 3)
    assert run(saved, tmp_path / "out", folder, task="reconstruction") == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/webp") == 3
    assert "The first 3 of them follow" in page
    told = [line["predictions"][-1]["rmse"] for line in lines(tmp_path / "out")]
    assert f"{np.mean(told):.4g}" in page
    assert f"{STEPS * 256 / (48 * 64):.4g}" in page  # share of pixels


def test_a_sample_of_the_images_is_looked_at(saved, tmp_path, folder):
    assert run(saved, tmp_path / "out", folder, "--random-samples", "2") == 0
    assert len(lines(tmp_path / "out")) == 2


def test_acceptance_done_2_real_photos_get_pictures_and_animations(saved, tmp_path):
    photos = shared_data("common", "coco2014_mini", "val2014")
    out = tmp_path / "out"
    line = [photos, "--animate", "--random-samples", "4"]
    assert run(saved, out, *line, task="reconstruction") == 0
    names = {Path(line["path"]).stem for line in lines(out)}
    assert len(names) == 4
    assert names <= {path.stem for path in photos.iterdir()}
    for suffix in ("png", "gif", "mp4"):
        assert {path.stem for path in out.glob(f"*.{suffix}")} == names


# --- ablations of what the policy sees ------------------------------------------------------------


class Seen:
    """Keeps every observation."""

    def __init__(self):
        self.all = []

    def __call__(self, seen):
        self.all.append(type(seen)(*(tensor.clone() for tensor in seen)))
        return seen


def averaged(model, folder, **options):
    """The mean state, and all observations."""
    average, seen = AverageState(), Seen()
    predict(model, [folder], replace=lambda state: seen(average(state)), batch_size=2, **options)
    return average, seen.all


@pytest.mark.parametrize("threshold", [None, 0.9])
def test_the_mean_state_goes_over_all_images_and_places_with_a_patch(models, folder, threshold):
    model = made("classification", glimpse_grid_size=2)
    average, seen = averaged(model, folder, early_stop_threshold=threshold)
    places = {name: {} for name in PARTS}
    for state in seen:
        for row, place in itertools.product(range(len(state.mask)), range(state.mask.shape[1])):
            if not state.mask[row, place]:
                for name, part in PARTS.items():
                    value = getattr(state, part)[row, place].double()
                    places[name].setdefault(place, []).append(value)
    means = average.means()
    for name in ("patches", "coords", "importance"):
        assert len(means[name]) == len(places[name]) == (STEPS - 1) * 4
        for place, values in places[name].items():
            torch.testing.assert_close(means[name][place], torch.stack(values).mean(dim=0))
    every = [value for values in places["latent"].values() for value in values]
    torch.testing.assert_close(means["latent"], torch.stack(every).mean(dim=0))


def test_means_replace_what_is_seen_and_leave_empty_places(models, folder):
    model = models["classification"]
    average, seen = averaged(model, folder)
    means = average.means()
    for state in seen:
        shown = Replaced(means, ("coords", "latent"))(state)
        assert torch.equal(shown.patches, state.patches)
        assert torch.equal(shown.attention, state.attention)
        there = ~state.mask[..., 0]
        assert torch.equal(shown.coords[~there], state.coords[~there])
        assert torch.equal(shown.observation[~there], state.observation[~there])
        for row, place in there.nonzero().tolist():
            assert torch.equal(shown.coords[row, place], means["coords"][place].float())
            assert torch.equal(shown.observation[row, place], means["latent"].float())


def test_a_policy_that_sees_means_only_looks_alike_at_all_images(saved, tmp_path, folder):
    state = tmp_path / "state" / "mean.safetensors"
    assert run(saved, tmp_path / "first", folder, "--dump-avg-state", state) == 0
    line = [folder, "--avg-state", state, "--replace-state"]
    assert run(saved, tmp_path / "blind", *line, *PARTS) == 0
    assert run(saved, tmp_path / "half", *line, "importance") == 0
    boxes = {name: [line["boxes"] for line in lines(tmp_path / name)] for name in
             ("first", "blind", "half")}  # fmt: skip
    assert all(one == boxes["blind"][0] for one in boxes["blind"])
    assert any(one != boxes["first"][0] for one in boxes["first"])
    assert any(one != boxes["half"][0] for one in boxes["half"])


def test_a_mean_state_of_another_kind_is_refused(models, folder, tmp_path):
    model, path = models["classification"], tmp_path / "mean.safetensors"
    average, _ = averaged(model, folder)
    average.save(path, model.config)
    config = model.config
    Replaced.read(path, ["coords"], config, STEPS)
    with pytest.raises(CheckpointError, match="3 places"):
        Replaced.read(path, ["coords"], config, STEPS + 1)
    with pytest.raises(CheckpointError, match="image_size"):
        Replaced.read(path, ["coords"], made(image_size=(64, 64)).config, STEPS)
    with pytest.raises(CheckpointError, match="glimpse_grid_size"):
        Replaced.read(path, ["coords"], made(glimpse_grid_size=2).config, STEPS)
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(CheckpointError, match="the tensors patches"):
        Replaced.read(tmp_path / "model" / "model.safetensors", ["coords"], config, STEPS)
    with pytest.raises(CheckpointError, match="not a readable"):
        Replaced.read(tmp_path / "nothing", ["coords"], config, STEPS)


def test_a_policy_that_saw_nothing_has_no_mean(models, folder):
    average, _ = averaged(models["classification"], folder, num_glimpses=1)
    with pytest.raises(UsageError, match="two glimpses or more"):
        average.means()
