"""What an update costs, for `abaw-va doctor --plan`: measured on features of random numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from abaw_va.config import TrainConfig
from abaw_va.data.training import training_loader, video_sets
from abaw_va.learner import VaLearner
from abaw_va.synthetic import write_random_root
from shared_core.launch.plan_measure import Cost, Trial, measure

WIDTHS = {
    "affectnet": 342, "vggish": 128, "wav2vec": 768, "compare": 130, "egemaps": 23,
    "pixels": 256, "logmel": 64,
}  # fmt: skip
"""Channels of the features that `extract` makes."""

OTHER_WIDTH = 512
"""Of a feature that has another name."""

CHUNKS_OF_A_VIDEO = 8


def made_up(config: TrainConfig, folder: Path, items: int) -> TrainConfig:
    """Write features for about `items` chunks; returns the settings that read them.

    Args:
        config: of the run; its data and initial weights are not read.
        folder: an empty one.
        items: chunks of an epoch.
    """
    length = config.model.chunk_length
    videos = max(config.batch_size, -(-items // CHUNKS_OF_A_VIDEO))
    splits = {
        "train": {f"video{n}": CHUNKS_OF_A_VIDEO * length for n in range(videos)},
        "val": {"val0": length},
    }
    write_random_root(folder, splits, _widths(config))
    return replace(config, data=folder, fold=None, pretrained_encoder=None)


def cost(config: TrainConfig, folder: Path) -> Cost:
    """Make a few updates of `config.batch_size` chunks of made-up features."""
    config = made_up(config, folder, config.batch_size)
    train, val = video_sets(config)
    learner = VaLearner(config, train, val)
    length = config.model.chunk_length
    guessed = sorted(set(config.features) - set(WIDTHS))
    trial = Trial(
        unit="chunks",
        learner=learner,
        loader=training_loader(config, train, carries_state=learner.network.carries_state),
        read_bytes=4.0 * length * sum(_widths(config).values()),
        notes=(
            f"a chunk is {length} frames; features are counted as fp32",
            *(f"{name}: taken for {OTHER_WIDTH} channels wide" for name in guessed),
        ),
    )
    return measure(trial, config)


def _widths(config: TrainConfig) -> dict[str, int]:
    return {name: WIDTHS.get(name, OTHER_WIDTH) for name in config.features}
