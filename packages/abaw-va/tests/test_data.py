"""The data root: annotations, targets, features, statistics, folds."""

from __future__ import annotations

import os
from functools import partial

import h5py
import numpy as np
import pytest
import torch

from abaw_va.config import AnnotationsConfig, FoldsConfig, TablesConfig
from abaw_va.data.annotations import cut, read_annotation, source_video
from abaw_va.data.batches import ChunkDataset, collate
from abaw_va.data.chunks import upstream_lengths
from abaw_va.data.folds import deal, describe, prepare
from abaw_va.data.layout import (
    Labels,
    features_path,
    read_targets,
    statistics_path,
    targets_path,
    write_targets,
)
from abaw_va.data.prepare import from_annotations, from_tables
from abaw_va.data.videos import VideoSet, fold_videos, split_videos
from abaw_va.synthetic import write_random_root
from shared_core.data.features import FeatureFile, write_features
from shared_core.data.loader import PADDING, ItemKey, generator
from shared_core.errors import ConfigError, DataError
from shared_core.testing.data import shared_data

WIDTHS = {"affectnet": 342, "vggish": 128, "wav2vec": 768}


@pytest.fixture
def root(tmp_path):
    write_random_root(
        tmp_path,
        {"train": {"a": 90, "b": 155, "c": 33}, "val": {"d": 40}, "test": {"e": 21}},
        WIDTHS,
    )
    return tmp_path


def _annotation(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("valence,arousal\n" + "".join(f"{v},{a}\n" for v, a in rows))
    return path


def test_acceptance_01_a_data_root_loads_padded(root):
    """Features [3, 155, 1238] for videos of 90, 155 and 33 frames; the mask sums to their lengths."""
    videos = VideoSet(root, split_videos(root, "train"), tuple(WIDTHS))
    data = ChunkDataset(videos, chunk_length=155)
    batch = collate([data[ItemKey(0, 0, index)] for index in range(3)])
    assert batch.features.shape == (3, 155, 1238)
    assert batch.present.sum(dim=1).tolist() == [90, 155, 33]
    assert batch.valid.sum(dim=1).tolist() == [90, 155, 33]
    assert not batch.features[~batch.present].any()
    with h5py.File(features_path(root, "train", "vggish")) as file:
        expected = torch.from_numpy(file["c/fts"][:])
    assert torch.equal(batch.features[2, :33, 342:470], expected)


@pytest.mark.parametrize("method", ["trn", "batch"])
def test_acceptance_02_a_constant_column_normalises_to_zeros(root, method):
    """Deviation 0 counts as 1: zeros, not NaN."""
    path = features_path(root, "train", "vggish")
    file = FeatureFile(path)
    rows = {key: np.array(file.read(key)) for key in file.keys}
    for values in rows.values():
        values[:, 5] = 0.1
    write_features(path, rows)
    videos = VideoSet(
        root, split_videos(root, "train"), ("vggish",), normalise=("vggish",), method=method
    )
    for index, video in enumerate(videos.videos):
        values = videos.read(index, 0, video.length)
        assert np.isfinite(values).all()
        assert np.abs(values[:, 5]).max() < 1e-6


def test_training_statistics_are_those_of_all_frames(root):
    """Population deviation over the concatenated training frames; kept in the root, used for val."""
    train = VideoSet(root, split_videos(root, "train"), ("vggish",), normalise=("vggish",))
    file = FeatureFile(features_path(root, "train", "vggish"))
    everything = np.concatenate([file.read(key) for key in file.keys]).astype(np.float64)
    with h5py.File(statistics_path(root, "vggish")) as stored:
        np.testing.assert_allclose(stored["train/mean"], everything.mean(0), atol=1e-6)
        np.testing.assert_allclose(stored["train/std"], everything.std(0), rtol=1e-6)
    val = VideoSet(root, split_videos(root, "val"), ("vggish",), normalise=("vggish",))
    raw = FeatureFile(features_path(root, "val", "vggish")).read("d")
    np.testing.assert_allclose(
        val.read(0, 0, 40), (raw - everything.mean(0)) / everything.std(0), atol=1e-4
    )
    assert (
        abs(np.concatenate([train.read(i, 0, n) for i, n in enumerate([90, 155, 33])]).mean())
        < 1e-4
    )


def test_statistics_of_a_video_are_of_its_own_frames(root):
    """Method `batch`: sample deviation of the real frames, the same in every chunk (Q20)."""
    videos = VideoSet(
        root, split_videos(root, "train"), ("vggish",), normalise=("vggish",), method="batch"
    )
    raw = FeatureFile(features_path(root, "train", "vggish")).read("b").astype(np.float64)
    expected = (raw - raw.mean(0)) / raw.std(0, ddof=1)
    np.testing.assert_allclose(videos.read(1, 100, 155), expected[100:], atol=1e-5)


@pytest.mark.parametrize(
    ("missing", "frames", "stretches"),
    [
        ([0, 1, 7, 8, 9, 15, 19], 20, {"v_1": (2, 5), "v_2": (10, 5), "v_3": (16, 3)}),
        ([4], 10, {"v_1": (0, 4), "v_2": (5, 5)}),
        ([], 6, {"v": (0, 6)}),
        ([0, 1, 2], 3, {}),
    ],
)
def test_acceptance_13_videos_are_cut_where_annotation_is_missing(
    tmp_path, missing, frames, stretches
):
    """Maximal runs of annotated frames, named <id>_1, _2, ...; a whole video keeps its id."""
    rows = [(-5, -5) if k in missing else (k / 100, -k / 100) for k in range(frames)]
    values = read_annotation(_annotation(tmp_path / "v.txt", rows))
    pieces = dict(cut("v", values))
    assert {name: (p.start, p.length) for name, p in pieces.items()} == stretches
    for piece in pieces.values():
        assert piece.original == "v"
        assert piece.valid.all()
        assert piece.values[0, 0] == np.float32(piece.start / 100)


def test_the_people_of_one_video_share_its_file():
    """`_left` and `_right` are dropped only where no video has the full name."""
    videos = {"30-30-1920x1080", "video10_1", "a_left"}
    assert source_video("30-30-1920x1080_left", videos) == "30-30-1920x1080"
    assert source_video("video10_1_right", videos) == "video10_1"
    assert source_video("a_left", videos) == "a_left"
    with pytest.raises(DataError, match="no video of this name"):
        source_video("video11_left", videos)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("valence;arousal\n0,0\n", "line 1: expected the header"),
        ("valence,arousal\n0.1,0.2\n0.1\n", "line 3: expected two numbers"),
        ("valence,arousal\n0.1,0.2\n1.01,0\n", r"row 1: expected a value in \[-1, 1\].*1.01"),
        ("valence,arousal\n0.1,nan\n", "row 0: expected a value"),
        ("valence,arousal\n", "holds no frame"),
        ("", "an empty file"),
    ],
)
def test_a_wrong_annotation_names_its_line(tmp_path, text, message):
    path = tmp_path / "v.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_annotation(path)


def test_annotations_become_targets_or_nothing(tmp_path):
    """Both sets are written; an error in the last text leaves no file behind."""
    source, root = tmp_path / "VA", tmp_path / "root"
    _annotation(source / "Train_Set" / "x.txt", [(0.1, 0.2)] * 3 + [(-5, -5)] + [(0.3, 0.1)] * 2)
    _annotation(source / "Validation_Set" / "y.txt", [(0.5, -0.5)] * 4)
    bad = _annotation(source / "Validation_Set" / "z.txt", [(0.5, -7)])
    config = AnnotationsConfig(annotations=source, data=root)
    with pytest.raises(DataError, match=r"z\.txt"):
        from_annotations(config)
    assert not root.exists()
    bad.unlink()
    from_annotations(config)
    train = read_targets(targets_path(root, "train"))
    assert {name: labels.length for name, labels in train.items()} == {"x_1": 3, "x_2": 2}
    assert train["x_2"].start == 4
    assert read_targets(targets_path(root, "val"))["y"].values[0].tolist() == [0.5, -0.5]


def test_an_empty_folder_of_annotations_is_refused(tmp_path):
    (tmp_path / "Train_Set").mkdir()
    with pytest.raises(DataError, match="one folder with Train_Set and Validation_Set"):
        from_annotations(AnnotationsConfig(annotations=tmp_path, data=tmp_path / "root"))


def test_real_tables_become_a_data_root(tmp_path):
    """Twenty real sequences: action units and emotions as features, five of them for validation."""
    tables = shared_data("abaw-va", "va_sequences")
    val = ("016", "017", "018", "019", "020")
    source = tmp_path / "tables"
    source.mkdir()
    for path in tables.glob("[0-9]*.csv"):
        (source / path.name).symlink_to(path)
    config = TablesConfig(
        tables=source,
        data=tmp_path / "root",
        features=("au=AU*", "emotion=Neutral,Happy,Sad,Surprise,Fear,Disgust,Anger"),
        val=val,
    )
    from_tables(config)
    train = VideoSet(tmp_path / "root", split_videos(tmp_path / "root", "train"), ("au", "emotion"))
    assert [video.id for video in train.videos] == [f"{k:03d}" for k in range(1, 16)]
    assert train.widths == (20, 7)
    assert train.lengths.min() == 14
    held_out = split_videos(tmp_path / "root", "val")
    assert tuple(video.id for video in held_out) == val
    assert max(video.length for video in held_out) == 39


def test_a_table_without_a_named_column_is_refused(tmp_path):
    source = tmp_path / "tables"
    source.mkdir()
    (source / "a.csv").write_text("AU01,valence,arousal\n0.5,0.1,0.2\n")
    with pytest.raises(DataError, match=r"no column matches 'gaze\*'"):
        from_tables(TablesConfig(tables=source, data=tmp_path / "root", features=("g=gaze*",)))
    with pytest.raises(ConfigError, match="NAME=COLUMN"):
        TablesConfig(tables=source, data=tmp_path / "root", features=("gaze",))
    with pytest.raises(DataError, match="table: no such file or folder"):
        from_tables(
            TablesConfig(tables=tmp_path / "table", data=tmp_path, features=("g=AU*",), val=("a",))
        )
    (source / "a.csv").write_text("AU01,valence,arousal\n0.5,0.1,0.2\nnan,0.1,0.2\n")
    with pytest.raises(DataError, match="line 3"):
        from_tables(TablesConfig(tables=source, data=tmp_path / "root", features=("g=AU*",)))
    assert not (tmp_path / "root").exists()


def test_folds_are_even_in_number_and_frames(tmp_path):
    """Fold sizes differ by one at most; the chosen deal is more even than a deal by chance."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(50, 400, 43)
    videos = {
        f"v{k:02d}": Labels(
            int(n),
            draw.uniform(-1, 1, (n, 2)).astype(np.float32),
            np.ones(n, dtype=bool),
            original=f"v{k:02d}",
        )
        for k, n in enumerate(lengths)
    }
    _, table = describe(videos)
    assert (table[:, 0] == lengths).all()
    assert (table[:, 1:4].sum(axis=1) == lengths).all()
    fold_of = deal(table, 5, 400, generator(1))
    assert sorted(np.bincount(fold_of)) == [8, 8, 9, 9, 9]

    def spread(folds):
        return np.ptp(np.bincount(folds, weights=table[:, 0]))

    chance = [spread(draw.permutation(np.arange(43) % 5)) for _ in range(50)]
    assert spread(fold_of) < np.quantile(chance, 0.1)
    assert (fold_of == deal(table, 5, 400, generator(1))).all()


def test_a_fold_is_a_view_of_the_official_sets(root):
    """Training is the other folds and the official validation set; nothing is copied."""
    prepare(FoldsConfig(data=root, folds=3, tries=10))
    seen = []
    for fold in (1, 2, 3):
        train, held_out = fold_videos(root, fold)
        assert {video.id for video in train} | {video.id for video in held_out} == set("abcd")
        assert "d" in {video.id for video in train}
        seen += [video.id for video in held_out]
        assert len(VideoSet(root, train, ("vggish",))) == len(train)
    assert sorted(seen) == ["a", "b", "c"]
    with pytest.raises(DataError, match="fold from 1 to 3"):
        fold_videos(root, 4)


def test_the_padding_item_counts_nothing(root):
    data = ChunkDataset(VideoSet(root, split_videos(root, "train"), ("vggish",)), chunk_length=50)
    batch = collate([data[ItemKey(0, 0, PADDING)], data[ItemKey(0, 0, 0)]])
    assert not batch.present[0].any()
    assert not batch.valid[0].any()
    assert batch.restart.tolist() == [True, True]


def test_random_borders_move_with_the_epoch(root):
    """And still show every frame once."""
    videos = VideoSet(root, split_videos(root, "train"), ("vggish",))
    data = ChunkDataset(videos, chunk_length=40, random_offset=True, seed=1)
    tables = [data.chunks(epoch) for epoch in range(3)]
    assert len({tuple(table.start.tolist()) for table in tables}) == 3
    for table in tables:
        assert (table.stop - table.start).sum() == videos.lengths.sum()


def test_padding_that_counts_is_standardised_like_frames(root):
    """compat.norm_padding (Q20): statistics of the zero-padded video; its padding becomes values."""
    videos = VideoSet(
        root, split_videos(root, "train"), ("vggish",), normalise=("vggish",), method="batch"
    )
    padded = partial(upstream_lengths, videos.lengths, 3, 0)
    data = ChunkDataset(videos, chunk_length=100, padded=padded)
    chunks = data.chunks(0)
    raw = np.array(FeatureFile(features_path(root, "train", "vggish")).read("c"), np.float64)
    whole = np.concatenate([raw, np.zeros((155 - 33, 128))])
    expected = (whole - whole.mean(0)) / whole.std(0, ddof=1)
    batch = collate([data[ItemKey(0, 0, row)] for row in chunks.of(2)])
    np.testing.assert_allclose(batch.features[0, :100], expected[:100], atol=1e-5)
    np.testing.assert_allclose(batch.features[1, :55], expected[100:], atol=1e-5)
    assert batch.present.sum(dim=1).tolist() == [33, 0]
    assert batch.valid.sum(dim=1).tolist() == [33, 0]


# Bad input: one message with the file, the place and the remedy.


def test_an_empty_data_root_says_how_to_fill_it(tmp_path):
    with pytest.raises(DataError, match="prepare"):
        split_videos(tmp_path, "train")
    with pytest.raises(DataError, match="no such folder"):
        split_videos(tmp_path / "nowhere", "train")


def test_an_unknown_feature_names_the_nearest(root):
    with pytest.raises(DataError, match=r"Did you mean 'vggish'\?.*affectnet, vggish, wav2vec"):
        VideoSet(root, split_videos(root, "train"), ("vgish",))


def test_a_feature_of_another_length_than_the_labels_is_refused(root):
    path = features_path(root, "train", "vggish")
    file = FeatureFile(path)
    rows = {key: np.array(file.read(key)) for key in file.keys}
    write_features(path, {**rows, "b": rows["b"][:-1]})
    with pytest.raises(DataError, match="video b: expected 155 rows, one per label, found 154"):
        VideoSet(root, split_videos(root, "train"), ("vggish",))


def test_a_video_without_features_is_named(root):
    path = features_path(root, "train", "vggish")
    file = FeatureFile(path)
    write_features(path, {key: np.array(file.read(key)) for key in ("a", "c")})
    with pytest.raises(DataError, match="no video 'b'"):
        VideoSet(root, split_videos(root, "train"), ("vggish",))


def test_a_feature_that_is_not_finite_names_row_and_column(root):
    path = features_path(root, "train", "vggish")
    with h5py.File(path, "r+") as file:
        file["b/fts"][120, 17] = np.nan
    data = ChunkDataset(VideoSet(root, split_videos(root, "train"), ("vggish",)), chunk_length=100)
    with pytest.raises(DataError, match=r"vggish\.h5, video b, row 120: .*NaN at column 17"):
        data[ItemKey(0, 0, 2)]


def test_a_truncated_feature_file_is_refused(root):
    path = features_path(root, "train", "vggish")
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DataError, match="damaged, truncated"):
        VideoSet(root, split_videos(root, "train"), ("vggish",))


def test_a_label_out_of_range_names_video_and_row(root):
    path = targets_path(root, "train")
    with h5py.File(path, "r+") as file:
        file["b/arousal"][7] = 1.5
    with pytest.raises(DataError, match=r"video b, row 7: expected a value in \[-1, 1\].*arousal"):
        split_videos(root, "train")


def test_labels_of_another_length_than_stated_are_refused(root):
    path = targets_path(root, "train")
    with h5py.File(path, "r+") as file:
        file["b/length"][()] = 99
    with pytest.raises(DataError, match="video b: expected 99"):
        read_targets(path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "targets").write_text("a file where a folder should be")
    with pytest.raises(DataError, match="cannot be written"):
        write_targets(
            targets_path(tmp_path, "train"), {"v": Labels(1, None, np.zeros(1, dtype=bool), "v")}
        )
