"""What an update costs, for `gaze-da doctor --plan`: measured on drawn people in pictures of a usual size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PIL import Image

from gaze_da.config import TrainConfig
from gaze_da.data.training import opened, people_of, training_loader
from gaze_da.learner import GazeLearner
from gaze_da.synthetic import Style, write_domain
from shared_core.launch.plan_measure import Cost, Trial, measure

SIZE = (640, 480)
"""Width and height that pictures and depth are enlarged to: most of GazeFollow's are about so large."""

FEWEST = 8
"""Pictures of a domain; each has one person or more."""


def made_up(config: TrainConfig, folder: Path, items: int) -> TrainConfig:
    """Draw pictures with `items` people or more in each domain; returns the settings that read them.

    Args:
        config: of the run; its data and initial weights are not read.
        folder: an empty one.
        items: people of an epoch.
    """
    _draw(folder / "source", "flat", max(FEWEST, items))
    if config.adapts:
        _draw(folder / "target", "grainy", max(FEWEST, items))
    return replace(
        config,
        source_dataset="gazefollow",
        source_dataset_dir=folder / "source",
        target_dataset=None,
        target_dataset_dir=folder / "target" if config.adapts else None,
        init_weights=None,
    )


def cost(config: TrainConfig, folder: Path) -> Cost:
    """Make a few updates of `config.batch_size` drawn people, of each domain."""
    config = made_up(config, folder, config.batch_size)
    target = None
    if config.adapts:
        target = opened(config, people_of(config, "target", "train").samples, training=True)
    people = people_of(config, "source", "train").samples
    learner = GazeLearner(config, opened(config, people[:1]))
    sizes = [file.stat().st_size for file in folder.rglob("*.jpg")]
    files_of_an_item = 4 if config.adapts else 2  # a picture and its depth, of each domain
    trial = Trial(
        unit="people",
        learner=learner,
        loader=training_loader(config, opened(config, people, training=True), target),
        read_bytes=files_of_an_item * sum(sizes) / len(sizes),
        notes=(f"pictures and depth of {SIZE[0]} x {SIZE[1]} pixels, JPEG",),
    )
    return measure(trial, config)


def _draw(root: Path, style: Style, pictures: int) -> None:
    write_domain(root, style, {"train": pictures, "test": 2})
    for file in root.rglob("*.jpg"):
        with Image.open(file) as picture:
            picture.resize(SIZE).save(file, quality=92)
