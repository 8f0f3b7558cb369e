"""Feature files: slices equal h5py's, damage is named, a large set takes no memory of its own."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from shared_core.data.features import (
    FeatureFile,
    Group,
    check_finite,
    read_groups,
    write_features,
    write_groups,
)
from shared_core.errors import DataError


@pytest.fixture
def videos() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {f"v{n}": draw.standard_normal((n, 5)).astype(np.float32) for n in (90, 155, 33, 7)}


@pytest.fixture
def path(tmp_path, videos) -> Path:
    # Single bytes before and between the features put some of them at odd places.
    pad = {key: np.zeros(len(array), np.int8) for key, array in videos.items()}
    write_features(tmp_path / "train_fau.h5", videos, extra={"pad": pad})
    return tmp_path / "train_fau.h5"


def same_as_h5py(features: FeatureFile) -> None:
    with h5py.File(features.path, "r") as file:
        assert features.keys == tuple(file) == tuple(sorted(file))
        for key in features.keys:
            whole = file[key][features.dataset][()]
            length = features.length(key)
            for start, stop in ((0, None), (0, 0), (2, 7), (length - 1, length), (length, length)):
                rows = features.read(key, start, stop)
                assert rows.dtype == whole.dtype.newbyteorder("=")
                assert rows.dtype.isnative
                assert rows.flags.aligned
                np.testing.assert_array_equal(rows, whole[start:stop])


def test_slices_equal_h5py_and_are_views_of_the_file(path, videos):
    features = FeatureFile(path)
    assert features.keys == ("v155", "v33", "v7", "v90")
    assert (features.width, features.length("v33")) == (5, 33)
    assert "v7" in features
    assert "v8" not in features
    same_as_h5py(features)
    np.testing.assert_array_equal(features.read("v90"), videos["v90"])


def test_a_slice_in_one_piece_is_mapped_and_cannot_be_written(tmp_path, videos):
    write_features(tmp_path / "f.h5", videos)
    features = FeatureFile(tmp_path / "f.h5")
    rows = features.read("v90", 3, 9)
    assert np.shares_memory(rows, features._handles.pages)
    assert not rows.flags.writeable


@pytest.mark.parametrize(
    "settings",
    [
        {"chunks": (4, 5)},
        {"compression": "gzip"},
        {"chunks": (7, 2), "shuffle": True, "fletcher32": True},
        {"dtype": ">f4"},
        {"dtype": "f2"},
        {"dtype": "f8"},
        {"external": "raw"},
    ],
    ids=str,
)
@pytest.mark.parametrize("userblock", [0, 512])
def test_any_layout_reads_the_same(tmp_path, videos, settings, userblock):
    with h5py.File(tmp_path / "f.h5", "w", userblock_size=userblock) as file:
        for key, array in videos.items():
            own = dict(settings)
            if "external" in own:
                own["external"] = [(str(tmp_path / f"{key}.bin"), 0, array.nbytes)]
            file.create_dataset(f"{key}/fts", data=array, **own)
    same_as_h5py(FeatureFile(tmp_path / "f.h5"))


def test_a_file_may_link_to_the_features_of_another(tmp_path, path, videos):
    with h5py.File(tmp_path / "fold.h5", "w") as file:
        file["v33"] = h5py.ExternalLink(str(path), "v33")
        file["v90"] = h5py.ExternalLink(str(path), "v90")
    same_as_h5py(FeatureFile(tmp_path / "fold.h5"))


def test_an_array_that_was_never_filled_is_zeros(tmp_path):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_dataset("v/fts", (9, 3), "f4")
        file.create_dataset("w/fts", (0, 3), "f4")
    features = FeatureFile(tmp_path / "f.h5")
    np.testing.assert_array_equal(features.read("v", 2, 5), np.zeros((3, 3)))
    assert features.read("w").shape == (0, 3)


def read_in_child(features: FeatureFile, answers) -> None:
    answers.put({key: features.read(key, 1, 4) for key in features.keys})


@pytest.mark.parametrize("chunks", [None, (4, 5)])
def test_it_works_after_pickling_and_after_a_fork(tmp_path, videos, chunks):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        for key, array in videos.items():
            file.create_dataset(f"{key}/fts", data=array, chunks=chunks)
    features = FeatureFile(tmp_path / "f.h5")
    features.read("v90")  # open here before the copy is made
    same_as_h5py(pickle.loads(pickle.dumps(features)))
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=read_in_child, args=(features, answers))
    child.start()
    for key, rows in answers.get(timeout=60).items():
        np.testing.assert_array_equal(rows, videos[key][1:4])
    child.join()
    same_as_h5py(features)


def test_threads_may_read_the_same_file(path, videos):
    features = FeatureFile(path)

    def read(_: int) -> bool:
        return np.array_equal(features.read("v90", 5, 50), videos["v90"][5:50])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(200)))


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_named(tmp_path, path, keep):
    data = path.read_bytes()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataError, match=r"cut\.h5: it is damaged, truncated or no HDF5 file"):
        FeatureFile(cut)


def test_text_and_a_missing_file_are_named(tmp_path, path):
    (tmp_path / "text.h5").write_text("valence,arousal\n0,0\n")
    with pytest.raises(DataError, match="no HDF5 file"):
        FeatureFile(tmp_path / "text.h5")
    with pytest.raises(DataError, match=r"no such file; the nearest name is 'train_fau\.h5'"):
        FeatureFile(tmp_path / "train_fua.h5")
    with pytest.raises(DataError, match="no such file"):
        FeatureFile(tmp_path / "nowhere" / "train_fau.h5")


def test_a_damaged_chunk_is_named_when_it_is_read(tmp_path):
    file_path = tmp_path / "f.h5"
    with h5py.File(file_path, "w") as file:
        array = file.create_dataset("v/fts", data=np.ones((8, 3)), chunks=(4, 3), fletcher32=True)
        place = array.id.get_chunk_info(1).byte_offset
    with file_path.open("r+b") as file:
        file.seek(place)
        file.write(b"\1\2\3")
    features = FeatureFile(file_path)
    assert features.read("v", 0, 4).sum() == 12
    with pytest.raises(DataError, match=r"f\.h5, video v: it is damaged"):
        features.read("v", 4, 8)


def test_a_file_that_changes_under_a_run_is_named(path, videos):
    features = FeatureFile(path)
    write_features(path, {"v90": videos["v90"]})
    with pytest.raises(DataError, match="it changed while it was in use"):
        features.read("v90")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "expected at least one video, found none"),
        ({"a": {"other": np.zeros((2, 3))}}, "video a: expected an array 'fts'"),
        ({"a": {"fts": np.zeros(3)}}, "video a: expected an array 'fts' .* of another shape"),
        ({"a": {"fts": np.zeros((3, 0))}}, "video a: expected an array 'fts' .* of another shape"),
        ({"a": {"fts": np.zeros((3, 2), np.int32)}}, "video a: .* of float numbers, found int32"),
        (
            {"a": {"fts": np.zeros((3, 2))}, "b": {"fts": np.zeros((3, 4))}},
            "video b: expected 2 columns, as in video a, found 4",
        ),
    ],
    ids=str,
)
def test_a_wrong_layout_is_named(tmp_path, content, message):
    write_groups(tmp_path / "f.h5", ((key, Group(arrays)) for key, arrays in content.items()))
    with pytest.raises(DataError, match=message):
        FeatureFile(tmp_path / "f.h5")


def test_an_unknown_video_and_frames_beyond_the_end_are_named(path):
    features = FeatureFile(path)
    with pytest.raises(DataError, match="no video 'v156'; the nearest name is 'v155'"):
        features.read("v156")
    with pytest.raises(DataError, match="video v33: expected frames 30 to 34, found 33 frames"):
        features.read("v33", 30, 34)
    with pytest.raises(DataError, match="expected frames -1 to 4"):
        features.read("v33", -1, 4)


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "inf"), (-np.inf, "-inf")])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_value_that_is_not_finite_is_named_by_row_and_column(value, name, dtype):
    rows = np.zeros((10, 24), dtype)
    check_finite(rows, "f.h5", "video v")
    rows[7, 3] = rows[6, 17] = value
    with pytest.raises(DataError) as caught:
        check_finite(rows, "features/val.h5", "video 12-24", first_row=375)
    assert str(caught.value).startswith(
        "features/val.h5, video 12-24, row 381: "
        f"expected 24 finite values, found {name} at column 17.\n"
    )


def test_groups_come_back_as_they_were_written(tmp_path):
    groups = {
        "video10_1": Group(
            {"valence": np.array([0.5, -1.0], np.float32), "length": 2, "special": 0},
            {"video": "video10_1", "segment": 0},
        ),
        "a b é": Group({"mean": np.zeros(3), "names": ["x", "ÿ"]}),
    }
    write_groups(tmp_path / "deep" / "targets.h5", groups.items())
    found = read_groups(tmp_path / "deep" / "targets.h5")
    assert list(found) == ["a b é", "video10_1"]
    for key, group in groups.items():
        assert dict(found[key].attributes) == dict(group.attributes)
        assert set(found[key].arrays) == set(group.arrays)
        for name, array in group.arrays.items():
            np.testing.assert_array_equal(found[key].arrays[name], array)
    assert found["video10_1"].arrays["valence"].dtype == np.float32
    assert int(found["video10_1"].arrays["length"]) == 2


def test_inner_groups_have_names_with_a_slash(tmp_path):
    with h5py.File(tmp_path / "special.h5", "w") as file:
        file["v/v_1/start"] = 3
        file["v/v_1/end"] = 9
    arrays = read_groups(tmp_path / "special.h5")["v"].arrays
    assert {name: int(value) for name, value in arrays.items()} == {"v_1/start": 3, "v_1/end": 9}


@pytest.mark.parametrize("key", ["", ".", "a/b", "twice"])
def test_a_key_that_is_no_plain_name_is_refused_and_nothing_is_written(tmp_path, key):
    group = Group({"x": np.zeros(2)})
    with pytest.raises(DataError, match="expected a plain name"):
        write_groups(tmp_path / "f.h5", [("twice", group), (key, group)])
    assert not list(tmp_path.iterdir())


def test_a_failure_while_writing_leaves_the_old_file(path, videos):
    old = path.read_bytes()

    def features():
        yield "v1", np.zeros((3, 3))
        raise ValueError("the extractor failed")

    with pytest.raises(ValueError, match="the extractor failed"):
        write_features(path, features())
    assert path.read_bytes() == old
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_no_permission_to_write_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        DataError, match=r"f\.h5: cannot be written \((File exists|Not a directory)\)"
    ):
        write_features(tmp_path / "file" / "f.h5", {"v": np.zeros((2, 2))})


READ_AN_EPOCH = """
import json, sys
import numpy as np
from shared_core.data.features import FeatureFile, check_finite

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))

features = FeatureFile(sys.argv[1])
features.read(features.keys[0], 0, 250).astype(np.float32)
before, peak, frames = anonymous(), 0, 0
for key in features.keys:
    for start in range(0, features.length(key), 250):
        rows = features.read(key, start, min(start + 250, features.length(key)))
        check_finite(rows, features.path, key, first_row=start)
        batch = rows.astype(np.float32)
        frames += len(batch)
        peak = max(peak, anonymous())
print(json.dumps({"frames": frames, "kib": peak - before}))
"""


def read_an_epoch(path: Path, frames: int, width: int = 1238, videos: int = 10) -> dict[str, int]:
    with h5py.File(path, "w") as file:
        for video in range(videos):
            plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)  # a hole in the file: no disk is used
            space = h5py.h5s.create_simple((frames // videos, width))
            group = file.create_group(f"v{video}")
            h5py.h5d.create(group.id, b"fts", h5py.h5t.IEEE_F16LE, space, plan)
    answer = subprocess.run(
        [sys.executable, "-c", READ_AN_EPOCH, str(path)], check=True, capture_output=True, text=True
    )
    found: dict[str, int] = json.loads(answer.stdout)
    assert found["frames"] == frames
    return found


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_does_not_grow_with_the_set(tmp_path):
    """A set ten times as large: less than 300 MB of anonymous memory, at most a tenth more."""
    small = read_an_epoch(tmp_path / "small.h5", 15_000)["kib"]
    large = read_an_epoch(tmp_path / "large.h5", 150_000)["kib"]
    assert large < 300 * 1024
    assert large <= 1.1 * small + 1024  # a page more or less of the allocator is not growth
