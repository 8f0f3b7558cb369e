"""How a run learns: a batch of episodes is played, and policy and backbone learn from it.

`base` holds what every run shares: networks, optimisers, rates, evaluation, and what survives a restart.
`playing` is the update of a run that plays episodes, `alone` that of a backbone or teacher before there is
a policy.

Every process plays episodes of its own, with a replay buffer of its own. They keep one policy, one pair
of critics and one backbone, because all begin from the same weights and every gradient is averaged
over the processes before its step, as are the running statistics of the policy's batch norms after it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from adaglimpse.config import TrainConfig
from adaglimpse.data.layouts import ImageSet, read_images
from adaglimpse.data.training import training_loader
from adaglimpse.learner.alone import AloneLearner
from adaglimpse.learner.base import GlimpseLearner
from adaglimpse.learner.playing import PlayingLearner
from shared_core.commands import say
from shared_core.data.quarantine import Quarantine
from shared_core.launch.accelerator import accelerator as connect
from shared_core.training.loop import fit
from shared_core.training.run import Run, Summary

__all__ = [
    "AloneLearner",
    "GlimpseLearner",
    "PlayingLearner",
    "command",
    "learner_of",
    "train",
]


def learner_of(
    config: TrainConfig,
    images: Mapping[str, ImageSet],
    device: torch.device | str = "cpu",
    quarantine: Quarantine | None = None,
) -> GlimpseLearner:
    """The learner that a run's settings ask for.

    Args:
        config: the run's settings.
        images: training and validation images.
        device: where everything lies.
        quarantine: where validation images that cannot be used are listed.

    Raises:
        UserError: the settings or the weights that they name cannot be used.
    """
    alone = config.pretraining or config.teacher_pretraining
    kind = AloneLearner if alone else PlayingLearner
    return kind(config, images, device, quarantine)


def train(config: TrainConfig) -> Summary:
    """Train a model; everything it leaves lies in `config.run`.

    Raises:
        UserError: the data, the settings or the run folder cannot be used; says what to do.
    """
    accelerator = connect(config)
    quarantine = Quarantine(config.on_bad_row)
    images = {split: read_images(config, config.task, split) for split in ("train", "val")}
    learner = learner_of(config, images, accelerator.device, quarantine)
    if accelerator.is_main_process:
        for note in (*images["train"].notes, *images["val"].notes, *learner.notes):
            say(f"NOTE: {note}")
    loader = training_loader(
        config,
        images["train"],
        quarantine=quarantine,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        pin=accelerator.device.type == "cuda",
    )
    return fit(learner, loader, Run(config, accelerator, program="adaglimpse"))


def command(config: TrainConfig) -> None:
    """`adaglimpse train`."""
    train(config)
