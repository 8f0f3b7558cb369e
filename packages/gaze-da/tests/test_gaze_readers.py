"""The three data sets in their published layouts, with real rows, and what is wrong in them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaze_da.config import CheckConfig, GooConfig, Reading
from gaze_da.data import check, goo
from gaze_da.data.gazefollow import depth_name
from gaze_da.data.pickles import read_pickled_dicts
from gaze_da.data.samples import Sample, read_annotations
from gaze_da.data.splits import split_validation
from gaze_da.data.videoattentiontarget import kept_rows, moving_average
from shared_core.data.quarantine import Quarantine
from shared_core.errors import DataError, UsageError
from shared_core.testing.data import shared_data

ROW = "train/00000000/00000001.jpg,1,.1,.1,.5,.8,.4,.2,{gaze},{box},{inout},origin,meta"


def gazefollow_with(root: Path, *rows: str) -> Path:
    (root / "train_annotations_release.txt").write_text("\n".join(rows) + "\n")
    return root


def row(gaze=".5,.5", box="10,10,30,40", inout="1") -> str:
    return ROW.format(gaze=gaze, box=box, inout=inout)


# --- GazeFollow -----------------------------------------------------------------------------------


def test_real_rows_of_gazefollow_are_read():
    root = shared_data("gaze-da", "gazefollow_extended_rows")
    first, second = read_annotations("gazefollow", root, "train").samples
    assert first.head == (279.6, 64.2, 331.4, 139.8)
    assert first.gazes == ((0.51091, 0.31133),)
    assert (first.group, first.inside) == ("train/00000080/00080697.jpg", True)
    assert second.head == (173, 29, 250, 109)
    (person,) = read_annotations("gazefollow", root, "test").samples
    assert person.gazes == ((0.284, 0.86), (0.294, 0.793333))
    assert person.eyes == ((0.258, 0.606667),) * 2
    assert person.depth.endswith("depth2/00000000/00000001.jpg")


def test_acceptance_10_invalid_rows_are_dropped_and_test_rows_grouped(tmp_path):
    found = read_annotations(
        "gazefollow", gazefollow_with(tmp_path, row(), row(inout="-1"), row(inout="0")), "train"
    )
    assert [sample.inside for sample in found.samples] == [True, False]
    assert sum(found.dropped.values()) == 1
    cells = "{p},{n},.1,.1,.5,.8,{eye},.2,{gaze},.5,10,10,30,40,o,m"
    rows = [
        cells.format(p="test2/b.jpg", n=1, eye=".7", gaze=".1"),
        cells.format(p="test2/a.jpg", n=2, eye=".9", gaze=".2"),
        cells.format(p="test2/a.jpg", n=5, eye=".3", gaze=".3"),
        cells.format(p="test2/a.jpg", n=4, eye=".9", gaze=".4"),
        cells.format(p="test2/a.jpg", n=5, eye=".9", gaze=".5"),
    ]
    (tmp_path / "test_annotations_release.txt").write_text("\n".join(rows))
    people = read_annotations("gazefollow", tmp_path, "test").samples
    assert [(p.group, p.eyes[0][0]) for p in people] == [
        ("test2/a.jpg", 0.3),
        ("test2/a.jpg", 0.9),
        ("test2/b.jpg", 0.7),
    ]
    assert len({p.name for p in people}) == 3
    assert [x for x, _ in people[1].gazes] == [0.2, 0.4, 0.5]  # in the order of the rows


def test_a_byte_order_mark_and_fifteen_columns_are_read(tmp_path):
    short = ",".join(row().split(",")[:15])
    (tmp_path / "train_annotations_release.txt").write_bytes(b"\xef\xbb\xbf" + short.encode())
    (sample,) = read_annotations("gazefollow", tmp_path, "train").samples
    assert sample.group == "train/00000000/00000001.jpg"


def test_depth_lies_in_another_first_folder_only():
    assert depth_name("train/train_station/1.jpg") == "depth/train_station/1.jpg"
    assert depth_name("test2/a/test2.jpg") == "depth2/a/test2.jpg"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (",".join(row().split(",")[:14]), "line 2: expected 15 fields or more, found 14"),
        (row(gaze="nan,.5"), "line 2: expected a finite number for gaze x"),
        (row(gaze="-.2,.5"), "line 2: expected a gaze inside the picture"),
        (row(box="a,10,30,40"), "line 2: expected a finite number for head x0, found 'a'"),
        (row(inout="7"), "line 2: expected 1 .inside., 0"),
        (row().replace("train/", "pictures/"), "line 2: expected a picture in train/ or test2/"),
    ],
    ids=["columns", "nan", "negative", "text", "inout", "folder"],
)
def test_a_bad_row_is_named_and_can_be_left_out(tmp_path, bad, message):
    root = gazefollow_with(tmp_path, row(), bad, *[row()] * 20)
    with pytest.raises(DataError, match=message):
        read_annotations("gazefollow", root, "train")
    quarantine = Quarantine("quarantine")
    found = read_annotations("gazefollow", root, "train", quarantine=quarantine)
    assert len(found.samples) == 21
    assert [bad.where for bad in quarantine.rows] == ["line 2"]


def test_a_row_of_the_test_set_that_is_not_a_number_leaves_the_others_together(tmp_path):
    cells = "test2/a.jpg,{n},.1,.1,.5,.8,{eye},.2,.5,.5,10,10,30,40,o,m"
    eyes = [".9", "nan", ".2", "nan", ".9", ".2"] + [f".3{n:02d}" for n in range(30)]
    rows = [cells.format(n=n, eye=eye) for n, eye in enumerate(eyes)]
    (tmp_path / "test_annotations_release.txt").write_text("\n".join(rows))
    quarantine = Quarantine("quarantine")
    people = read_annotations("gazefollow", tmp_path, "test", quarantine=quarantine).samples
    assert [person.eyes[0][0] for person in people] == sorted(
        {float(e) for e in eyes if e != "nan"}
    )
    assert [len(person.gazes) for person in people] == [2, *[1] * 30, 2]
    assert [bad.where for bad in quarantine.rows] == ["line 2"]


def test_acceptance_09_boxes_of_gazefollow_and_goo(goo_root, tmp_path):
    (sample,) = read_annotations(
        "gazefollow", gazefollow_with(tmp_path, row(box="80,20,150,90")), "train"
    ).samples
    placed = sample.placed(640, 480, Reading())
    assert placed.head == pytest.approx((73, 13, 157.7, 97.7))
    lines = tmp_path / "oneshotrealhumansNew.jsonl"
    lines.write_text(
        json.dumps({"filename": "1/a.jpg", "hx": 100, "hy": 150, "gaze_cx": 3, "gaze_cy": 4})
    )
    (tmp_path / "pictures").mkdir()
    (sample,) = read_annotations("goo", tmp_path / "pictures", "train").samples
    placed = sample.placed(320, 240, Reading())
    assert placed.head == pytest.approx((-7.6, 31.8, 108.56, 118.92))


@pytest.mark.parametrize(
    ("box", "usable"),
    [
        ("30,40,10,10", True),  # inverted: its sides are exchanged
        ("-20,-20,10,10", True),
        ("10,10,10,40", False),
        ("700,10,720,40", False),
        ("-30,-30,-5,-5", False),
    ],
)
def test_head_boxes_outside_inverted_or_empty(tmp_path, box, usable):
    (sample,) = read_annotations(
        "gazefollow", gazefollow_with(tmp_path, row(box=box)), "train"
    ).samples
    if usable:
        x0, y0, x1, y1 = sample.placed(640, 480, Reading()).head
        assert x0 < x1
        assert y0 < y1
    else:
        with pytest.raises(DataError, match=r"00000001\.jpg:1: expected a head box"):
            sample.placed(640, 480, Reading())


@given(
    start=st.tuples(st.floats(0, 90), st.floats(0, 90)),
    size=st.tuples(st.floats(1, 80), st.floats(1, 80)),
    turned=st.tuples(st.booleans(), st.booleans()),
    symmetric=st.booleans(),
)
def test_a_box_is_the_same_whichever_corners_name_it(start, size, turned, symmetric):
    """Inverted sides are exchanged before the box is widened, on both axes and by either rule."""
    sides = [(low, low + extent) for low, extent in zip(start, size, strict=True)]
    named = [side[::-1] if turn else side for side, turn in zip(sides, turned, strict=True)]
    sample = Sample(
        name="1",
        image="a.jpg",
        depth="a.png",
        group="a",
        dataset="gazefollow",
        head=(named[0][0], named[1][0], named[0][1], named[1][1]),
        head_unit="pixels",
        gazes=(),
        gaze_unit="fractions",
        eyes=None,
        inside=False,
    )
    found = sample.placed(100, 100, Reading(symmetric_expansion=symmetric)).head
    far = 0.1 if symmetric else 0.1 * 1.1
    assert found[:2] == pytest.approx([s - 0.1 * w for s, w in zip(start, size, strict=True)])
    assert found[2:] == pytest.approx([s + (1 + far) * w for s, w in zip(start, size, strict=True)])


# --- VideoAttentionTarget -------------------------------------------------------------------------


def test_acceptance_08_the_rows_that_the_authors_keep():
    assert kept_rows(10, 0.2) == [8, 1]
    assert kept_rows(2, 0.2) == []
    for count in range(1, 401):
        order = np.random.RandomState(42).permutation(count)
        assert kept_rows(count, 0.2) == order[: round(0.2 * count)].tolist()
    assert kept_rows(4, 1.0) == [0, 1, 2, 3]


def test_acceptance_done_3_all_real_rows_are_parsed(tmp_path, real_tracks):
    real_tracks(tmp_path)
    people = read_annotations("videoattentiontarget", tmp_path, "test").samples
    assert len(people) == 31_978
    assert len({person.group for person in people}) == 10
    assert sum(not person.inside for person in people) == 11_323
    assert len({person.name for person in people}) == 31_978
    assert all(min(x, y) >= 0 for person in people for x, y in person.gazes)


def test_boxes_are_averaged_over_eleven_frames():
    boxes = np.random.default_rng(0).uniform(0, 100, (30, 4))
    padded = np.concatenate([boxes[:1]] * 5 + [boxes] + [boxes[-1:]] * 5)
    slow = [padded[t : t + 11].mean(axis=0) for t in range(30)]
    np.testing.assert_allclose(moving_average(boxes), slow)


def test_outside_and_border_targets_of_videoattentiontarget(tmp_path):
    track = tmp_path / "annotations" / "test" / "Show" / "1_2" / "s00.txt"
    track.parent.mkdir(parents=True)
    track.write_text("1.jpg,1,2,30,40,-1,-1\n2.jpg,1,2,30,40,-1,7\n3.jpg,1,2,30,40,900,7\n")
    people = read_annotations("videoattentiontarget", tmp_path, "test", vat_smoothing=False).samples
    assert [person.gazes for person in people] == [(), ((0, 7),), ((900, 7),)]
    placed = people[1].placed(100, 50, Reading())
    assert placed.head == (1, 2, 30, 40)  # never widened
    assert placed.gazes == ((0, 0.14),)
    assert placed.eye_points() == ((0.155, 0.42),)


def test_a_folder_without_tracks_is_said(tmp_path):
    with pytest.raises(DataError, match=r"annotations/train: expected tracks"):
        read_annotations("videoattentiontarget", tmp_path, "train")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("2.jpg,1,2,30,40,5", "s00.txt, line 2: expected 7 fields, found 6"),
        ("2.jpg,1,2,30,40,nan,5", "s00.txt, line 2: expected a finite number for gaze x"),
        ("2.jpg,1,two,30,40,5,5", "s00.txt, line 2: expected a finite number for head y0"),
    ],
    ids=["columns", "nan", "text"],
)
def test_bad_rows_of_many_tracks_are_a_share_of_the_whole_set(tmp_path, bad, message):
    """Four bad rows of forty are within the limit, whatever share of a short track each is."""
    for person in range(4):
        track = tmp_path / "annotations" / "train" / "Show" / "1_2" / f"s{person:02d}.txt"
        track.parent.mkdir(parents=True, exist_ok=True)
        good = [f"{frame}.jpg,1,2,30,40,5,5" for frame in (1, *range(3, 11))]
        track.write_text("\n".join([good[0], bad, *good[1:]]))
    with pytest.raises(DataError, match=message):
        read_annotations("videoattentiontarget", tmp_path, "train")
    quarantine = Quarantine("quarantine", limit_share=0.1)
    found = read_annotations("videoattentiontarget", tmp_path, "train", quarantine=quarantine)
    assert (len(found.samples), len(quarantine.rows)) == (36, 4)


# --- GOO-Real -------------------------------------------------------------------------------------


def test_acceptance_29_the_corrupt_picture_is_left_out_and_back_slashes_open(tmp_path):
    rows = [
        {
            "filename": "15\\cam1\\cam00001_img00530.jpg",
            "hx": 1,
            "hy": 1,
            "gaze_cx": 1,
            "gaze_cy": 1,
        },
        {"filename": "3\\cam2\\x.jpg", "hx": 320, "hy": 240, "gaze_cx": 64, "gaze_cy": 48},
    ]
    (tmp_path / "pictures").mkdir()
    (tmp_path / "testrealhumansNew.pickle").write_bytes(pickle.dumps(rows))
    found = read_annotations("goo", Path(f"{tmp_path}/pictures/"), "test")
    (person,) = found.samples
    assert sum(found.dropped.values()) == 1
    assert person.image == str(tmp_path / "pictures" / "3/cam2/x.jpg")
    assert person.depth == str(tmp_path / "pictures_depth" / "3/cam2/x.jpg")
    assert person.gazes == ((0.1, 0.1),)


def test_a_relative_root_is_the_same(tmp_path, monkeypatch, goo_root):
    monkeypatch.chdir(goo_root.parent)
    relative = read_annotations("goo", Path(goo_root.name), "train").samples
    assert relative == read_annotations("goo", goo_root, "train").samples


def test_a_linked_picture_folder_keeps_its_neighbours(tmp_path, goo_root):
    """Annotations and depth lie beside the link, wherever the pictures are."""
    (tmp_path / "real").symlink_to(goo_root)
    rows = [{"filename": "1/a.jpg", "hx": 100, "hy": 150, "gaze_cx": 3, "gaze_cy": 4}]
    (tmp_path / "testrealhumansNew.pickle").write_bytes(pickle.dumps(rows))
    (person,) = read_annotations("goo", tmp_path / "other" / ".." / "real", "test").samples
    assert person.image == str(tmp_path / "real" / "1/a.jpg")
    assert person.depth == str(tmp_path / "real_depth" / "1/a.jpg")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gaze_cx": float("nan")}, "row 1: expected a finite number for gaze_cx"),
        ({"gaze_cy": -4}, "row 1: expected a gaze inside the 640x480 frame"),
        ({"hx": None}, "row 1: expected a finite number for hx"),
        ({"filename": 3}, "row 1: expected a row with a filename"),
        (
            {"ann": {"bboxes": [[1, 2, 3, 4]], "labels": [1, 2]}, "gazeIdx": 0},
            "a label for each box",
        ),
        ({"ann": {"bboxes": [[1, 2, 3, 4]], "labels": [1]}, "gazeIdx": -1}, "which is looked at"),
    ],
    ids=["nan", "negative", "none", "filename", "labels", "nothing gazed at"],
)
def test_a_bad_row_of_goo_is_named(tmp_path, change, message):
    rows = [{"filename": "1/a.jpg", "hx": 9, "hy": 9, "gaze_cx": 3, "gaze_cy": 4} | change]
    (tmp_path / "testrealhumansNew.pickle").write_bytes(pickle.dumps(rows))
    with pytest.raises(DataError, match=message):
        read_annotations("goo", tmp_path / "pictures", "test")


def test_pickled_annotations_become_json_lines(goo_root, tmp_path):
    folder = tmp_path / "finalrealdatasetImgsV3"
    folder.mkdir()
    source = goo_root.parent / "oneshotrealhumansNew.pickle"
    goo.command(GooConfig(annotations=source, out=tmp_path / "oneshotrealhumansNew.jsonl"))
    ours = read_annotations("goo", folder, "train").samples
    theirs = read_annotations("goo", goo_root, "train").samples
    assert [s.objects for s in ours] == [s.objects for s in theirs]
    assert ours[0].objects.gazed in (3, 5, 7, 9)
    assert [s.gazes for s in ours] == [s.gazes for s in theirs]


class Hostile:
    def __reduce__(self):
        return (print, ("this was run",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps([{"a": Hostile()}]), "asks for builtins.print"),
        (pickle.dumps({"filename": "x"}), "expected a pickled list of dicts, found dict"),
        (pickle.dumps([1, 2]), "expected a pickled list of dicts"),
        (pickle.dumps([{"a": 1}])[:-3], "damaged"),
        (b"cos\nsystem\n(S'echo'\ntR.", "asks for os.system"),
        (b"", "damaged"),
    ],
    ids=["runs", "no list", "no dicts", "cut", "protocol 0", "empty"],
)
def test_a_pickle_that_is_no_list_of_dicts_is_refused_and_not_run(
    tmp_path, capsys, content, message
):
    path = tmp_path / "annotations.pickle"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_pickled_dicts(path)
    assert "this was run" not in capsys.readouterr().out


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_all_protocols_are_read(tmp_path, protocol):
    rows = [{"a": np.arange(6.0).reshape(2, 3), "b": np.float32(1.5), "c": ["x", (1, None)]}]
    path = tmp_path / "annotations.pickle"
    path.write_bytes(pickle.dumps(rows, protocol=protocol))
    (found,) = read_pickled_dicts(path)
    np.testing.assert_array_equal(found["a"], rows[0]["a"])
    assert (found["b"], found["c"]) == (1.5, ["x", (1, None)])


def test_pickles_of_older_numpy_and_python_are_read(tmp_path):
    """Protocol 2 names the modules of numpy 1; Python 2 wrote its text as bytes."""
    path = tmp_path / "annotations.pickle"
    older = pickle.dumps([{"a": np.arange(3.0), "b": np.float64(1.5)}], protocol=2)
    path.write_bytes(older.replace(b"numpy._core.", b"numpy.core."))
    assert b"numpy.core." in path.read_bytes()
    (found,) = read_pickled_dicts(path)
    assert (found["a"].tolist(), found["b"]) == ([0, 1, 2], 1.5)
    path.write_bytes(b"(lp0\n(dp1\nS'filename'\np2\nS'1/caf\\xe9.jpg'\np3\nsa.")
    assert read_pickled_dicts(path) == [{"filename": "1/caf\xe9.jpg"}]


def test_what_json_cannot_say_is_refused(tmp_path):
    path = tmp_path / "annotations.pickle"
    path.write_bytes(pickle.dumps([{"a": {1, 2}}]))
    out = tmp_path / "out.jsonl"
    with pytest.raises(DataError, match="set has no JSON form"):
        goo.command(GooConfig(annotations=path, out=out))
    assert not out.exists()


# --- splits and checks ----------------------------------------------------------------------------


def test_validation_is_split_off_by_picture(gazefollow_root):
    people = read_annotations("gazefollow", gazefollow_root, "train").samples
    train, val = split_validation(people, 0.3, seed=1)
    assert {s.group for s in train}.isdisjoint({s.group for s in val})
    assert sorted(s.name for s in (*train, *val)) == sorted(s.name for s in people)
    assert 0.3 * len(people) <= len(val) < 0.6 * len(people)
    assert split_validation(people, 0.3, seed=1) == (train, val)
    assert split_validation(people, 0.3, seed=2) != (train, val)
    with pytest.raises(UsageError, match="1 picture or show"):
        split_validation([s for s in people if s.group == people[0].group], 0.3, seed=1)


def test_validation_is_split_off_by_show(vat_root):
    people = read_annotations("videoattentiontarget", vat_root, "train").samples
    train, val = split_validation(people, 0.05, seed=0)
    assert {s.group for s in train} | {s.group for s in val} == {"Alpha", "Beta"}
    assert len({s.group for s in val}) == 1


@pytest.mark.parametrize("dataset", ["gazefollow", "videoattentiontarget", "goo"])
def test_a_whole_data_set_passes_the_check(dataset, gazefollow_root, vat_root, goo_root, capsys):
    roots = {"gazefollow": gazefollow_root, "videoattentiontarget": vat_root, "goo": goo_root}
    assert check.command(CheckConfig(data=roots[dataset], dataset=dataset)) == 0
    assert "looking inside" in capsys.readouterr().out


def test_the_check_lists_everything_in_one_pass(tmp_path, gazefollow_root, capsys):
    import shutil

    from PIL import Image

    root = tmp_path / "broken"
    shutil.copytree(gazefollow_root, root)
    pictures = sorted((root / "train" / "00000000").iterdir())
    pictures[0].unlink()
    pictures[1].write_bytes(pictures[1].read_bytes()[:200])
    depth = sorted((root / "depth" / "00000000").iterdir())
    depth[2].unlink()
    Image.new("L", (50, 40), 7).save(depth[3])
    with (root / "train_annotations_release.txt").open("a") as file:
        file.write("train/short.jpg,1,2\n")
    out = tmp_path / "check.json"
    config = CheckConfig(data=root, splits=("train",), out=out)
    assert check.command(config) == 1
    problems = "\n".join(json.loads(out.read_text())["train"]["problems"])
    for found in (
        f"{pictures[0]}: there is no such file",
        f"{pictures[1]}: it is damaged",
        f"{depth[2]}: expected the picture's depth",
        f"{depth[3]}: expected a depth map with near and far",
        "expected 15 fields or more, found 3",
    ):
        assert found in problems
    assert len(problems.splitlines()) >= 5


def test_the_check_lists_every_bad_row_where_none_is_good(tmp_path, capsys):
    root = gazefollow_with(tmp_path, "train/a.jpg,1,2", "train/b.jpg,1,2")
    assert check.command(CheckConfig(data=root)) == 1
    page = capsys.readouterr().out
    assert "line 1: expected 15 fields or more, found 3" in page
    assert "line 2: expected 15 fields or more, found 3" in page
    assert "test_annotations_release.txt: cannot be read" in page
