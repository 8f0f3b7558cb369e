"""What can be chosen of a data set: its layout, its place, its split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from adaglimpse.config.model import Task
from shared_core.config import setting
from shared_core.errors import ConfigError

DatasetName = Literal["folder", "imagenet", "coco2014", "ade20k", "ade20k-distilled", "sun360"]
Split = Literal["train", "val", "test"]

TASKS_OF: dict[DatasetName, tuple[Task, ...]] = {
    "folder": ("reconstruction",),
    "imagenet": ("reconstruction", "classification"),
    "coco2014": ("reconstruction",),
    "ade20k": ("reconstruction", "segmentation"),
    "ade20k-distilled": ("segmentation",),
    "sun360": ("reconstruction", "classification"),
}
"""What can be learnt on each."""

Augmentation = Literal["flip", "crop", "three", "segmentation"]

AUGMENTATIONS: dict[tuple[DatasetName, Task], Augmentation] = {
    ("folder", "reconstruction"): "crop",
    ("coco2014", "reconstruction"): "crop",
    ("ade20k", "reconstruction"): "crop",
    ("sun360", "reconstruction"): "flip",
    ("sun360", "classification"): "flip",
    ("imagenet", "reconstruction"): "three",
    ("imagenet", "classification"): "three",
    ("ade20k", "segmentation"): "segmentation",
    ("ade20k-distilled", "segmentation"): "three",
}
"""How training images are changed at random: mirrored, also cropped, as ImageNet's with three kinds of
colour, or together with their masks."""


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which images, of which data set."""

    data_dir: Path
    """Root of the data set, in its published layout."""
    dataset: DatasetName = "folder"
    """Layout: any folder of images, ImageNet's (`train/<class>/`, `val/<class>/`), COCO 2014's, ADE20K's
    (ADEChallengeData2016), ADE20K's with ImageNet's images for a teacher to label, or SUN360's."""
    split_file: Path | None = None
    """SUN360: the list of its files, an image a line, the first tenth for validation; none: all files,
    sorted and shuffled by a fixed key."""
    skip_missing: bool = False
    """Leave out files of the list that are not there, instead of stopping."""
    labels_above: Literal["ignore", "clip"] = "ignore"
    """ADE20K: a label above 150 does not count, or becomes the last class as in the authors' code."""
    on_bad_row: Literal["raise", "quarantine"] = "raise"
    """An image that cannot be used stops the command, or is left out and listed."""
    in_memory: bool = setting(False, changes_numbers=False)
    """Keep every image in memory once it is decoded, in each loader process."""
    workers: int = setting(0, changes_numbers=False)
    """Loader processes for each process; the data drawn does not depend on it."""

    def check_task(self, task: Task) -> None:
        """Refuse a task that the data set has no answers for.

        Raises:
            ConfigError: names what it is good for.
        """
        if task not in TASKS_OF[self.dataset]:
            raise ConfigError(
                "task", task, f"{' or '.join(TASKS_OF[self.dataset])} ({self.dataset})"
            )
