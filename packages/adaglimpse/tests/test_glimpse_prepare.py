"""`prepare check` and `prepare imagenet`: what is found, what goes on, what is refused."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from adaglimpse.config import CheckConfig, DataSettings, ImagenetConfig
from adaglimpse.data import check, imagenet
from adaglimpse.data.layouts import read_images
from shared_core.data.tables import read_json
from shared_core.errors import ConfigError, DataError

WNIDS = ("n00000003", "n00000001", "n00000002")
TRUTH = (2, 3, 1, 2, 2)


def saved(path, width=6, height=4, values=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (width, height)) if values is None else Image.fromarray(values)
    image.save(path)
    return path


def checked(tmp_path, **settings):
    config = CheckConfig(data_dir=tmp_path / "data", out=tmp_path / "check.json", **settings)
    return check.command(config), read_json(tmp_path / "check.json")


# --- check ----------------------------------------------------------------------------------------


def test_a_sound_folder_passes(tmp_path, capsys):
    for i in range(12):
        saved(tmp_path / "data" / f"{i:02d}.png", 6 + i, 20 - i)
    status, found = checked(tmp_path)
    assert status == 0
    assert [found[split]["images"] for split in ("train", "val", "test")] == [11, 1, 1]
    assert found["train"]["usable"] == 11
    sizes = (found["train"], found["val"])
    assert min(part["smallest"][0] for part in sizes) == 6
    assert max(part["largest"][1] for part in sizes) == 20
    assert "11 of 11 images can be used" in capsys.readouterr().out


def test_what_cannot_be_read_is_listed_and_told_by_the_status(tmp_path, capsys):
    for split in ("train", "val"):
        for i in range(3):
            saved(tmp_path / "data" / split / f"{i}.png")
    (tmp_path / "data" / "val" / "1.png").write_bytes(b"no picture")
    status, found = checked(tmp_path, workers=2)
    assert status == 1
    assert found["train"]["problems"] == []
    (problem,) = found["val"]["problems"]
    assert "1.png: it is damaged" in problem
    assert (found["val"]["usable"], found["val"]["images"]) == (2, 3)
    assert capsys.readouterr().out.count("it is damaged") == 1  # also tested on, but told once


def test_a_split_that_is_not_there_is_a_problem(tmp_path):
    saved(tmp_path / "data" / "val2014" / "a.jpg")
    status, found = checked(tmp_path, dataset="coco2014")
    assert status == 1
    assert "train2014: there is no such folder" in found["train"]["problems"][0]
    assert found["val"]["usable"] == 1


def test_masks_are_looked_at_and_their_classes_counted(tmp_path):
    labels = np.zeros((4, 6), np.uint8)
    labels[0, :5] = [1, 1, 150, 151, 200]
    for split in ("training", "validation"):
        for name in "ab":
            saved(tmp_path / "data" / "images" / split / f"{name}.jpg")
            saved(tmp_path / "data" / "annotations" / split / f"{name}.png", values=labels)
    saved(tmp_path / "data" / "annotations" / "training" / "b.png", values=labels[:3])
    status, found = checked(tmp_path, dataset="ade20k", task="segmentation")
    assert status == 1
    assert found["train"]["classes"] == {"1": 2, "150": 1}
    assert found["train"]["labels_above"] == 2
    (problem,) = found["train"]["problems"]
    assert "b.png: expected 6x4 pixels" in problem
    assert found["val"]["classes"] == {"1": 4, "150": 2}
    assert found["val"]["problems"] == []


def test_images_of_each_class_are_counted(tmp_path):
    for name in ("train/b/1", "train/b/2", "train/a/1", "val/b/1"):
        saved(tmp_path / "data" / f"{name}.png")
    status, found = checked(tmp_path, dataset="imagenet", task="classification")
    assert status == 0
    assert found["train"]["classes"] == {"a": 1, "b": 2}
    assert found["val"]["classes"] == {"b": 1}


def test_a_check_for_a_task_without_answers_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="task"):
        checked(tmp_path, dataset="coco2014", task="classification")


# --- ImageNet -------------------------------------------------------------------------------------


def jpeg(shade):
    buffer = io.BytesIO()
    Image.new("L", (8, 8), shade).save(buffer, "JPEG")
    return buffer.getvalue()


def tar_of(members, mode="w"):
    """The bytes of a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def devkit(wnids=WNIDS, truth=TRUTH, **changes):
    """As the real one: the leaves first, then a group of classes."""
    kinds = [
        ("ILSVRC2012_ID", "f8"), ("WNID", "O"), ("words", "O"), ("gloss", "O"),
        ("num_children", "f8"), ("children", "O"), ("wordnet_height", "f8"), ("num_train_images", "f8"),
    ]  # fmt: skip
    rows = [(i, wnid, "a word", "a gloss", 0, [], 0, 1) for i, wnid in enumerate(wnids, start=1)]
    rows.append((len(wnids) + 1, "n00009999", "a group", "", 2, [1, 2], 1, 0))
    meta = io.BytesIO()
    savemat(meta, {"synsets": np.array(rows, dtype=kinds)[:, None]})
    folder = "ILSVRC2012_devkit_t12/data"
    members = {
        f"{folder}/meta.mat": meta.getvalue(),
        f"{folder}/ILSVRC2012_validation_ground_truth.txt": "".join(
            f"{t}\n" for t in truth
        ).encode(),
    }
    return tar_of({**members, **changes}, "w:gz")


@pytest.fixture
def downloads(tmp_path):
    """The three archives, small: class k's training images have shade 10 k, validation image i 100 + i."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / imagenet.DEVKIT).write_bytes(devkit())
    classes = {
        f"{wnid}.tar": tar_of({f"{wnid}_{i}.JPEG": jpeg(10 * k) for i in range(k)})
        for k, wnid in enumerate(WNIDS, start=1)
    }
    (folder / imagenet.TRAIN).write_bytes(tar_of(classes))
    images = {f"ILSVRC2012_val_{i:08d}.JPEG": jpeg(100 + i) for i in range(1, len(TRUTH) + 1)}
    (folder / imagenet.VAL).write_bytes(tar_of(images))
    return ImagenetConfig(archives=folder, out=tmp_path / "imagenet")


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


EXPECTED_VAL = sorted(
    f"val/{WNIDS[label - 1]}/ILSVRC2012_val_{i:08d}.JPEG" for i, label in enumerate(TRUTH, start=1)
)
EXPECTED = sorted(
    [f"train/{wnid}/{wnid}_{i}.JPEG" for k, wnid in enumerate(WNIDS, 1) for i in range(k)]
    + EXPECTED_VAL
)


def test_the_archives_become_folders_of_classes(downloads):
    assert imagenet.command(downloads) == 0
    assert files(downloads.out) == EXPECTED
    settings = DataSettings(data_dir=downloads.out, dataset="imagenet")
    train = read_images(settings, "classification", "train")
    val = read_images(settings, "classification", "val")
    assert train.classes == tuple(sorted(WNIDS))
    assert [sample.name for sample in val.samples] == EXPECTED_VAL
    for sample in train.samples:
        shade = 10 * (WNIDS.index(train.classes[sample.label]) + 1)
        assert Image.open(sample.image).getpixel((4, 4)) == pytest.approx(shade, abs=1)


def test_what_is_there_is_not_unpacked_again(downloads):
    imagenet.command(downloads)
    (downloads.archives / imagenet.TRAIN).unlink()
    (downloads.archives / imagenet.VAL).unlink()
    assert imagenet.command(downloads) == 0


def test_a_command_that_was_cut_short_goes_on(downloads):
    """After a damaged class, the classes before it are kept, and nothing of it is there."""
    train = downloads.archives / imagenet.TRAIN
    sound = train.read_bytes()
    with tarfile.open(train) as tar:
        contents = {m.name: tar.extractfile(m).read() for m in tar}
    last = f"{sorted(WNIDS)[-1]}.tar"
    train.write_bytes(tar_of({**contents, last: contents[last][:700]}))
    with pytest.raises(DataError):
        imagenet.command(downloads)
    folder = downloads.out / "train"
    assert sorted(path.name for path in folder.iterdir()) == sorted(WNIDS)[:-1]
    kept = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    train.write_bytes(sound)
    imagenet.command(downloads)
    assert files(downloads.out) == EXPECTED
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())


def test_validation_left_half_sorted_by_a_kill_is_sorted_again(downloads):
    partial = downloads.out / ".val.partial"
    (partial / "flat").mkdir(parents=True)
    (partial / "flat" / "rest.JPEG").write_bytes(b"")
    (partial / "sorted" / WNIDS[0]).mkdir(parents=True)
    imagenet.command(downloads)
    assert files(downloads.out) == EXPECTED


@pytest.mark.parametrize("name", [imagenet.DEVKIT, imagenet.TRAIN, imagenet.VAL])
def test_a_missing_or_damaged_archive_is_named(downloads, name):
    path = downloads.archives / name
    content = path.read_bytes()
    path.write_bytes(b"no archive" * 200)
    with pytest.raises(DataError, match=name):
        imagenet.command(downloads)
    path.unlink()
    with pytest.raises(DataError, match=f"{name}: there is no such file"):
        imagenet.command(downloads)
    path.write_bytes(content)
    imagenet.command(downloads)
    assert files(downloads.out) == EXPECTED


def test_a_class_that_the_archive_lacks_is_named(downloads):
    (downloads.archives / imagenet.DEVKIT).write_bytes(devkit((*WNIDS, "n00000042")))
    with pytest.raises(DataError, match="1 classes are missing, first n00000042"):
        imagenet.command(downloads)
    assert not (downloads.out / "val").exists()


def test_answers_for_other_images_are_refused(downloads):
    (downloads.archives / imagenet.DEVKIT).write_bytes(devkit(truth=TRUTH[:-1]))
    with pytest.raises(DataError, match="expected the 4 images that the answers are for, found 5"):
        imagenet.command(downloads)
    assert not (downloads.out / "val").exists()


def test_a_development_kit_that_says_something_else_is_refused(downloads):
    kit = downloads.archives / imagenet.DEVKIT
    kit.write_bytes(devkit(truth=(1, 9)))
    with pytest.raises(DataError, match="expected numbers of classes, found 9"):
        imagenet.command(downloads)
    kit.write_bytes(devkit(wnids=("../escape",)))
    with pytest.raises(DataError, match="expected classes such as n01440764"):
        imagenet.command(downloads)
    kit.write_bytes(devkit(**{"ILSVRC2012_devkit_t12/data/meta.mat": b"no table"}))
    with pytest.raises(DataError, match="no table of classes"):
        imagenet.command(downloads)
