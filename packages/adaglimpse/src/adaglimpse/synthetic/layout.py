"""Drawn scenes as a data set in the published layout of its task."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from adaglimpse.config import Task
from adaglimpse.synthetic.backgrounds import GROUNDS, Part
from adaglimpse.synthetic.badges import MARKS
from adaglimpse.synthetic.scenes import Kind, Scene, compose


def write_dataset(
    root: Path,
    task: Task,
    *,
    train: int,
    val: int,
    size: int = 64,
    seed: int,
    kind: Kind = "near",
) -> tuple[str, ...]:
    """Write a data set; each task shows the same scenes.

    Classification has ImageNet's layout, segmentation ADE20K's, and reconstruction a folder of images
    for each split.

    Args:
        root: folder to write.
        task: what its scenes are to be used for.
        train: how many training scenes; the classes differ by one at most.
        val: how many validation scenes; they show other parts of the photographs.
        size: pixels of a scene's side, 32 or more.
        seed: key of everything random; one seed, one data set.
        kind: how near one has to look.

    Returns:
        The classes, in the order of their labels; of a reconstruction none.
    """
    counts: dict[Part, int] = {"train": train, "val": val}
    for part, count in counts.items():
        for number in range(count):
            scene = compose(number, part=part, size=size, seed=seed, kind=kind)
            for path, pixels in _files(scene, task, part, f"{number:05d}.png"):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(root / path, compress_level=1)
    if task == "reconstruction":
        return ()
    return (*MARKS, *GROUNDS) if task == "segmentation" else (*MARKS,)


def _files(
    scene: Scene, task: Task, part: Part, name: str
) -> Iterator[tuple[Path, UInt8[np.ndarray, "..."]]]:
    """Where a scene's files belong below the root, and their pixels."""
    if task == "segmentation":
        folder = {"train": "training", "val": "validation"}[part]
        yield Path("images", folder, name), scene.picture
        yield Path("annotations", folder, name), scene.labels
    elif task == "classification":
        yield Path(part, scene.badge.mark, name), scene.picture
    else:
        yield Path(part, name), scene.picture
