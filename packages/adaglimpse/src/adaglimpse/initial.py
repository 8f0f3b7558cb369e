"""The networks that a run begins with."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from adaglimpse.config import TrainConfig
from adaglimpse.method.sac import Sac, load_sac, model_folder
from adaglimpse.model.network import GlimpseModel
from adaglimpse.teachers import deeplab_teacher, new_deeplab, vit_teacher
from adaglimpse.weights import load_backbone
from shared_core.checkpoints.weights import load_into
from shared_core.training.seeding import seed_everything


class Networks(NamedTuple):
    """What is taught, and who teaches it.

    Attributes:
        network: backbone and policy.
        sac: critics and temperature.
        teacher: of the backbone, or to be trained itself; None: there is none.
        looks: whether the policy has been trained before.
        notes: what the user should know about where their weights come from.
    """

    network: GlimpseModel
    sac: Sac
    teacher: nn.Module | None
    looks: bool
    notes: list[str]


def initial_networks(
    config: TrainConfig, classes: tuple[str, ...], device: torch.device
) -> Networks:
    """Networks on a device, from the seed and from the files that the settings name.

    Args:
        config: the run's settings.
        classes: of the data.
        device: where they are to lie; optimisers are made of them afterwards.

    Raises:
        CheckpointError: a file is unsafe or damaged, or of another model.
    """
    seed_everything(config.seed)
    network = GlimpseModel(config.for_model(max(1, len(classes)), classes))
    critic = network.new_critic()
    notes: list[str] = []
    whole, looks = config.pretrained_checkpoint, False
    if whole is not None:
        earlier = GlimpseModel.from_pretrained(whole)
        load_into(network, earlier.state_dict(), path=whole)
        looks = earlier.config.trained
    elif config.pretrained_mae_path is not None:
        notes += load_backbone(network.mae, config.pretrained_mae_path)
    if config.freeze_encoder:
        network.mae.freeze_encoder()
    network.to(device)
    sac = Sac(
        network.actor,
        critic,
        distance=config.rl_loss_function,
        target_entropy=config.rl_target_entropy,
        alpha_init=config.rl_alpha_init,
    )
    if whole is not None and not load_sac(model_folder(Path(whole)), sac):
        notes.append(f"{whole}: it has no critics; they begin anew")
    sac.to_device(device)
    teacher = _teacher(config, len(classes))
    teacher = None if teacher is None else teacher.to(device)
    return Networks(network, sac, teacher, looks, notes)


def _teacher(config: TrainConfig, classes: int) -> nn.Module | None:
    if config.teacher_pretraining:
        return new_deeplab(classes, config.teacher_path)
    if config.teacher_type is None or config.teacher_path is None:
        return None
    if config.teacher_type == "vit":
        return vit_teacher(config.teacher_path, classes)
    return deeplab_teacher(config.teacher_path, classes)
