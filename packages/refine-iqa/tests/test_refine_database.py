"""The perception data base: the same bytes however it is made, whole sources kept, bad ones told."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from refine_iqa.cli import main
from refine_iqa.data.rows import read_rows
from refine_iqa.perception import database
from refine_iqa.perception.distortions import FAMILIES
from refine_iqa.perception.questions import iou
from shared_core.data.images import open_picture
from shared_core.data.tables import read_json, read_jsonl
from shared_core.testing.data import shared_data

NAMES = ("a.png", "b.jpg", "c10.png", "c9.png")


def write_picture(path, seed, size=(96, 80)):
    draw = np.random.default_rng(seed)
    small = draw.integers(0, 255, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path)


@pytest.fixture
def pristine(tmp_path):
    """Folder of four small pictures."""
    folder = tmp_path / "pristine"
    folder.mkdir()
    for seed, name in enumerate(NAMES):
        write_picture(folder / name, seed)
    return folder


def make(pristine, out="out", *more):
    words = [
        "prepare",
        "perception-db",
        "--images",
        pristine,
        "--out",
        pristine.parent / out,
        *more,
    ]
    return main([str(word) for word in words])


def tree(folder):
    """The bytes of every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "images").iterdir()}


def rows(folder):
    return [row for _, row in read_jsonl(folder / "train.jsonl")]


def test_acceptance_23_the_bytes_are_the_same_for_one_worker_and_for_four(pristine):
    assert make(pristine, "one") == 0
    assert make(pristine, "four", "--workers", 4) == 0
    one = tree(pristine.parent / "one")
    assert one == tree(pristine.parent / "four")
    assert len(one) == 4 * 4 + 4 + 2


def test_another_seed_gives_other_pictures(pristine):
    make(pristine, "one")
    make(pristine, "other", "--seed", 1)
    one, other = tree(pristine.parent / "one"), tree(pristine.parent / "other")
    assert all(one[name] != other[name] for name in one)


def test_a_source_is_distorted_alike_whatever_lies_beside_it(pristine):
    make(pristine, "all")
    for name in NAMES[1:]:
        (pristine / name).unlink()
    make(pristine, "alone")
    every, alone = tree(pristine.parent / "all"), tree(pristine.parent / "alone")
    assert {name: every[name] for name in alone if "/" in name} == {
        name: alone[name] for name in alone if "/" in name
    }


def test_more_versions_leave_the_first_ones_as_they_were(pristine):
    make(pristine, "few", "--per-image", 2)
    make(pristine, "many", "--per-image", 5)
    few, many = (
        {name: data for name, data in tree(pristine.parent / out).items() if "images" in name}
        for out in ("few", "many")
    )
    assert len(few) == 8
    assert len(many) == 20
    assert all(many[name] == data for name, data in few.items())


def test_the_table_says_what_was_done(pristine):
    make(pristine, "out", "--per-image", 8)
    out = pristine.parent / "out"
    items = {item["image"]: item for item in read_json(out / "manifest.json")["items"]}
    assert len(items) == 32
    asked = Counter()
    for row in rows(out):
        item = items[row["image"]]
        assert row["solution"] == {name: item[name] for name in ("type", "severity", "box")}
        assert row["solution"]["type"] in FAMILIES
        assert row["size"] == item["size"] == [96, 80]
        asked[row["task"]] += 1
    local = [item for item in items.values() if item["box"]]
    assert asked == {"type": 32, "severity": 32, "joint": 32, "grounding": len(local)}
    assert 16 <= len(local) <= 30


def test_only_the_box_of_a_picture_is_changed(pristine):
    make(pristine, "out", "--local-share", 1)
    out = pristine.parent / "out"
    for item in read_json(out / "manifest.json")["items"]:
        source = np.asarray(open_picture(pristine / item["source"]), int)
        changed = (
            np.abs(np.asarray(open_picture(out / item["image"]), int) - source).max(axis=2) > 0
        )
        x1, y1, x2, y2 = item["box"]
        down, across = np.nonzero(changed)
        assert x1 <= across.min() <= across.max() < x2
        assert y1 <= down.min() <= down.max() < y2
        found = (across.min(), down.min(), across.max() + 1, down.max() + 1)
        assert iou(found, item["box"]) > 0.4


def test_the_rows_are_what_training_reads(pristine):
    make(pristine)
    table = pristine.parent / "out" / "train.jsonl"
    read = read_rows(table)
    assert len(read) == len(rows(table.parent))
    for row, line in zip(read, rows(table.parent), strict=True):
        assert row.task == line["task"]
        assert row.question == line["question"]
        assert row.media[0].is_file()
        assert row.solution["severity"] == line["solution"]["severity"]


def test_tasks_choices_and_format_can_be_chosen(pristine):
    more = ("--tasks", "type", "grounding", "--no-multiple-choice", "--format", "jpg")
    assert make(pristine, "out", "--local-share", 0.5, *more) == 0
    out = pristine.parent / "out"
    assert {row["task"] for row in rows(out)} == {"type", "grounding"}
    assert all(row["image"].endswith(".jpg") for row in rows(out))
    assert not [row for row in rows(out) for name in FAMILIES if name in row["question"]]
    with Image.open(out / rows(out)[0]["image"]) as image:
        assert image.format == "JPEG"


def test_what_is_whole_is_not_made_again(pristine):
    make(pristine)
    out = pristine.parent / "out"
    before, written = tree(out), times(out)
    (out / "images" / "b_2.png").unlink()
    (out / "items" / "c9.png.json").unlink()
    (out / "train.jsonl").unlink()
    assert make(pristine) == 0
    assert tree(out) == before
    again = {name for name, time in times(out).items() if time != written[name]}
    assert again == {f"{stem}_{index}.png" for stem in ("b", "c9") for index in range(4)}


def test_other_questions_keep_the_pictures_and_other_settings_or_sources_do_not(pristine):
    make(pristine)
    out = pristine.parent / "out"
    written = times(out)
    make(pristine, "out", "--tasks", "type")
    assert times(out) == written
    assert {row["task"] for row in rows(out)} == {"type"}
    write_picture(pristine / "a.png", seed=9)
    make(pristine, "out")
    assert {name for name, time in times(out).items() if time != written[name]} == {
        f"a_{index}.png" for index in range(4)
    }
    make(pristine, "out", "--seed", 1)
    assert all(time != written[name] for name, time in times(out).items())


def test_a_damaged_record_is_made_anew(pristine):
    make(pristine)
    out = pristine.parent / "out"
    before = tree(out)
    (out / "items" / "a.png.json").write_text('{"depends_on":')
    assert make(pristine) == 0
    assert tree(out) == before


def test_a_bad_image_stops_the_command(pristine, capsys):
    (pristine / "b.jpg").write_bytes(b"\xff\xd8\xff broken")
    assert make(pristine) == 1
    assert "b.jpg" in capsys.readouterr().err
    assert not (pristine.parent / "out" / "train.jsonl").exists()


def test_bad_images_are_left_out_and_listed(pristine, capsys):
    (pristine / "b.jpg").write_bytes(b"\xff\xd8\xff broken")
    write_picture(pristine / "tiny.png", 0, size=(400, 40))
    Image.new("RGB", (80, 80), (0, 0, 0)).save(pristine / "plain.png")
    assert make(pristine, "out", "--on-bad-row", "quarantine") == 1
    out = pristine.parent / "out"
    left_out = read_json(out / "manifest.json")["left_out"]
    assert [row["path"].rpartition("/")[2] for row in left_out] == ["b.jpg", "tiny.png"]
    assert "64 pixels or more each way" in left_out[1]["message"]
    assert capsys.readouterr().out.count("left out:") == 2
    assert {row["image"].rpartition("_")[0] for row in rows(out)} == {
        "images/a", "images/c10", "images/c9", "images/plain"
    }  # fmt: skip


def test_a_plain_picture_gets_only_what_can_be_seen_on_it(pristine):
    for name in NAMES:
        Image.new("RGB", (80, 80), (0, 0, 0)).save((pristine / name).with_suffix(".png"))
    (pristine / "b.jpg").unlink()
    make(pristine, "out", "--per-image", 6)
    manifest = read_json(pristine.parent / "out" / "manifest.json")
    assert len(manifest["items"]) == 24
    # Coarse JPEG does not even keep a plain black.
    shown = {"gaussian noise", "impulse noise", "jpeg compression"}
    assert {item["type"] for item in manifest["items"]} == shown


def test_what_nothing_can_be_seen_on_is_told(pristine, monkeypatch, capsys):
    monkeypatch.setattr(database, "_VISIBLE", 1000.0)
    assert make(pristine) == 1
    assert "expected a picture with detail, found no distortion" in capsys.readouterr().err


def test_where_no_image_can_be_used_there_is_no_table(pristine, capsys):
    for name in NAMES:
        (pristine / name).write_bytes(b"broken")
    assert make(pristine, "out", "--on-bad-row", "quarantine") == 1
    assert "expected an image that can be used, found none" in capsys.readouterr().err


def test_sources_whose_names_differ_in_their_ending_have_images_of_their_own(pristine):
    write_picture(pristine / "a.webp", 0)
    assert make(pristine) == 0
    items = read_json(pristine.parent / "out" / "manifest.json")["items"]
    of_two = {item["image"] for item in items if item["source"] in ("a.png", "a.webp")}
    assert {name.rpartition("_")[0] for name in of_two} == {"images/a.png", "images/a.webp"}
    assert all((pristine.parent / "out" / item["image"]).is_file() for item in items)


def test_large_sources_are_reduced_and_transparency_becomes_white(pristine):
    for name in NAMES:
        (pristine / name).unlink()
    Image.new("RGBA", (1536, 1000), (0, 0, 0, 0)).save(pristine / "large.png")
    make(pristine, "out", "--per-image", 3, "--local-share", 1)
    out = pristine.parent / "out"
    assert {tuple(row["size"]) for row in rows(out)} == {(768, 500)}
    for item in read_json(out / "manifest.json")["items"]:
        picture = np.asarray(open_picture(out / item["image"])).copy()
        x1, y1, x2, y2 = item["box"]
        picture[y1:y2, x1:x2] = 255
        assert picture.min() == 255


def test_every_family_and_severity_appears_about_as_often(pristine):
    draw = np.random.default_rng(0)
    picture = np.asarray(open_picture(pristine / "a.png"))
    made = [database.distorted(picture, draw, local_share=0.75) for _ in range(480)]
    families = Counter(family for _, family, _, _ in made)
    severities = Counter(severity for _, _, severity, _ in made)
    assert set(families) == set(FAMILIES)
    assert min(families.values()) > 20
    assert min(severities.values()) > 70
    assert np.mean([box is not None for *_, box in made]) == pytest.approx(0.75, abs=0.07)


def test_the_manifest_names_no_place_of_this_machine(pristine):
    make(pristine)
    text = (pristine.parent / "out" / "manifest.json").read_text()
    assert str(pristine.parent) not in text
    assert json.loads(text)["version"]


def test_real_photos_make_a_data_base(tmp_path):
    photos = shared_data("common/kodak")
    words = ["prepare", "perception-db", "--images", photos, "--out", tmp_path, "--per-image", 1]
    assert main([str(word) for word in words]) == 0
    assert len({row["image"] for row in rows(tmp_path)}) == len(list(photos.glob("*.png")))
