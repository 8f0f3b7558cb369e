"""Bad input through the command line: one message with place and remedy, and nothing half-written."""

from __future__ import annotations

import io
import tarfile
import zipfile

import h5py
import numpy as np
import pytest
import torch

from abaw_va.cli import main
from abaw_va.config import FclstmXl, Transformer, VaModelConfig
from abaw_va.data.layout import features_path, targets_path
from abaw_va.model.network import VaModel
from abaw_va.synthetic import write_random_root
from abaw_va.weights import from_upstream, to_upstream
from shared_core.testing.faults import hostile_checkpoints, truncate
from shared_core.testing.media import tone, write_media

SMALL = {
    "hidden_size": 8, "regressor": (8,), "layers": 1, "heads": 2, "ffn_width": 16,
    "chunk_length": 16,
}  # fmt: skip


@pytest.fixture
def root(tmp_path):
    lengths = {"train": {"a": 20, "b": 24}, "val": {"c": 12}}
    write_random_root(tmp_path / "root", lengths, {"face": 5, "voice": 3})
    return tmp_path / "root"


@pytest.fixture
def model(tmp_path):
    config = VaModelConfig(model=Transformer(**SMALL), features=("face", "voice"), input_width=8)
    VaModel(config).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def hearing(tmp_path):
    """A network that reads sound, for `predict`."""
    config = VaModelConfig(model=Transformer(**SMALL), features=("logmel",), input_width=64)
    VaModel(config).save_pretrained(tmp_path / "hearing")
    return tmp_path / "hearing"


@pytest.fixture
def failing(capsys):
    """Runs a line, and gives its exit status and its message, which is no traceback."""

    def run(*words):
        status = main([str(word) for word in words])
        told = capsys.readouterr().err
        assert told.startswith("abaw-va: "), told
        assert "Traceback" not in told
        return status, told

    return run


def evaluation(root, model, out):
    return ("evaluate", "--checkpoint", model, "--data", root, "--out", out, "--device", "cpu")


def training(root, run):
    return ("train", "--data", root, "--run", run, "--features", "face", "voice", "--device", "cpu",
            "--trackers", "--max-steps", 1)  # fmt: skip


def prediction(video, model, out):
    return ("predict", video, "--checkpoint", model, "--out", out, "--device", "cpu")


def edited(path, video, name, change):
    """Rewrite one array of an HDF5 file."""
    with h5py.File(path, "a") as file:
        values = change(file[video][name][()])
        del file[video][name]
        file[video][name] = values


def test_a_truncated_hdf5_file(root, model, tmp_path, failing):
    path = features_path(root, "val", "voice")
    truncate(path)
    status, told = failing(*evaluation(root, model, tmp_path / "out"))
    assert status == 1
    assert f"{path}: it is damaged, truncated or no HDF5 file" in told
    assert not (tmp_path / "out").exists()


def test_features_and_labels_of_different_lengths(root, model, tmp_path, failing):
    path = features_path(root, "val", "face")
    edited(path, "c", "fts", lambda rows: rows[:-2])
    status, told = failing(*evaluation(root, model, tmp_path / "out"))
    assert status == 1
    assert f"{path}, video c: expected 12 rows, one per label, found 10." in told
    assert "Extract the feature again" in told
    assert not (tmp_path / "out").exists()


def test_an_unknown_feature_in_training(root, tmp_path, failing):
    line = training(root, tmp_path / "run")
    status, told = failing(*("vioce" if word == "voice" else word for word in line))
    assert status == 1
    assert "no feature 'vioce' for the split 'train'" in told
    assert "Did you mean 'voice'?" in told


def test_an_unknown_feature_in_extraction(root, tmp_path, failing):
    videos = tmp_path / "videos"
    videos.mkdir()
    write_media(videos / "a.mkv", sound=[(0, tone(0.1))])
    line = ("extract", "--data", root, "--videos", videos, "--features", "vgish")
    status, told = failing(*line)
    assert status == 2
    assert "no extractor for the feature 'vgish'. Did you mean 'vggish'?" in told


@pytest.mark.parametrize("how", ["plain", "trn", "batch"])
def test_a_feature_that_is_nan(root, tmp_path, failing, how):
    """Row and column are named whether the values are read or only counted in statistics."""
    path = features_path(root, "train", "voice")

    def spoil(rows):
        rows[7, 2] = np.nan
        return rows

    edited(path, "b", "fts", spoil)
    normal = () if how == "plain" else ("--normalise", "voice", "--norm-method", how)
    # A whole epoch, so that the video is read whatever the order.
    line = [word for word in training(root, tmp_path / "run") if word not in ("--max-steps", 1)]
    status, told = failing(*line, "--epochs", 1, *normal)
    assert status == 1
    assert f"{path}, video b, row 7: expected 3 finite values, found NaN at column 2" in told
    assert "--on-bad-row quarantine" in told


def test_a_label_outside_the_scale(root, model, tmp_path, failing):
    path = targets_path(root, "val")

    def spoil(values):
        values[4] = 1.5
        return values

    edited(path, "c", "arousal", spoil)
    status, told = failing(*evaluation(root, model, tmp_path / "out"))
    assert status == 1
    assert f"{path}, video c, row 4: expected a value in [-1, 1], or -5" in told
    assert "found 1.5 for arousal" in told


def test_an_annotation_outside_the_scale(tmp_path, failing):
    for name in ("Train_Set", "Validation_Set"):
        (tmp_path / "va" / name).mkdir(parents=True)
        (tmp_path / "va" / name / "v.txt").write_text("valence,arousal\n0.1,0.1\n0.2,-4\n")
    line = ("prepare", "annotations", "--annotations", tmp_path / "va", "--data", tmp_path / "new")
    status, told = failing(*line)
    assert status == 1
    assert "v.txt, row 1: expected a value in [-1, 1], or -5" in told
    assert not (tmp_path / "new").exists()


def test_a_video_without_frames(hearing, tmp_path, failing):
    clip = write_media(tmp_path / "v.mkv", sound=[(0, tone(0.5))])
    status, told = failing(*prediction(clip, hearing, tmp_path / "out"))
    assert status == 1
    assert f"{clip}: expected a video, found no video stream" in told
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.html"}


def test_a_text_that_was_renamed_to_mp4(hearing, tmp_path, failing):
    clip = tmp_path / "v.mp4"
    clip.write_text("Dear diary,\n")
    status, told = failing(*prediction(clip, hearing, tmp_path / "out"))
    assert status == 1
    assert f"{clip}: expected a video or sound file" in told
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.html"}


@pytest.mark.parametrize("empty", ["absent", "empty", "no video"])
def test_an_empty_data_root(root, model, tmp_path, failing, empty):
    data = tmp_path / "data"
    if empty != "absent":
        data.mkdir()
    if empty == "no video":
        targets_path(data, "val").parent.mkdir()
        h5py.File(targets_path(data, "val"), "w").close()
    status, told = failing(*evaluation(data, model, tmp_path / "out"))
    assert status == 1
    assert str(data) in told
    assert "abaw-va prepare" in told
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_another_model(root, model, tmp_path, failing):
    path = model / "config.json"
    path.write_text(
        path.read_text().replace('"abaw_va"', '"gaze_da"').replace("VaModel", "GazeNet")
    )
    status, told = failing(*evaluation(root, model, tmp_path / "out"))
    assert status == 1
    assert "expected a model of the class abaw_va.VaModel, found gaze_da.GazeNet" in told


def test_a_checkpoint_for_other_features(root, tmp_path, failing):
    config = VaModelConfig(model=Transformer(**SMALL), features=("face", "voice"), input_width=9)
    VaModel(config).save_pretrained(tmp_path / "wide")
    status, told = failing(*evaluation(root, tmp_path / "wide", tmp_path / "out"))
    assert status == 1
    assert "expected features of 9 columns in all" in told
    assert "face 5, voice 3" in told


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("batch_siz: 8\n", "batch_size"),
        ("model:\n  kind: transformr\n", "transformer"),
        ("losses: [batch_cc]\n", "batch_ccc"),
    ],
)
def test_a_typo_in_a_config(root, tmp_path, failing, text, found):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    status, told = failing("train", "--config", path, "--data", root, "--run", tmp_path / "run")
    assert status == 2
    assert found in told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", ["evaluate", "predict", "convert --back", "prepare"])
def test_no_permission_to_write(root, model, hearing, tmp_path, failing, verb):
    """A file stands where the folder should be, which stops root as well."""
    out = tmp_path / "taken" / "out"
    (tmp_path / "taken").write_text("")
    clip = write_media(tmp_path / "v.mkv", [np.zeros((32, 32, 3), np.uint8)] * 3)
    for name in ("Train_Set", "Validation_Set"):
        (tmp_path / "va" / name).mkdir(parents=True)
        (tmp_path / "va" / name / "v.txt").write_text("valence,arousal\n0.1,0.1\n")
    line = {
        "evaluate": evaluation(root, model, out),
        "predict": prediction(clip, hearing, out),
        "convert --back": ("convert", "--back", "--source", model, "--out", out),
        "prepare": ("prepare", "annotations", "--annotations", tmp_path / "va", "--data", out),
    }[verb]
    status, told = failing(*line)
    assert status == 1
    assert str(out) in told
    assert "written" in told
    assert (tmp_path / "taken").read_text() == ""


@pytest.mark.parametrize("kind", ["os.system in zip", "eval in legacy", "exec in pickle-2"])
def test_a_pickle_bomb_as_checkpoint(tmp_path, failing, kind):
    config = VaModelConfig(
        model=FclstmXl(hidden_size=8, regressor=(8,)), features=("a",), input_width=4
    )
    to_upstream(VaModel(config), tmp_path / "authors", "1")
    touched = tmp_path / "touched"
    (tmp_path / "bombs").mkdir()
    bomb = hostile_checkpoints(tmp_path / "bombs", touched)[kind]
    target = tmp_path / "authors" / "1_net_fc.pth"
    target.write_bytes(bomb.read_bytes())
    out = tmp_path / "out"
    line = ("convert", "--source", tmp_path / "authors", "--prefix", 1, "--out", out)
    status, told = failing(*line)
    assert status == 1
    assert str(target) in told
    assert not touched.exists()
    assert not out.exists()


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)


def tarred(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))


ANNOTATION = "valence,arousal\n0.1,0.2\n-5,-5\n0.3,0.4\n"


@pytest.mark.parametrize(("suffix", "pack"), [("zip", zipped), ("tar.gz", tarred)])
def test_an_archive_of_annotations(tmp_path, failing, capsys, suffix, pack):
    """It is read as its folder would be; one that leads out of itself is refused whole."""
    top = "Third_ABAW_Annotations/VA_Estimation_Challenge"
    members = {
        f"{top}/Train_Set/x.txt": ANNOTATION,
        f"{top}/Validation_Set/y.txt": ANNOTATION,
        "Third_ABAW_Annotations/EXPR_Challenge/Train_Set/x.txt": "other things",
        "Third_ABAW_Annotations/EXPR_Challenge/Validation_Set/y.txt": "other things",
        "__MACOSX/VA/Train_Set/._x.txt": "\x00",
        "__MACOSX/VA/Validation_Set/._y.txt": "\x00",
    }
    good, bad = tmp_path / f"good.{suffix}", tmp_path / f"bad.{suffix}"
    pack(good, members)
    pack(bad, {**members, "../../escaped.txt": "out"})
    line = ("prepare", "annotations", "--data", tmp_path / "new", "--annotations")
    status, told = failing(*line, bad)
    assert status == 1
    assert "member '../../escaped.txt': refused" in told
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.parent.rglob("escaped.txt"))
    assert main([str(word) for word in (*line, good)]) == 0
    with h5py.File(targets_path(tmp_path / "new", "train")) as file:
        assert sorted(file) == ["x_1", "x_2"]


def test_an_archive_of_something_else(tmp_path, failing):
    path = tmp_path / "a.zip"
    zipped(path, {"readme.txt": "nothing"})
    line = ("prepare", "annotations", "--annotations", path, "--data", tmp_path / "new")
    status, told = failing(*line)
    assert status == 1
    assert f"{path}: expected one folder with Train_Set and Validation_Set, found none" in told


def test_a_test_list_that_cannot_be_read(tmp_path, failing):
    for name in ("Train_Set", "Validation_Set"):
        (tmp_path / "va" / name).mkdir(parents=True)
        (tmp_path / "va" / name / "v.txt").write_text(ANNOTATION)
    line = ("prepare", "annotations", "--annotations", tmp_path / "va", "--data", tmp_path / "new")
    (tmp_path / "empty.txt").write_text("\n")
    for name, found in (("absent.txt", "cannot be read"), ("empty.txt", "names no video")):
        status, told = failing(*line, "--test-list", tmp_path / name)
        assert status == 1
        assert found in told
        assert not (tmp_path / "new").exists()


def test_a_label_is_never_a_feature(tmp_path, failing, capsys):
    """The pattern * takes every column but the labels."""
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "a.csv").write_text("AU01,AU02,valence,arousal\n1,2,0.1,0.2\n3,4,0,0\n")
    line = ("prepare", "tables", "--tables", tmp_path / "tables", "--data", tmp_path / "new")
    status, told = failing(*line, "--features", "all=valence")
    assert status == 1
    assert "no column matches 'valence'" in told
    assert main([str(word) for word in (*line, "--features", "all=*")]) == 0
    with h5py.File(features_path(tmp_path / "new", "train", "all")) as file:
        assert file["a/fts"].shape == (2, 2)


def test_statistics_that_the_authors_files_lack(root, tmp_path, failing):
    """A network that normalises by `trn` is converted with its data root, or not at all."""
    config = VaModelConfig(
        model=Transformer(**SMALL), features=("face", "voice"), normalise=("voice",), input_width=8
    )
    to_upstream(VaModel(config), tmp_path / "authors", "1")
    line = ("convert", "--source", tmp_path / "authors", "--prefix", 1, "--out", tmp_path / "out")
    status, told = failing(*line)
    assert status == 2
    assert "--data" in told
    assert not (tmp_path / "out").exists()
    write_random_root(tmp_path / "other", {"train": {"a": 9}}, {"face": 5, "voice": 4})
    status, told = failing(*line, "--data", tmp_path / "other")
    assert status == 1
    assert "expected features of 8 columns" in told

    assert main([str(word) for word in (*line, "--data", root)]) == 0
    found = VaModel.from_pretrained(tmp_path / "out")
    with h5py.File(features_path(root, "train", "voice")) as file:
        rows = np.concatenate([file[video]["fts"][()] for video in file])
    np.testing.assert_allclose(found.feature_mean.numpy(), [0] * 5 + list(rows.mean(0)), atol=1e-5)
    np.testing.assert_allclose(found.feature_scale.numpy(), [1] * 5 + list(rows.std(0)), rtol=1e-5)

    back = ("convert", "--back", "--source", tmp_path / "out", "--prefix", 1, "--out")
    assert main([str(word) for word in (*back, tmp_path / "again")]) == 0
    again = from_upstream(tmp_path / "again", "1", data=root)
    assert again.config == found.config
    assert all(torch.equal(again.state_dict()[k], v) for k, v in found.state_dict().items())
