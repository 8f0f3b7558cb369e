"""Which images a data set has, for a task and a split: every layout, read into one form."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import torch

from adaglimpse.config import DataSettings, Split, Task
from adaglimpse.data import sun360
from adaglimpse.data.masks import ADE20K_CLASSES
from shared_core.data.images import SUFFIXES
from shared_core.data.loader import generator
from shared_core.data.tables import read_csv
from shared_core.errors import DataError

FOLDER_KEY = 360
"""Key of the order in which a folder's images become validation and training."""

OBJECTS = "objectInfo150.txt"
"""ADE20K's names of its classes."""


@dataclass(frozen=True)
class Sample:
    """One image of a data set.

    Attributes:
        name: its path below the data set's root, with forward slashes.
        image: the file.
        label: its class; -1: none.
        mask: the file of its label map; None: none.
    """

    name: str
    image: Path
    label: int = -1
    mask: Path | None = None


@dataclass(frozen=True)
class ImageSet:
    """The images of a split.

    Attributes:
        samples: sorted by name, except where a list has an order of its own.
        classes: names of the classes, in order; none for reconstruction.
        notes: what a user should know about how the images were chosen.
    """

    samples: tuple[Sample, ...]
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_images(settings: DataSettings, task: Task, split: Split) -> ImageSet:
    """Find the images of a split.

    Args:
        settings: the data set and its place.
        task: what is to be learnt; it decides whether there are labels, masks, or neither.
        split: a data set without test images is tested on those for validation.

    Raises:
        ConfigError: the data set is of no use for the task.
        DataError: a folder, a mask or a listed file is missing, there is no image, or a class is not
            in the list of classes.
    """
    settings.check_task(task)
    root = settings.data_dir
    if settings.dataset == "imagenet":
        return _imagenet(root, task, split)
    if settings.dataset == "coco2014":
        return _coco(root, split)
    if settings.dataset == "ade20k":
        return _ade20k(root, root, task, split)
    if settings.dataset == "ade20k-distilled":
        return _distilled(root, task, split)
    if settings.dataset == "sun360":
        return _sun360(settings, task, split)
    return _folder(root, split)


def _folder(root: Path, split: Split) -> ImageSet:
    """Any images: in folders for the splits, or together, when a fixed order deals them."""
    if (root / "train").is_dir() and (root / "val").is_dir():
        has_test = (root / "test").is_dir()
        return ImageSet(
            _samples(root, root / ("val" if split == "test" and not has_test else split))
        )
    samples = _samples(root, root)
    count = len(samples)
    if split == "test" and count < 10:
        return ImageSet(samples, notes=(f"{root}: all its {count} images are tested on.",))
    order = torch.randperm(count, generator=generator(FOLDER_KEY)).tolist()
    val = max(1, count // 10)
    if split == "train" and val == count:
        raise DataError(root, "one image", expected="two or more: one is for validation")
    chosen = order[val:] if split == "train" else order[:val]
    note = (
        f"{root} has no train and val folders: {val} of {count} images, always the same, validate."
    )
    return ImageSet(tuple(samples[i] for i in sorted(chosen)), notes=(note,))


def _coco(root: Path, split: Split) -> ImageSet:
    if split == "test" and not (root / "test2014").is_dir():
        return ImageSet(
            _samples(root, root / "val2014"),
            notes=(f"{root} has no test2014: val2014 is tested on.",),
        )
    return ImageSet(_samples(root, root / f"{split}2014"))


def _imagenet(root: Path, task: Task, split: Split) -> ImageSet:
    part = "train" if split == "train" else "val"
    samples = _samples(root, root / part)
    if task == "reconstruction":
        return ImageSet(samples)
    classes = tuple(sorted(_folders(root / "train")))
    labels = {name: label for label, name in enumerate(classes)}

    def labelled(sample: Sample) -> Sample:
        name = PurePosixPath(sample.name).parts[1]
        if name not in labels:
            raise DataError(
                sample.image,
                f"class {name!r}",
                expected=f"one of the {len(classes)} classes that {root / 'train'} lists",
            )
        return replace(sample, label=labels[name])

    return ImageSet(tuple(map(labelled, samples)), classes)


def _folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise DataError(folder, "there is no such folder")
    return [path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]


def _distilled(root: Path, task: Task, split: Split) -> ImageSet:
    """ImageNet's images, which a teacher is to label, and ADE20K's for validation."""
    home = root / "ADEChallengeData2016"
    if split != "train":
        return _ade20k(root, home, task, split)
    return ImageSet(_samples(root, root / "imagenet" / "train"), _ade20k_classes(home))


def _ade20k(root: Path, home: Path, task: Task, split: Split) -> ImageSet:
    """The images in `home`, which is the data set's root or lies below it."""
    part = "training" if split == "train" else "validation"
    folder = home / "images" / part
    samples = _samples(root, folder)
    if task == "reconstruction":
        return ImageSet(samples)
    masks = home / "annotations" / part
    paired = tuple(
        replace(s, mask=(masks / s.image.relative_to(folder)).with_suffix(".png")) for s in samples
    )
    absent = [str(s.mask) for s in paired if s.mask is not None and not s.mask.is_file()]
    if absent:
        raise _missing(
            masks, absent, len(paired), "masks", "Copy them there, or remove their images."
        )
    return ImageSet(paired, _ade20k_classes(home))


def _ade20k_classes(root: Path) -> tuple[str, ...]:
    """The first name of each class, where the data set brings its list; else their numbers."""
    path = root / OBJECTS
    if not path.is_file():
        return tuple(str(label) for label in range(1, ADE20K_CLASSES + 1))
    rows = read_csv(path, {"Idx": int, "Name": str}, delimiter="\t")
    names = {row.values["Idx"]: row.values["Name"].partition(",")[0] for row in rows}
    if sorted(names) != list(range(1, ADE20K_CLASSES + 1)):
        raise DataError(path, f"{len(names)}", expected=f"classes 1 to {ADE20K_CLASSES}")
    return tuple(names[label] for label in sorted(names))


def _sun360(settings: DataSettings, task: Task, split: Split) -> ImageSet:
    root = settings.data_dir
    if settings.split_file is None:
        found = sun360.shuffled([sample.name for sample in _samples(root, root)], root)
    else:
        found = sun360.read_list(settings.split_file)
    names, notes = found.of(split), found.notes
    absent = [name for name in names if not (root / name).is_file()]
    if absent and not settings.skip_missing:
        remedy = "Copy them there, or leave them out: --skip-missing."
        raise _missing(root, absent, len(names), "listed files", remedy)
    if absent:
        notes += (f"{root}: {len(absent)} of {len(names)} listed files are missing, and left out.",)
    gone = set(absent)
    classes = found.classes
    labels = {name: label for label, name in enumerate(classes)}
    samples = tuple(
        Sample(name, root / name, labels[sun360.class_of(name)] if task == "classification" else -1)
        for name in names
        if name not in gone
    )
    if not samples:
        raise DataError(root, "none", expected=f"images of the {split} split")
    return ImageSet(samples, classes if task == "classification" else (), notes)


def _missing(place: Path, absent: Sequence[str], count: int, what: str, remedy: str) -> DataError:
    first = ", ".join(absent[:5])
    return DataError(
        place, f"{len(absent)} of {count} {what} are missing, first {first}", remedy=remedy
    )


def _samples(root: Path, folder: Path) -> tuple[Sample, ...]:
    """The image files in a folder and in its inner folders, sorted by their names below the root."""
    if not folder.is_dir():
        raise DataError(folder, "there is no such folder")
    found = []
    for place, inner, files in os.walk(folder, followlinks=True):
        inner[:] = [name for name in inner if name[0] != "."]
        found += [
            Path(place, name)
            for name in files
            if name[0] != "." and PurePosixPath(name).suffix.lower() in SUFFIXES
        ]
    if not found:
        endings = ", ".join(sorted(SUFFIXES))
        raise DataError(folder, "none", expected=f"image files ({endings})")
    samples = [Sample(path.relative_to(root).as_posix(), path) for path in found]
    return tuple(sorted(samples, key=lambda sample: sample.name))
