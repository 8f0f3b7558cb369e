"""Weights of others: the authors' checkpoints, and torchvision's ResNet-18."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from asal_vrvqa.config import ConvertConfig, Network, QualityModelConfig, TrainConfig
from asal_vrvqa.model.backbone import Plane, ResNet18
from asal_vrvqa.model.initial import initialise
from asal_vrvqa.model.network import QualityModel
from shared_core.checkpoints.weights import (
    NUMPY_SCALARS,
    load_into,
    load_weights,
    read_legacy,
    weights_in,
)
from shared_core.commands import say
from shared_core.data.loader import generator
from shared_core.errors import CheckpointError, ConfigError

BACKBONE = "feature_extractor.backbone."
OPTIONAL = ("adapter.*", "projector.*", "regressor.*")
"""Parts that a network may have and a file of initial weights may lack, or the other way round."""

UNTRAINED = (
    "it holds a backbone alone: the regressor is drawn at random and its scores mean nothing"
)

_STEM = BACKBONE + "conv1.weight"
_CLASSIFIER = "fc."  # torchvision's, which is not taken

_log = logging.getLogger(__name__)


def from_upstream(path: Path, parts: int = 16) -> QualityModel:
    """The network whose weights somebody else's file holds, in evaluation mode.

    Args:
        path: a checkpoint of the authors (best, last or of a task), or torchvision's ResNet-18.
        parts: bands of latitude; the file does not say (authors: 16).

    Raises:
        CheckpointError: the file is unsafe or damaged, or holds something else.
    """
    model, notes = _converted(path, parts)
    for note in notes:
        _log.warning("%s: %s", path, note)
    return model


def imagenet_backbone(path: Path) -> ResNet18:
    """Torchvision's ResNet-18 on the flat picture, without its classifier, in evaluation mode.

    Raises:
        CheckpointError: the file is unsafe or damaged, or holds something else.
    """
    state = {name.removeprefix(BACKBONE): value for name, value in _read(path).items()}
    backbone = ResNet18(Plane(), state["conv1.weight"].shape[0] if "conv1.weight" in state else 64)
    load_into(backbone, state, path=path)
    return backbone.eval().requires_grad_(False)


def fresh_weights(network: QualityModel, config: TrainConfig, *key: int) -> list[str]:
    """Begin anew: weights drawn from the seed and a key, then those of the settings' file.

    Returns:
        Notes about the file.
    """
    initialise(network, generator(config.seed, *key))
    return [] if config.init_weights is None else load_initial(network, config.init_weights)


def load_initial(model: QualityModel, path: Path) -> list[str]:
    """Start a network from a file, or from a model or run folder; what is not in it stays as it is.

    Args:
        model: changed in place.
        path: torchvision's ResNet-18, the authors' checkpoint, or the folder of a model or a run.

    Returns:
        What the user has to know, a clause each.

    Raises:
        CheckpointError: it cannot be read, or holds something else; the network is then unchanged.
    """
    state = QualityModel.from_pretrained(path).state_dict() if path.is_dir() else _read(path)
    load_into(model, state, path=path, optional=OPTIONAL)
    own = {name.partition(".")[0] for name in model.state_dict()}
    found = {name.partition(".")[0] for name in state}
    notes = [f"{path}: its {part} is not taken" for part in sorted(found - own)]
    return notes + [f"{path}: it has no {part}, which begins anew" for part in sorted(own - found)]


def _converted(path: Path, parts: int) -> tuple[QualityModel, list[str]]:
    state = _read(path)
    if _STEM not in state:
        raise CheckpointError(
            path,
            f"names such as {', '.join(sorted(state)[:3])}",
            expected="a checkpoint of ASAL, or torchvision's ResNet-18",
        )
    trained = any(name.startswith("regressor.") for name in state)
    config = QualityModelConfig(network=_network(state, parts, path), trained=trained)
    model = QualityModel(config)
    initialise(model, torch.Generator().manual_seed(0))
    load_into(model, state, path=path, optional=() if trained else ("regressor.*",))
    return model.eval(), [] if trained else [UNTRAINED]


def _read(path: Path) -> dict[str, Tensor]:
    """Weights by our names."""
    if path.suffix == ".safetensors":
        state = load_weights(path)
    else:
        state = weights_in(read_legacy(path, classes=NUMPY_SCALARS), path)
    if state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    if "layer1.0.conv1.weight" in state:
        state = {
            BACKBONE + name: value
            for name, value in state.items()
            if not name.startswith(_CLASSIFIER)
        }
    return state


def _network(state: Mapping[str, Tensor], parts: int, path: Path) -> Network:
    """Sizes as the shapes say; height and width are those that the parts ask for."""
    mixture = state.get("adapter.T")
    try:
        network = Network(
            channels=state[_STEM].shape[0],
            parts=parts,
            height=32 * parts,
            width=64 * parts,
            regressor="mlp" if "regressor.mlp1.weight" in state else "gaussian",
            adapter=mixture is not None,
            projector="projector.fc1.weight" in state,
        )
        if mixture is not None and mixture.dim() == 2:
            network = replace(network, key_frames=mixture.shape[0], frames=mixture.shape[1])
    except ConfigError as error:
        raise CheckpointError(path, f"sizes of no network that can be ({error})") from error
    return network


def command(config: ConvertConfig) -> None:
    """`asal-vrvqa convert`."""
    notes: list[str] = []
    if config.source.is_dir():
        model = QualityModel.from_pretrained(config.source)
    else:
        model, notes = _converted(config.source, config.parts)
    for note in notes:
        say(f"NOTE: {note}")
    if config.to == "model":
        model.save_pretrained(config.out)
    else:
        from asal_vrvqa.export import export  # ONNX needs an extra

        say(f"graph and model differ by at most {export(model, config.out, config.to):.1e}")
    say(f"written to {config.out}")
