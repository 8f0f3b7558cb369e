"""Prediction for a user's own pictures and videos, and where its head boxes and depth come from."""

from __future__ import annotations

import csv
import json
import math
import wave

import numpy as np
import pytest
import torch
from PIL import Image

from gaze_da.cli import main
from gaze_da.config import GazeModelConfig, Reading
from gaze_da.data.items import GazeDataset
from gaze_da.data.samples import Sample
from gaze_da.heads import (
    HeadTable,
    from_texts,
    head_from_face,
    head_from_keypoints,
    in_pixels,
)
from gaze_da.model.initial import initialise
from gaze_da.model.network import GazeModel
from gaze_da.overlay import drawn
from gaze_da.predict import GazePrediction, predict
from shared_core.data.loader import ItemKey
from shared_core.data.video import frames
from shared_core.errors import DataError, UsageError
from shared_core.testing.data import shared_data
from shared_core.testing.media import grey_steps, write_media

HEADS = [(10.0, 8.0, 40.0, 40.0), (60.0, 20.0, 90.0, 60.0), (30.0, 50.0, 55.0, 85.0),
         (95.0, 5.0, 125.0, 30.0), (0.0, 60.0, 20.0, 90.0)]  # fmt: skip


def network(small, **config):
    model = GazeModel(GazeModelConfig(network=small, **config))
    initialise(model, torch.Generator().manual_seed(1))
    return model.eval()


@pytest.fixture(scope="module")
def model(tiny):
    """A network with random weights."""
    return network(tiny().network)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    """The same as a folder."""
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def picture(gazefollow_root):
    """A picture of 120 x 90 pixels, with its depth."""
    return (
        gazefollow_root / "train/00000000/00000000.jpg",
        gazefollow_root / "depth/00000000/00000000.jpg",
    )


def run(saved, out, *line):
    words = ["predict", *line, "--checkpoint", saved, "--out", out]
    return main([str(word) for word in words])


def read(out, stem):
    return json.loads((out / f"{stem}.json").read_text())


# --- one picture ----------------------------------------------------------------------------------


def test_acceptance_27_five_people_at_once_are_five_single_calls(model, picture):
    path, depth = picture
    together = predict(model, path, HEADS, units="pixels", depth=depth)
    for head, ours in zip(HEADS, together, strict=True):
        (alone,) = predict(model, path, [head], units="pixels", depth=depth)
        np.testing.assert_allclose(ours.heatmap, alone.heatmap, rtol=1e-5, atol=1e-5)
        assert ours.inside == pytest.approx(alone.inside, abs=1e-5)
        assert ours.point == alone.point
    in_parts = predict(model, path, HEADS, units="pixels", depth=depth, batch_size=2)
    for ours, part in zip(together, in_parts, strict=True):
        np.testing.assert_allclose(ours.heatmap, part.heatmap, rtol=1e-5, atol=1e-5)


def test_prediction_reads_a_picture_as_evaluation_does(model, picture, tiny):
    path, depth = picture
    sample = Sample(
        name="x", image=str(path), depth=str(depth), group="x", dataset="gazefollow",
        head=HEADS[1], head_unit="pixels", gazes=((0.5, 0.5),), gaze_unit="fractions",
        eyes=((0.5, 0.5),), inside=True,
    )  # fmt: skip
    from gaze_da.evaluate import Network

    batch = GazeDataset([sample], tiny().network, Reading())[ItemKey(0, 0, 0)]
    heatmaps, inout = Network(model)(batch)
    (found,) = predict(model, path, [HEADS[1]], units="pixels", depth=depth)
    np.testing.assert_allclose(found.heatmap, heatmaps[0].numpy(), rtol=1e-5, atol=1e-5)
    assert found.inside == pytest.approx(inout.sigmoid().item(), abs=1e-6)


def test_the_angle_is_in_pixels_with_y_pointing_down(model, picture):
    path, _ = picture
    for found in predict(model, path, HEADS, units="pixels"):
        x0, y0, x1, y1 = found.box
        dx = found.point[0] * 120 - (x0 + x1) * 60
        dy = found.point[1] * 90 - (y0 + y1) * 45
        assert found.angle == pytest.approx(math.degrees(math.atan2(dy, dx)))
        assert -180 < found.angle <= 180
        cell = np.unravel_index(found.heatmap.argmax(), found.heatmap.shape)
        assert found.point == pytest.approx(((cell[1] + 0.5) / 24, (cell[0] + 0.5) / 24))


def test_boxes_in_fractions_and_pixels_and_the_method_agree(model, picture):
    path, _ = picture
    fractions = [tuple(v / s for v, s in zip(HEADS[0], (120, 90) * 2, strict=True))]
    (one,) = model.predict(path, heads=fractions)
    (other,) = predict(model, np.asarray(Image.open(path)), HEADS[:1], units="pixels")
    np.testing.assert_allclose(one.heatmap, other.heatmap, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "box", [(40, 8, 10, 40), (10, 8, 10, 40), (200, 8, 230, 40), (math.nan, 8, 10, 40)]
)
def test_a_box_that_is_none_is_refused(model, picture, box):
    with pytest.raises(DataError, match="expected a head box"):
        predict(model, picture[0], [box], units="pixels")


def test_depth_that_is_not_finite_is_refused_and_changes_matter(model, picture):
    path, depth = picture
    values = np.linspace(0, 1, 90 * 120).reshape(90, 120)
    values[3, 3] = np.nan
    with pytest.raises(DataError, match="not finite"):
        predict(model, path, HEADS[:1], units="pixels", depth=values)
    (with_depth,) = predict(model, path, HEADS[:1], units="pixels", depth=depth)
    (without,) = predict(model, path, HEADS[:1], units="pixels")
    assert not np.allclose(with_depth.heatmap, without.heatmap)


@pytest.mark.parametrize(
    ("picture", "depth", "message"),
    [
        (np.zeros((9, 9), np.uint8), None, "expected RGB pixels"),
        (np.zeros((9, 9, 3)), None, "expected RGB pixels"),
        (np.zeros((9, 9, 3), np.uint8), np.ones((9, 9, 1)), "depth of shape"),
    ],
)
def test_pixels_of_another_kind_are_refused(model, picture, depth, message):
    with pytest.raises(DataError, match=message):
        predict(model, picture, [(0.1, 0.1, 0.5, 0.5)], depth=depth)


def test_an_angle_is_never_minus_180_once_it_is_rounded():
    person = GazePrediction(
        person="0", box=(0.1, 0.1, 0.3, 0.4), heatmap=np.zeros((2, 2), np.float32),
        point=(0.1, 0.2), inside=None, angle=-179.9999,
    )  # fmt: skip
    assert person.to_json()["angle"] == 180


def test_adapted_networks_predict_and_an_untrained_head_says_nothing(tiny, tmp_path, picture):
    adapted = network(tiny().network, head_da=True, rgb_depth_da=True, inout_trained=False)
    adapted.save_pretrained(tmp_path / "model")
    (found,) = predict(
        GazeModel.from_pretrained(tmp_path / "model"), picture[0], HEADS[:1], units="pixels"
    )
    assert found.inside is None
    assert run(tmp_path / "model", tmp_path / "out", picture[0], "--head", "10,8,40,40") == 0
    told = read(tmp_path / "out", "00000000")
    assert told["frames"][0]["people"][0]["inside"] is None
    assert any("never trained" in note for note in told["notes"])


# --- the command ----------------------------------------------------------------------------------


def test_pictures_become_json_a_table_and_overlays(saved, tmp_path, gazefollow_root, capsys):
    folder = gazefollow_root / "train" / "00000000"
    table = tmp_path / "heads.csv"
    names = sorted(path.name for path in folder.iterdir())
    rows = [f"{name},{person},10,8,40,{40 + person}" for name in names for person in range(2)]
    table.write_text("source,person,x0,y0,x1,y1\n" + "\n".join(rows) + "\n")
    out = tmp_path / "out"
    assert run(saved, out, folder, "--heads", table) == 0
    assert "NOTE: no depth was given" in capsys.readouterr().out
    told = read(out, "00000003")
    assert [p["person"] for p in told["frames"][0]["people"]] == ["0", "1"]
    assert any("no depth" in note for note in told["notes"])
    with (out / "people.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2 * len(names)
    before = Image.open(folder / "00000003.jpg")
    after = Image.open(out / "00000003_gaze.jpg")
    assert before.size == after.size
    assert np.abs(np.asarray(before, int) - np.asarray(after, int)).mean() > 0.5
    assert "00000003.jpg" in (out / "report.html").read_text()
    run(saved, out, folder, "--heads", table)
    assert capsys.readouterr().out.count("there already") == len(names)
    table.write_text(table.read_text().replace("10,8", "11,8"))
    run(saved, out, folder, "--heads", table)
    assert "there already" not in capsys.readouterr().out


def test_a_video_is_followed_and_drawn(saved, tmp_path):
    """Every second frame is predicted, all are drawn; a frame without a box has nobody."""
    clip = write_media(tmp_path / "clip.mkv", grey_steps(12))
    boxes = tmp_path / "heads.csv"
    rows = [f"clip.mkv,{n},{5 + n},8,{25 + n},30" for n in range(12) if n != 4]
    boxes.write_text("source,frame,x0,y0,x1,y1\n" + "\n".join(rows) + "\n")
    out = tmp_path / "out"
    assert run(saved, out, clip, "--heads", boxes, "--every", "2") == 0
    told = read(out, "clip")["frames"]
    assert [frame["frame"] for frame in told] == [0, 2, 4, 6, 8, 10]
    assert [len(frame["people"]) for frame in told] == [1, 1, 0, 1, 1, 1]
    times = [frame["time_s"] for frame in told]
    assert times == sorted(times)
    assert len(list(frames(out / "clip_gaze.mp4"))) == 12


def test_a_picture_and_a_video_of_one_stem_have_files_of_their_own(saved, tmp_path, picture):
    """As a telephone stores what it took."""
    photo = tmp_path / "IMG_1.jpg"
    photo.write_bytes(picture[0].read_bytes())
    write_media(tmp_path / "IMG_1.mkv", grey_steps(2))
    boxes, out = tmp_path / "heads.csv", tmp_path / "out"
    boxes.write_text("source,x0,y0,x1,y1\nIMG_1.jpg,10,8,40,40\nIMG_1.mkv,5,8,25,30\n")
    assert run(saved, out, tmp_path, "--heads", boxes) == 0
    assert [len(read(out, name)["frames"]) for name in ("IMG_1.jpg", "IMG_1.mkv")] == [1, 2]
    assert (out / "IMG_1.jpg_gaze.jpg").is_file()
    assert len(list(frames(out / "IMG_1.mkv_gaze.mp4"))) == 2
    with (out / "people.csv").open() as file:
        assert [row["source"] for row in csv.DictReader(file)] == ["IMG_1.jpg"] + 2 * ["IMG_1.mkv"]


def test_a_bad_picture_does_not_stop_the_others(saved, tmp_path, picture, capsys):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(picture[0].read_bytes()[:400])
    good = tmp_path / "good.jpg"
    good.write_bytes(picture[0].read_bytes())
    heads = tmp_path / "heads.json"
    box = {"x0": 10, "y0": 8, "x1": 40, "y1": 40}
    heads.write_text(json.dumps([{"source": name, **box} for name in ("bad.jpg", "good.jpg")]))
    assert run(saved, tmp_path / "out", bad, good, "--heads", heads) == 1
    assert "damaged" in capsys.readouterr().err
    assert read(tmp_path / "out", "good")["frames"][0]["people"]
    assert not (tmp_path / "out" / "bad.json").exists()


def test_depth_from_files_is_found_or_said(saved, tmp_path, picture, capsys):
    path, depth = picture
    line = [path, "--head", "10,8,40,40", "--depth-files"]
    assert run(saved, tmp_path / "out", *line, depth.parent) == 0
    assert "no depth" not in capsys.readouterr().out
    assert run(saved, tmp_path / "other", *line, tmp_path) == 1
    assert "the depth of 00000000.jpg" in capsys.readouterr().err


def test_depth_that_was_made_again_is_used(saved, tmp_path, picture, capsys):
    path, depth = picture
    folder = tmp_path / "depth"
    folder.mkdir()
    (folder / path.name).write_bytes(depth.read_bytes())
    line = [path, "--head", "10,8,40,40", "--depth-files", folder]
    run(saved, tmp_path / "out", *line)
    Image.open(depth).rotate(180).save(folder / path.name)
    capsys.readouterr()
    assert run(saved, tmp_path / "out", *line) == 0
    assert "there already" not in capsys.readouterr().out


def test_a_video_has_no_depth_in_files(saved, tmp_path, capsys):
    """Else its depth would be black, and nothing would say so."""
    clip = write_media(tmp_path / "clip.mkv", grey_steps(3))
    line = [clip, "--head", "5,8,25,30", "--depth-files", tmp_path]
    assert run(saved, tmp_path / "out", *line) == 1
    assert "Predict videos with --depth-model" in capsys.readouterr().err


def test_a_network_without_depth_says_that_it_ignores_it(tiny, tmp_path, picture, capsys):
    path, depth = picture
    network(tiny().network, reading=Reading(depth="none")).save_pretrained(tmp_path / "model")
    line = [path, "--head", "10,8,40,40"]
    assert run(tmp_path / "model", tmp_path / "a", *line, "--depth-files", depth.parent) == 0
    assert "trained without depth" in capsys.readouterr().out
    assert run(tmp_path / "model", tmp_path / "b", *line) == 0
    assert "NOTE" not in capsys.readouterr().out


def test_a_file_of_sound_alone_is_said(saved, tmp_path, capsys):
    sound = tmp_path / "sound.wav"
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(1600))
    assert run(saved, tmp_path / "out", sound, "--head", "5,8,25,30") == 1
    assert "sound.wav" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*sound*"))


def test_a_box_without_a_frame_holds_for_the_whole_video(tmp_path):
    boxes = tmp_path / "heads.json"
    box = {"x0": 1, "y0": 2, "x1": 3, "y1": 4}
    boxes.write_text(json.dumps([{"source": "a", **box}, {"source": "a", "frame": 2, **box}]))
    table = HeadTable(boxes)
    assert [len(table.of(tmp_path / "a.mp4", frame)) for frame in range(4)] == [1, 1, 2, 1]


def test_names_that_match_nothing_are_said(saved, tmp_path, picture, capsys):
    heads = tmp_path / "heads.csv"
    heads.write_text("source,x0,y0,x1,y1\nelsewhere.jpg,1,2,30,40\n")
    assert run(saved, tmp_path / "out", picture[0], "--heads", heads) == 1
    assert "head boxes of the pictures and videos that were named" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("source,x0,y0,x1\na.jpg,1,2,3\n", "y1"),
        ("source,x0,y0,x1,y1\na.jpg,1,2,x,4\n", "line 2"),
        ("source,x0,y0,x1,y1\na.jpg,1,2,nan,4\n", "line 2"),
        ("source,x0,y0,x1,y1\na.jpg,1,2,3,4\na.jpg,3,2,1,4\n", "line 3.*expected a head box"),
        ("source,x0,y0,x1,y1\na.jpg,1,2,3,2\n", "line 2.*expected a head box"),
    ],
)
def test_a_head_file_that_is_wrong_names_its_row(tmp_path, rows, message):
    path = tmp_path / "heads.csv"
    path.write_text(rows)
    with pytest.raises(DataError, match=message):
        HeadTable(path)


def test_json_that_holds_no_boxes_names_the_record(tmp_path):
    path = tmp_path / "heads.json"
    for content, message in (
        ({"a": 1}, "expected a list"),
        ([{"source": "a", "x0": 1}], "record 0"),
        ([{"source": "a", "x0": 1, "y0": 5, "x1": 3, "y1": 4}], "record 0"),
        ({"annotations": [{"category_id": 7}], "images": [], "categories": []}, "keypoints"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(DataError, match=message):
            HeadTable(path)


def test_each_head_on_the_command_line_is_a_person(saved, tmp_path, picture):
    heads = ["--head", "10,8,40,40", "--head", "60,20,90,60"]
    assert run(saved, tmp_path / "out", *heads, picture[0]) == 0
    people = read(tmp_path / "out", "00000000")["frames"][0]["people"]
    assert [person["person"] for person in people] == ["0", "1"]


def test_boxes_of_a_command_line():
    (head,) = from_texts(["1,2,3.5,4"])
    assert (head.person, head.box) == ("0", (1, 2, 3.5, 4))
    for text in ("1,2,3", "1,2,3,x"):
        with pytest.raises(UsageError, match="four numbers"):
            from_texts([text])
    with pytest.raises(DataError, match="Is the unit right"):
        in_pixels(from_texts(["100,2,300,4"]), "fractions", 10, 10, "p")


def test_a_face_is_widened_to_its_head():
    assert head_from_face((0.4, 0.4, 0.6, 0.6)) == pytest.approx((0.35, 0.31, 0.65, 0.63))
    assert head_from_face((0.0, 0.0, 0.9, 0.9)) == pytest.approx((0, 0, 1, 1))


def test_a_head_from_keypoints():
    seen = {"nose": (50, 50, 2), "left_ear": (60, 48, 2), "right_ear": (40, 52, 1)}
    x0, y0, x1, y1 = head_from_keypoints(seen)
    reach = 0.75 * math.dist((60, 48), (40, 52))
    assert (x0, y0, x1, y1) == pytest.approx((50 - reach, 50 - reach, 50 + reach, 50 + reach))
    assert head_from_keypoints({"nose": (1, 1, 2), "left_eye": (2, 2, 0)}) is None
    assert head_from_keypoints({"nose": (1, 1, 2), "left_eye": (1, 1, 2)}) is None


def test_acceptance_done_2_every_annotated_head_of_real_people_gets_an_overlay(saved, tmp_path):
    coco = shared_data("common", "coco2014_mini")
    annotations = coco / "annotations" / "person_keypoints_val2014.json"
    out = tmp_path / "out"
    assert run(saved, out, coco / "val2014", "--heads", annotations) == 0
    table = HeadTable(annotations)
    heads = {path.name: len(table.of(path)) for path in (coco / "val2014").iterdir()}
    assert sum(heads.values()) >= 4
    with (out / "people.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(heads.values())
    for name in {row["source"] for row in rows}:
        assert (out / name.replace(".jpg", "_gaze.jpg")).is_file()


# --- overlays -------------------------------------------------------------------------------------


def test_people_have_colours_and_who_looks_out_has_no_target():
    ground = np.full((100, 160, 3), 128, np.uint8)
    heatmap = np.zeros((24, 24), np.float32)
    heatmap[12, 18] = 1
    person = GazePrediction(
        person="0", box=(0.1, 0.1, 0.3, 0.4), heatmap=heatmap, point=(0.77, 0.52), inside=0.9,
        angle=10.0,
    )  # fmt: skip
    outside = GazePrediction(**{**vars_of(person), "inside": 0.1})
    seen, out = drawn(ground, [person]), drawn(ground, [outside])
    at_target = (slice(48, 56), slice(120, 127))
    assert (seen[at_target] != 128).any()
    assert (out[at_target] == 128).all()
    assert (out != 128).any()
    assert (ground == 128).all()  # the picture that was given is left alone


def test_the_report_holds_large_overlays_reduced(saved, tmp_path):
    draw = np.random.default_rng(0)
    large = tmp_path / "large.jpg"
    Image.fromarray(draw.integers(0, 256, (1200, 1600, 3), dtype=np.uint8)).save(large)
    out = tmp_path / "out"
    assert run(saved, out, large, "--head", "100,80,400,400") == 0
    assert Image.open(out / "large_gaze.jpg").size == (1600, 1200)
    assert (out / "report.html").stat().st_size < (out / "large_gaze.jpg").stat().st_size


def vars_of(person):
    return {name: getattr(person, name) for name in person.__dataclass_fields__}
