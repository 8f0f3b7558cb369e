"""Features of a data root from its videos, row by row with the labels."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from abaw_va.cli import main
from abaw_va.config import ExtractConfig
from abaw_va.data.layout import Labels, features_path, targets_path, write_targets
from abaw_va.extract import extract
from abaw_va.features.stream import extract_video
from abaw_va.perception import Perceiver
from shared_core.data.features import FeatureFile
from shared_core.testing.media import draw_face, grey_steps, tone, write_media

LEFT, RIGHT = (0.1, 0.3, 0.3, 0.7), (0.55, 0.1, 0.95, 0.9)


def labels(original, length, start=0):
    values = np.zeros((length, 2), np.float32)
    return Labels(length, values, np.ones(length, dtype=bool), original, start)


@pytest.fixture
def root(tmp_path):
    """A video cut in two stretches, and one of two people whose labels go one frame further."""
    videos = tmp_path / "videos"
    videos.mkdir()
    noise = np.random.default_rng(0).normal(0, 0.2, 16_000)
    write_media(videos / "solo.mkv", grey_steps(30), fps=30, sound=[(0, noise)])
    picture = np.full((240, 480, 3), 128, np.uint8)
    pair = [draw_face(draw_face(picture, LEFT), RIGHT)] * 10
    write_media(videos / "pair.mkv", pair, fps=30, sound=[(0, tone(0.4))])
    train = {"solo_1": labels("solo", 8), "solo_2": labels("solo", 12, start=15)}
    val = {"pair_left": labels("pair_left", 11), "pair_right": labels("pair_right", 11)}
    write_targets(targets_path(tmp_path, "train"), train)
    write_targets(targets_path(tmp_path, "val"), val)
    return tmp_path


def settings(root, *features, **more):
    return ExtractConfig(data=root, videos=root / "videos", features=features, device="cpu", **more)


def rows(root, split, feature, video):
    return np.array(FeatureFile(features_path(root, split, feature)).read(video))


def test_rows_lie_beside_their_labels(root):
    config = settings(root, "logmel", "pixels")
    written = extract(config)
    assert {path.name for path in written} == {
        f"{split}_{name}.h5" for split in ("train", "val") for name in ("logmel", "pixels")
    }
    whole = Perceiver(config, ("logmel",), "cpu")(root / "videos" / "solo.mkv").rows["logmel"]
    np.testing.assert_array_equal(rows(root, "train", "logmel", "solo_1"), whole[:8])
    np.testing.assert_array_equal(rows(root, "train", "logmel", "solo_2"), whole[15:27])
    assert sorted(path.name for path in (root / "features").iterdir()) == sorted(
        path.name for path in written
    )


def test_q15_two_people_have_their_own_faces_and_the_same_sound(root):
    extract(settings(root, "logmel", "pixels", splits=("val",)))
    left, right = (rows(root, "val", "pixels", f"pair_{side}") for side in ("left", "right"))
    assert left.shape == right.shape == (11, 256)
    assert np.abs(left - right).max() > 0.1
    np.testing.assert_array_equal(left[9], left[10])  # the labels' last frame is not in the video
    sounds = [rows(root, "val", "logmel", f"pair_{side}") for side in ("left", "right")]
    np.testing.assert_array_equal(*sounds)


def test_q18_a_video_without_any_face_ends_and_gives_zeros(root):
    extract(settings(root, "pixels", splits=("train",)))
    assert not rows(root, "train", "pixels", "solo_1").any()


def test_q11_compat_takes_every_video_for_30_fps(root, monkeypatch):
    """The option reaches the mapping of sound, the pieces of wav2vec and the filling of gaps."""
    seen = []

    def spy(path, extractors, faces, **options):
        seen.append((options["compat"], *(one._compat for one in extractors)))
        return extract_video(path, extractors, faces, **options)

    class Smile:
        feature_names = ("f",)

        def __init__(self, **_):
            pass

        def process_signal(self, samples, rate):
            table = np.arange(len(samples) // 160)[:, None]
            return type("Table", (), {"to_numpy": lambda self: table})()

    library = type("Library", (), {"Smile": Smile})
    for name in ("FeatureSet", "FeatureLevel"):
        setattr(library, name, type(name, (), {"eGeMAPSv01b": 0, "LowLevelDescriptors": 0}))
    monkeypatch.setattr("abaw_va.features.opensmile._library", lambda: library)
    monkeypatch.setattr("abaw_va.perception.extract_video", spy)
    clip = write_media(root / "v.mkv", grey_steps(24), fps=12, sound=[(0, tone(2.0))])
    found = {
        compat: Perceiver(settings(root, "egemaps", compat=compat), ("egemaps",), "cpu")(clip)
        for compat in (False, True)
    }
    assert seen == [(False, False), (True, True)]
    # Row k of the sound is k: by time frame 12 begins at 1 s, for the authors at 0.4 s.
    assert found[False].rows["egemaps"][12, 0] == pytest.approx(104, abs=6)
    assert found[True].rows["egemaps"][12, 0] == pytest.approx(41.5, abs=2)


def test_what_is_there_is_left_alone(root, capsys):
    words = ["extract", "--data", str(root), "--videos", str(root / "videos"), "--device", "cpu"]
    assert main([*words, "--features", "logmel"]) == 0
    before = features_path(root, "train", "logmel").stat().st_mtime_ns
    capsys.readouterr()
    assert main([*words, "--features", "logmel", "pixels"]) == 0
    told = capsys.readouterr().out
    assert told.count("left alone") == 2
    assert told.count("written") == 2
    assert features_path(root, "train", "logmel").stat().st_mtime_ns == before


def test_a_cut_off_extraction_goes_on_where_it_was(root, monkeypatch, capsys):
    """The broken video stops it; the videos before are not decoded again."""
    broken = root / "videos" / "solo.mkv"
    whole = broken.read_bytes()
    write_targets(
        targets_path(root, "train"),
        {"pair_left": labels("pair_left", 10), "solo_1": labels("solo", 8)},
    )
    broken.write_text("not a video")
    words = ["extract", "--data", str(root), "--videos", str(root / "videos"), "--device", "cpu",
             "--features", "logmel", "--splits", "train"]  # fmt: skip
    assert main(words) == 1
    assert "solo.mkv" in capsys.readouterr().err
    assert not features_path(root, "train", "logmel").exists()
    broken.write_bytes(whole)
    decoded = []
    call = Perceiver.__call__

    def spy(self, path, *rest):
        decoded.append(path.name)
        return call(self, path, *rest)

    monkeypatch.setattr(Perceiver, "__call__", spy)
    assert main(words) == 0
    assert decoded == ["solo.mkv"]
    with h5py.File(features_path(root, "train", "logmel")) as file:
        assert {name: file[name]["fts"].shape for name in file} == {
            "pair_left": (10, 64), "solo_1": (8, 64),
        }  # fmt: skip
    assert [path.name for path in (root / "features").iterdir()] == ["train_logmel.h5"]


def test_labels_beyond_the_video_are_a_message(root, capsys):
    write_targets(targets_path(root, "train"), {"solo_9": labels("solo", 5, start=40)})
    words = ["extract", "--data", str(root), "--videos", str(root / "videos"), "--device", "cpu"]
    assert main([*words, "--features", "logmel", "--splits", "train"]) == 1
    assert "solo_9: expected more than 40" in capsys.readouterr().err


def test_a_missing_video_is_a_message(root, capsys):
    (root / "videos" / "pair.mkv").unlink()
    words = ["extract", "--data", str(root), "--videos", str(root / "videos"), "--device", "cpu"]
    assert main([*words, "--features", "logmel", "--splits", "val"]) == 1
    assert "pair_left: no video of this name" in capsys.readouterr().err


def test_weights_of_finished_features_are_no_mistake(root, capsys):
    """A second call with the same line passes, though the network is no longer needed."""
    extract(settings(root, "logmel"))
    features_path(root, "train", "logmel").rename(features_path(root, "train", "vision"))
    features_path(root, "val", "logmel").rename(features_path(root, "val", "vision"))
    words = ["extract", "--data", str(root), "--videos", str(root / "videos"), "--device", "cpu",
             "--weights", "vision=nowhere"]  # fmt: skip
    assert main([*words, "--features", "vision", "logmel"]) == 0
    assert main([*words, "--features", "logmel"]) == 2
    assert "--weights vision=...: no such feature is needed" in capsys.readouterr().err
