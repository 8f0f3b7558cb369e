"""Which images each data set has, for every task and split, and what is refused."""

from __future__ import annotations

import hashlib

import pytest
from PIL import Image

from adaglimpse.config import TASKS_OF, DataSettings
from adaglimpse.data import sun360
from adaglimpse.data.layouts import read_images
from shared_core.errors import ConfigError, DataError
from shared_core.testing.data import shared_data

CANONICAL = "adaglimpse/sun360/sun360-dataset26-random.txt"


def put(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".txt":
            path.write_text("not an image")
        else:
            Image.new("RGB" if "annotations" not in name else "L", (4, 4)).save(path)


def numbered(folder, count, suffix=".jpg"):
    return [f"{folder}/{i:03d}{suffix}" for i in range(count)]


def read(root, dataset, task="reconstruction", split="train", **settings):
    return read_images(DataSettings(data_dir=root, dataset=dataset, **settings), task, split)


def names(images):
    return [sample.name for sample in images.samples]


@pytest.fixture
def everything(tmp_path):
    """A root for each data set, with a few images in every split."""
    put(tmp_path / "folder", *numbered("train", 3), *numbered("val", 2), *numbered("test", 1))
    put(tmp_path / "imagenet", *numbered("train/n1", 2), *numbered("train/n0", 1))
    put(tmp_path / "imagenet", *numbered("val/n1", 1), *numbered("val/n0", 1))
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        put(tmp_path / "coco2014", *numbered(f"{split}2014", count))
    for split, count in (("training", 3), ("validation", 2)):
        for root in ("ade20k", "ade20k-distilled/ADEChallengeData2016"):
            put(tmp_path / root, *numbered(f"images/{split}", count))
            put(tmp_path / root, *numbered(f"annotations/{split}", count, ".png"))
    put(tmp_path / "ade20k-distilled", *numbered("imagenet/train/n0", 4))
    put(tmp_path / "sun360", *numbered("indoor/cave", 6), *numbered("outdoor/park", 7))
    return tmp_path


CASES = [(dataset, task) for dataset, tasks in TASKS_OF.items() for task in tasks]


@pytest.mark.parametrize(("dataset", "task"), CASES)
def test_every_data_set_has_every_split_of_its_tasks(everything, dataset, task):
    for split in ("train", "val", "test"):
        images = read(everything / dataset, dataset, task, split)
        assert images.samples
        for sample in images.samples:
            assert sample.image == everything / dataset / sample.name
            assert sample.image.is_file()
            assert (sample.label >= 0) == (task == "classification")
            if task != "segmentation":
                assert sample.mask is None
        assert bool(images.classes) == (task != "reconstruction")


@pytest.mark.parametrize("dataset", TASKS_OF)
def test_training_and_validation_share_no_image(everything, dataset):
    task = TASKS_OF[dataset][-1]
    train, val, test = (
        names(read(everything / dataset, dataset, task, s)) for s in ("train", "val", "test")
    )
    assert not set(train) & set(val)
    assert not set(train) & set(test)
    assert sorted(train) == train or dataset == "sun360"


def test_a_task_without_answers_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="task: expected reconstruction"):
        read(tmp_path, "coco2014", "classification")


# --- folders --------------------------------------------------------------------------------------


def test_files_that_are_no_images_are_left_out_and_capitals_count(tmp_path):
    put(tmp_path, *numbered("a", 10), "a/notes.txt", ".hidden/x.png", "a/.x.png", "b/deep/y.PNG")
    (tmp_path / "a" / "000.jpg").rename(tmp_path / "a" / "UPPER.JPG")
    found = names(read(tmp_path, "folder", split="train")) + names(
        read(tmp_path, "folder", split="val")
    )
    expected = [*numbered("a", 10)[1:], "a/UPPER.JPG", "b/deep/y.PNG"]
    assert sorted(found) == sorted(expected)


def test_a_folder_without_splits_is_dealt_by_a_fixed_order(tmp_path):
    put(tmp_path / "one", *numbered("x", 25))
    put(tmp_path / "two", *numbered("x", 25))
    train, val = (read(tmp_path / "one", "folder", split=s) for s in ("train", "val"))
    assert len(val.samples) == 2
    assert sorted(names(train) + names(val)) == numbered("x", 25)
    assert names(train) == sorted(names(train))
    assert names(read(tmp_path / "two", "folder", split="val")) == names(val)
    assert names(read(tmp_path / "one", "folder", split="test")) == names(val)
    assert "2 of 25 images" in val.notes[0]


def test_a_small_folder_is_tested_on_whole(tmp_path):
    put(tmp_path, *numbered("x", 9))
    images = read(tmp_path, "folder", split="test")
    assert names(images) == numbered("x", 9)
    assert "all its 9 images" in images.notes[0]
    assert len(read(tmp_path, "folder", split="val").samples) == 1
    assert len(read(tmp_path, "folder", split="train").samples) == 8


def test_one_image_cannot_be_trained_on(tmp_path):
    put(tmp_path, "x.png")
    assert names(read(tmp_path, "folder", split="test")) == ["x.png"]
    with pytest.raises(DataError, match="expected two or more"):
        read(tmp_path, "folder", split="train")


def test_a_folder_without_test_images_is_tested_on_those_for_validation(everything):
    root = everything / "folder"
    (root / "test" / "000.jpg").unlink()
    (root / "test").rmdir()
    assert names(read(root, "folder", split="test")) == numbered("val", 2)


@pytest.mark.parametrize("dataset", ["folder", "imagenet", "coco2014", "ade20k", "sun360"])
def test_an_empty_or_missing_root_is_named(tmp_path, dataset):
    for root in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match=root.name):
            read(root, dataset, split="val")


# --- COCO and ADE20K ------------------------------------------------------------------------------


def test_coco_without_test_images_is_tested_on_val2014(tmp_path):
    put(tmp_path, *numbered("val2014", 2))
    images = read(tmp_path, "coco2014", split="test")
    assert names(images) == numbered("val2014", 2)
    assert "val2014 is tested on" in images.notes[0]


def test_the_real_photos_of_coco_are_all_found():
    root = shared_data("common/coco2014_mini")
    assert len(read(root, "coco2014", split="train").samples) == 17
    assert len(read(root, "coco2014", split="val").samples) == 25


def test_a_mask_has_the_name_of_its_image_but_for_the_ending(tmp_path):
    """`.jpg` elsewhere in the path stays, and a capital ending is understood."""
    root = tmp_path / "my.jpg.d"
    put(root, "images/validation/a.jpg.b.jpg", "annotations/validation/a.jpg.b.png")
    put(root, "images/validation/c.JPG", "annotations/validation/c.png")
    samples = read(root, "ade20k", "segmentation", "val").samples
    folder = root / "annotations" / "validation"
    assert [sample.mask for sample in samples] == [folder / "a.jpg.b.png", folder / "c.png"]


def test_missing_masks_are_counted_and_the_first_five_named(tmp_path):
    put(tmp_path, *numbered("images/training", 9), *numbered("annotations/training", 2, ".png"))
    with pytest.raises(DataError) as caught:
        read(tmp_path, "ade20k", "segmentation")
    assert "7 of 9 masks are missing" in str(caught.value)
    assert "006.png" in str(caught.value)
    assert "007.png" not in str(caught.value)


def test_ade20ks_classes_have_numbers_or_the_first_of_their_names(everything):
    numbers = read(everything / "ade20k", "ade20k", "segmentation").classes
    assert numbers == tuple(str(i) for i in range(1, 151))
    root = shared_data("adaglimpse/ade20k_mini/ADEChallengeData2016")
    images = read(root, "ade20k", "segmentation", "val")
    assert len(images.classes) == 150
    assert images.classes[:3] == ("wall", "building", "sky")
    assert images.classes[-1] == "flag"
    assert names(images) == [f"images/validation/ADE_val_0000000{i}.jpg" for i in (1, 2, 3)]


def test_a_list_of_other_classes_is_refused(everything):
    path = everything / "ade20k" / "objectInfo150.txt"
    path.write_text("Idx\tName\n1\twall\n3\tsky\n")
    with pytest.raises(DataError, match=r"objectInfo150\.txt: expected classes 1 to 150, found 2"):
        read(everything / "ade20k", "ade20k", "segmentation")


def test_distillation_trains_on_images_without_masks(everything):
    root = everything / "ade20k-distilled"
    train = read(root, "ade20k-distilled", "segmentation", "train")
    assert names(train) == numbered("imagenet/train/n0", 4)
    assert {sample.mask for sample in train.samples} == {None}
    assert len(train.classes) == 150
    val = read(root, "ade20k-distilled", "segmentation", "val")
    assert all(sample.mask.is_file() for sample in val.samples)


# --- ImageNet -------------------------------------------------------------------------------------


def test_imagenets_classes_are_the_sorted_folders_of_training(everything):
    images = read(everything / "imagenet", "imagenet", "classification")
    assert images.classes == ("n0", "n1")
    assert [sample.label for sample in images.samples] == [0, 1, 1]
    val = read(everything / "imagenet", "imagenet", "classification", "val")
    assert [(s.name, s.label) for s in val.samples] == [
        ("val/n0/000.jpg", 0),
        ("val/n1/000.jpg", 1),
    ]
    assert read(everything / "imagenet", "imagenet", "classification", "test") == val


def test_a_class_absent_from_the_list_is_refused(everything):
    put(everything / "imagenet", "val/n7/a.jpg")
    with pytest.raises(DataError) as caught:
        read(everything / "imagenet", "imagenet", "classification", "val")
    assert "expected one of the 2 classes" in str(caught.value)
    assert "found class 'n7'" in str(caught.value)
    assert len(read(everything / "imagenet", "imagenet", split="val").samples) == 3


# --- SUN360 ---------------------------------------------------------------------------------------


def test_acceptance_20_the_list_of_sun360():
    listed = sun360.read_list(shared_data(CANONICAL))
    assert len(listed.names) == 7956
    assert len(listed.of("val")) == len(listed.of("test")) == 795
    assert len(listed.of("train")) == 7161
    assert listed.of("val") + listed.of("train") == listed.names
    assert len(listed.classes) == 26
    assert listed.classes.index("outdoor/wharf") == 25
    assert listed.classes.index("indoor/cave") == 0
    assert sum(sun360.class_of(name) == "indoor/church" for name in listed.names) == 1269
    assert listed.notes == ()


def test_another_list_of_the_same_length_is_told(tmp_path):
    lines = shared_data(CANONICAL).read_text().splitlines()
    lines[0], lines[1] = lines[1], lines[0]
    path = tmp_path / "list.txt"
    path.write_text("\n".join(lines))
    (note,) = sun360.read_list(path).notes
    assert "not the same ones or order" in note


def test_the_hash_of_a_list_does_not_see_the_ends_of_lines(tmp_path, monkeypatch):
    """A copy with the line ends of Windows, and without the last one, is the same list."""
    lines = [f"indoor/cave/{i}.jpg" for i in range(20)]
    digest = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    monkeypatch.setattr(sun360, "CANONICAL_COUNT", 20)
    monkeypatch.setattr(sun360, "CANONICAL_HASH", digest)
    path = tmp_path / "list.txt"
    path.write_bytes("\r\n".join(lines).encode())
    assert sun360.read_list(path).notes == ()
    path.write_text("\n".join(reversed(lines)))
    assert sun360.read_list(path).notes


def sun_root(tmp_path, count=40):
    listed = [
        f"{'indoor/cave' if i % 3 else 'outdoor/park'}/pano_{i:02d}.jpg" for i in range(count)
    ]
    listed = listed[::-1]
    put(tmp_path / "sun", *listed)
    path = tmp_path / "list.txt"
    path.write_text("\n".join(listed) + "\n")
    return tmp_path / "sun", path, listed


def test_the_first_tenth_of_the_list_validates(tmp_path):
    root, path, listed = sun_root(tmp_path)
    val = read(root, "sun360", "classification", "val", split_file=path)
    train = read(root, "sun360", "classification", "train", split_file=path)
    assert names(val) == listed[:4]
    assert names(train) == listed[4:]
    assert train.classes == val.classes == ("indoor/cave", "outdoor/park")
    for sample in val.samples + train.samples:
        assert train.classes[sample.label] in sample.name
    assert read(root, "sun360", "classification", "test", split_file=path) == val


def test_missing_listed_files_stop_or_are_left_out(tmp_path):
    root, path, listed = sun_root(tmp_path)
    for name in listed[10:17]:
        (root / name).unlink()
    with pytest.raises(DataError) as caught:
        read(root, "sun360", split_file=path)
    assert "7 of 36 listed files are missing" in str(caught.value)
    assert listed[14] in str(caught.value)
    assert listed[15] not in str(caught.value)
    assert "--skip-missing" in str(caught.value)
    images = read(root, "sun360", split_file=path, skip_missing=True)
    assert names(images) == listed[4:10] + listed[17:]
    assert "7 of 36 listed files are missing, and left out" in images.notes[0]
    # The split goes by the list, whatever is there.
    assert names(read(root, "sun360", split="val", split_file=path)) == listed[:4]


def test_without_a_list_a_fixed_shuffle_stands_in(tmp_path):
    root, _, listed = sun_root(tmp_path)
    put(root, "readme.png", "indoor/loose.jpg", "indoor/cave/deep/x.jpg", "other/cave/x.jpg")
    val, train = (read(root, "sun360", "classification", split) for split in ("val", "train"))
    assert sorted(names(val) + names(train)) == sorted(listed)
    assert len(val.samples) == 4
    assert "stands in for the authors' list" in val.notes[0]
    assert read(root, "sun360", "classification", "val") == val
    assert names(train) != sorted(names(train))


def test_the_shuffle_does_not_depend_on_the_order_of_the_file_system(tmp_path):
    listed = [f"indoor/cave/{i}.jpg" for i in range(30)]
    assert sun360.shuffled(listed, tmp_path) == sun360.shuffled(listed[::-1], tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "../../secret/a.jpg",
        "indoor/../a.jpg",
        "/indoor/a/b.jpg",
        "indoor/a.jpg",
        "park/a/b.jpg",
        "indoor\\a\\b.jpg",
    ],
)
def test_a_line_that_is_no_path_of_the_data_set_is_refused(tmp_path, line):
    path = tmp_path / "list.txt"
    path.write_text(f"indoor/cave/a.jpg\n{line}\n")
    with pytest.raises(DataError, match=r"list\.txt, line 2: expected a path"):
        sun360.read_list(path)


def test_a_list_with_an_image_twice_or_none_is_refused(tmp_path):
    """Twice, it could be trained on and judged."""
    path = tmp_path / "list.txt"
    path.write_text("indoor/cave/a.jpg\nindoor/cave/b.jpg\nindoor/cave/a.jpg\n")
    with pytest.raises(DataError, match=r"line 3: indoor/cave/a\.jpg a second time"):
        sun360.read_list(path)
    path.write_text("\n")
    with pytest.raises(DataError, match="expected an image a line"):
        sun360.read_list(path)
