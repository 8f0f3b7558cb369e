"""The learning rate from epoch to epoch."""

from __future__ import annotations

import math

from abaw_va.config import TrainConfig
from shared_core.training.schedules import Progress, cosine, linear_decay, plateau, step_decay


def rate_factor(config: TrainConfig, progress: Progress) -> float:
    """Factor on the base learning rate, by `config.lr_policy`.

    linear: 1, then down to 1 / (decay epochs + 1); linear-warmup: up to 1, then down to 1 / (decay
    epochs); step: a tenth every `step_epochs`; plateau: a fifth after more than five evaluations
    without a gain of 0.01; cosine: half a cosine over the whole run. Decay epochs are those that
    follow `constant_epochs`.
    """
    decay_epochs = max(0, config.epochs - config.constant_epochs)
    match config.lr_policy:
        case "linear":
            return linear_decay(progress, config.constant_epochs, decay_epochs)
        case "linear-warmup":
            return _warmup(progress.epoch, config)
        case "step":
            return step_decay(progress, config.step_epochs)
        case "plateau":
            return plateau(progress.scores)
        case "cosine" if config.compat.schedule:
            # Half a cosine over the constant epochs alone: it rises again in the epochs after them.
            return (1 + math.cos(math.pi * progress.epoch / max(1, config.constant_epochs))) / 2
        case "cosine":
            return cosine(progress, config.epochs)


def _warmup(epoch: int, config: TrainConfig) -> float:
    """Up in equal parts over `constant_epochs`, then down; the authors' rise begins at 0."""
    rise = config.constant_epochs
    if epoch < rise:
        return (epoch if config.compat.schedule else epoch + 1) / rise
    return max(0, config.epochs - epoch) / max(1, config.epochs - rise)
