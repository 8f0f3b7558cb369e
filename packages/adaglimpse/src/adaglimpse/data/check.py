"""`prepare check`: a look at every image and mask of a data set; lists all that cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial

import numpy as np
from rich.console import Console
from rich.progress import track

from adaglimpse.config import CheckConfig, Split, Task
from adaglimpse.data.layouts import ImageSet, Sample, read_images
from adaglimpse.data.masks import ADE20K_CLASSES, IGNORED, class_indices, read_labels
from shared_core.commands import say
from shared_core.data.images import open_picture
from shared_core.data.tables import write_json
from shared_core.errors import DataError

SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Found:
    """What a look at one split came to.

    Attributes:
        images: files of the split.
        usable: those that can be used.
        smallest: least width and least height of the usable ones, pixels.
        largest: most width and most height.
        classes: images of each class, or pixels for segmentation; classes without any are left out.
        labels_above: pixels with a label above ADE20K's 150.
        notes: how the images were chosen.
        problems: what cannot be used, a sentence each.
    """

    images: int = 0
    usable: int = 0
    smallest: tuple[int, int] | None = None
    largest: tuple[int, int] | None = None
    classes: dict[str, int] = field(default_factory=dict)
    labels_above: int = 0
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Looked:
    """What one image has: width and height, images or pixels of each class, pixels labelled too high."""

    size: tuple[int, int]
    classes: Counter[int] = field(default_factory=Counter)
    labels_above: int = 0


def check(config: CheckConfig, split: Split) -> Found:
    """Look at every image of a split, and its mask."""
    try:
        images = read_images(config, config.task, split)
    except DataError as error:
        return Found(problems=[str(error)])
    console = Console(stderr=True)
    with ThreadPoolExecutor(max(1, config.workers)) as threads:
        looked = list(
            track(
                threads.map(partial(_look, task=config.task), images.samples),
                split,
                len(images.samples),
                console=console,
                transient=True,
                disable=not console.is_terminal,
            )
        )
    return _summed(looked, images)


def _look(sample: Sample, task: Task) -> _Looked | str:
    """What an image has, or what is wrong with it."""
    try:
        picture = open_picture(sample.image, upright=task != "segmentation")
        if sample.mask is None:
            return _Looked(picture.size, Counter([sample.label] if sample.label >= 0 else []))
        labels = read_labels(sample.mask, sample.image, picture.size)
    except DataError as error:
        return str(error)
    classes = class_indices(labels, "ignore")
    counts = np.bincount(classes[classes != IGNORED], minlength=ADE20K_CLASSES).tolist()
    above = int((labels > ADE20K_CLASSES).sum())
    return _Looked(picture.size, Counter(dict(enumerate(counts))), above)


def _summed(looked: Sequence[_Looked | str], images: ImageSet) -> Found:
    usable = [one for one in looked if isinstance(one, _Looked)]
    widths, heights = [one.size[0] for one in usable], [one.size[1] for one in usable]
    counts = sum((one.classes for one in usable), Counter[int]())
    return Found(
        images=len(looked),
        usable=len(usable),
        smallest=(min(widths), min(heights)) if usable else None,
        largest=(max(widths), max(heights)) if usable else None,
        classes={name: counts[i] for i, name in enumerate(images.classes) if counts[i]},
        labels_above=sum(one.labels_above for one in usable),
        notes=list(images.notes),
        problems=[one for one in looked if isinstance(one, str)],
    )


def command(config: CheckConfig) -> int:
    """`adaglimpse prepare check`; 1 where something cannot be used."""
    config.check_task(config.task)
    found = {split: check(config, split) for split in SPLITS}
    for split, of_split in found.items():
        say(
            f"{split:<6} {of_split.usable:>9} of {of_split.images} images can be used, "
            f"{len(of_split.classes)} classes, {_range(of_split)}"
        )
    told = [line for of_split in found.values() for line in of_split.notes + of_split.problems]
    for line in dict.fromkeys(told):  # validation and test are often the same images
        say(line)
    if config.out is not None:
        write_json(config.out, {split: asdict(of_split) for split, of_split in found.items()})
        say(f"written to {config.out}")
    return int(any(of_split.problems for of_split in found.values()))


def _range(found: Found) -> str:
    if found.smallest is None or found.largest is None:
        return "no sizes"
    return (
        f"{found.smallest[0]}x{found.smallest[1]} to {found.largest[0]}x{found.largest[1]} pixels"
    )
