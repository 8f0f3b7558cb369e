"""Benchmarks: the ten real label files, their directions and scales, and splits without leaks."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from refine_iqa.data.benchmarks import BENCHMARKS, read_benchmark
from shared_core.errors import DataError, UsageError
from shared_core.testing.data import shared_data

REAL = {
    "koniq": (10_073, 3.91, 88.39),
    "spaq": (11_125, 2.0, 96.0),
    "kadid": (10_125, 1.0, 4.93),
    "livec": (1_162, 3.42, 92.43),
    "agiqa": (2_982, 0.0, 4.49),
    "csiq": (866, 0.0, 1.0),
    "pipal": (24_200, 868.30, 1857.0),
    "bid": (586, 0.16, 4.92),
    "live": (779, 0.0, 114.41),
}
"""Rows, and the range that was found."""

MADE = {
    "tid2013": "5.51429 I01_01_1.bmp\n3.00000 i02_24_5.bmp\n",
    "flive": "name,mos\nblur_dataset/a.jpg,75.4\nvoc_emotic_ava/b.jpg,0.0\n",
    "lsvq": "name,height,mos,is_test\nia-batch1/one,540,71.5,True\nyfcc/two,240,30,False\n",
    "konvid": "flickr_id,mos\n2999049224,2.96\n3015161251,3.02\n",
    "livevqc": "A001.mp4, 10.0, 30.0, 80.232\nB260.mp4, 10.04, 24.0, 6.22\n",
}


def labels() -> Path:
    return shared_data("refine-iqa", "labels")


def sha256_of(reference: str) -> str:
    return hashlib.sha256(f"refine-iqa/{reference}".encode()).hexdigest()


@cache
def whole(name: str):
    """A real benchmark, all of it; read once for the tests of this file."""
    return read_benchmark(name, labels())


def made(tmp_path, name: str, content: str) -> Path:
    (tmp_path / next(iter(BENCHMARKS[name].labels))).write_text(content)
    return tmp_path


@pytest.mark.parametrize("name", REAL)
def test_the_real_label_files_are_read_whole_and_lie_in_their_scale(name):
    table = whole(name)
    scores = [item.mos for item in table.items]
    assert (len(scores), min(scores), max(scores)) == pytest.approx(REAL[name], abs=0.005)
    scale = table.benchmark.scale
    assert scale.low <= min(scores)
    assert max(scores) <= scale.high
    assert min(scores) - scale.low < 0.25 * (scale.high - scale.low)
    assert len({item.name for item in table.items}) == len(scores)


@pytest.mark.parametrize("name", ["pipal21_val.txt", "pipal22_train.txt"])
def test_either_file_of_pipal_is_read_alone_and_split_by_reference(name):
    table = read_benchmark("pipal", labels(), labels=labels() / name)
    assert len(table.items) == {"pipal21_val.txt": 1000, "pipal22_train.txt": 23_200}[name]
    assert {item.split for item in table.items} == {"train", "val", "test"}


@pytest.mark.parametrize("name", ["kadid", "csiq"])
def test_higher_is_better_where_the_name_tells_the_severity(name):
    table = whole(name)
    assert table.benchmark.higher_is_better
    means = [np.mean([i.mos for i in table.items if i.level == level]) for level in range(1, 6)]
    assert np.all(np.diff(means) < 0), means
    ladders = defaultdict(list)
    for item in table.items:
        ladders[item.group, item.distortion].append((item.level, item.mos))
    trends = [stats.spearmanr(*zip(*ladder, strict=True)).statistic for ladder in ladders.values()]
    assert np.nanmedian(trends) < -0.85
    assert np.nanmean(trends) < -0.5


def test_csiq_falls_from_nearly_pristine_to_bad_as_published():
    table = whole("csiq")
    at = {level: [i.mos for i in table.items if i.level == level] for level in (1, 5)}
    assert (np.mean(at[1]), np.mean(at[5])) == pytest.approx((0.95, 0.29), abs=0.01)


def test_live_was_turned_and_its_best_images_score_highest():
    """111.77 - DMOS: versions nobody can tell from the reference (DMOS about 0) lie at the top."""
    table = whole("live")
    assert table.benchmark.higher_is_better
    assert max(item.mos for item in table.items) == pytest.approx(111.77 + 2.64, abs=0.01)
    of_kind = {
        kind: [i.mos for i in table.items if i.distortion == kind] for kind in ("wn", "jp2k")
    }
    assert {kind: len(scores) for kind, scores in of_kind.items()} == {"wn": 145, "jp2k": 169}


@pytest.mark.parametrize("name", ["koniq", "spaq", "livec", "agiqa", "bid", "pipal"])
def test_higher_is_better_everywhere_else(name):
    assert BENCHMARKS[name].higher_is_better


def test_names_tell_reference_distortion_and_level():
    kadid = whole("kadid").items[1]
    assert (kadid.group, kadid.distortion, kadid.level) == ("I01", "01", 2)
    csiq = whole("csiq").items[0]
    assert (csiq.group, csiq.distortion, csiq.level) == ("shroom", "AWGN", 1)
    pipal = whole("pipal").items[0]
    assert (pipal.group, pipal.distortion, pipal.level) == ("A0001", "00", None)
    live = whole("live").items[0]
    assert (live.group, live.distortion) == (None, "jp2k")
    assert BENCHMARKS["koniq"].group_of("1_2_3.jpg") is None
    groups = {name: {i.group for i in whole(name).items} for name in REAL}
    assert {name: len(found) for name, found in groups.items() if found != {None}} == {
        "kadid": 81,
        "csiq": 30,
        "pipal": 225,
    }


def test_koniq_has_its_published_split():
    counts = {
        part: len(read_benchmark("koniq", labels(), split=part).items)
        for part in ("train", "val", "test", "all")
    }
    assert counts == {"train": 7058, "val": 1000, "test": 2015, "all": 10_073}


def test_pipal_is_tested_on_the_validation_file_and_shares_no_reference():
    parts = {part: read_benchmark("pipal", labels(), split=part) for part in ("train", "test")}
    assert [len(table.items) for table in parts.values()] == [23_200, 1000]
    train, test = ({item.group for item in table.items} for table in parts.values())
    assert not train & test
    with pytest.raises(DataError, match="split val, found only test, train"):
        read_benchmark("pipal", labels(), split="val")


@pytest.mark.parametrize("name", ["kadid", "csiq"])
def test_all_versions_of_a_reference_are_in_one_part(name):
    items = whole(name).items
    parts = {
        group: {i.split for i in items if i.group == group} for group in {i.group for i in items}
    }
    assert all(len(found) == 1 for found in parts.values())
    share = sum(found == {"test"} for found in parts.values()) / len(parts)
    assert share == pytest.approx(0.2, abs=0.01)


def test_a_split_depends_on_names_alone(tmp_path):
    lines = (labels() / "kadid10k_label.txt").read_text().splitlines()
    (tmp_path / "turned.txt").write_text("\n".join(reversed(lines)) + "\n")
    turned = read_benchmark("kadid", tmp_path, labels=tmp_path / "turned.txt")
    table = whole("kadid")
    assert {i.name: i.split for i in turned.items} == {i.name: i.split for i in table.items}
    order = sorted((f"I{i:02}" for i in range(1, 82)), key=sha256_of)  # 81 references: 16, 8, 57
    for part, groups in (("test", order[:16]), ("val", order[16:24]), ("train", order[24:])):
        assert {i.group for i in table.items if i.split == part} == set(groups)


@pytest.mark.parametrize("name", MADE)
def test_files_in_the_published_form_are_read(tmp_path, name):
    table = read_benchmark(name, made(tmp_path, name, MADE[name]))
    scores = {"tid2013": (5.51429, 3.0), "flive": (75.4, 0.0), "lsvq": (71.5, 30.0)} | {
        "konvid": (2.96, 3.02),
        "livevqc": (80.232, 6.22),
    }
    assert tuple(item.mos for item in table.items) == scores[name]
    assert table.benchmark.video == (name in ("lsvq", "konvid", "livevqc"))
    if table.benchmark.video:
        assert all(item.name.endswith(".mp4") for item in table.items)


def test_lsvq_has_its_published_split(tmp_path):
    root = made(tmp_path, "lsvq", MADE["lsvq"])
    assert [i.split for i in read_benchmark("lsvq", root).items] == ["test", "train"]


def test_media_are_looked_for_in_the_folders_of_the_data_set(tmp_path):
    root = made(tmp_path, "koniq", "image_name,MOS,set\na.jpg,50,test\n")
    assert read_benchmark("koniq", root).items[0].path == root / "a.jpg"
    (root / "512x384").mkdir()
    (root / "512x384" / "a.jpg").write_bytes(b"")
    assert read_benchmark("koniq", root).items[0].path == root / "512x384" / "a.jpg"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("kadid", "I01_01_01.png, 5.5\n", "line 1: expected a score from 1 to 5, found 5.5"),
        (
            "kadid",
            "I01_01_01.png, 3\nI01_01_02.png, good\n",
            "line 2: expected a score, found 'good'",
        ),
        ("kadid", "I01_01_01.png, nan\n", "line 1: expected a score"),
        ("kadid", "I01_01_01.png\n", "line 1: expected 2 fields, found 1"),
        ("kadid", "", "expected rows of kadid"),
        ("koniq", "image_name,MOS,set\na.jpg,50,extra\n", "line 2, .*set: expected"),
        ("koniq", "image_name,set\na.jpg,test\n", "a column 'MOS'"),
    ],
)
def test_a_bad_label_names_its_line(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        read_benchmark(name, made(tmp_path, name, content))


def test_what_is_not_there_says_what_would_be(tmp_path):
    with pytest.raises(UsageError, match="no benchmark 'konik'; known: koniq, spaq"):
        read_benchmark("konik", tmp_path)
    with pytest.raises(DataError, match=r"csiq_all\.txt") as caught:
        read_benchmark("csiq", tmp_path)
    assert "--labels" in str(caught.value)
