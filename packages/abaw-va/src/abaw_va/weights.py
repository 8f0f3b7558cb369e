"""Checkpoints of the authors' code: one `.pth` file per sub-network and the options of the run.

The files `<folder>/<prefix>_net_<name>.pth` and `<folder>/train_opt.conf` become a `VaModel`, and
back. Sub-networks and their keys are named alike on both sides: nothing is renamed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from abaw_va.config import (
    Attending,
    Compat,
    ConvertConfig,
    TransformerAttention,
    TransformerLstm,
    VaModelConfig,
)
from abaw_va.data.videos import VideoSet, split_videos
from abaw_va.model.network import VaModel
from shared_core.checkpoints.weights import load_into, load_legacy
from shared_core.commands import say
from shared_core.config import from_dict
from shared_core.config.fields import kind_of
from shared_core.data.atomic import replacing
from shared_core.errors import CheckpointError, DataError, UsageError

OPTIONS_FILE = "train_opt.conf"

FIRST_LAYERS = {"seq": "affine.weight", "fc": "module.0.weight"}
"""Sub-networks that may read the features, and the weight that does."""


def from_upstream(
    folder: Path, prefix: str, *, data: Path | None = None, compat: Compat | None = None
) -> VaModel:
    """The network of one epoch of one of the authors' runs.

    Args:
        folder: the run's checkpoint folder.
        prefix: start of the files' names, the number of the epoch.
        data: data root with the features it was trained on, for a network that normalises some of
            them by `trn`: their mean and deviation are not in the authors' files.
        compat: quirks that the network keeps at inference; None: none of them.

    Raises:
        CheckpointError: a file is missing, unsafe or damaged, or does not fit the options.
        UsageError: the network needs `data`.
        DataError: the data root lacks a feature, or its features have other widths.
    """
    where = folder / OPTIONS_FILE
    options = _read_options(where)
    tree = _tree(options, where) | {"input_width": _input_width(folder, prefix)}
    try:
        config = from_dict(VaModelConfig, tree, where=str(where))
    except UsageError as error:
        raise CheckpointError(where, f"options of no known network ({error})") from error
    model = VaModel(replace(config, compat=compat or Compat()))
    for name, network in model.named_children():
        path = folder / f"{prefix}_net_{name}.pth"
        load_into(network, load_legacy(path), path=path)
    if config.normalise and config.norm_method == "trn":
        if data is None:
            raise UsageError(
                f"{where}: the network normalises {', '.join(config.normalise)} by the mean and "
                "deviation of its training frames, which the authors' files do not hold.\n"
                "Name the data root that it was trained on: --data."
            )
        model.set_statistics(*_statistics(data, config))
    return model.eval()


def _statistics(data: Path, config: VaModelConfig) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale of every column over the training frames of a data root."""
    videos = VideoSet(
        data, split_videos(data, "train"), config.features, normalise=config.normalise
    )
    if videos.width != config.input_width:
        widths = ", ".join(f"{f} {w}" for f, w in zip(config.features, videos.widths, strict=True))
        raise DataError(
            data,
            f"{videos.width} ({widths})",
            expected=f"features of {config.input_width} columns in all, as the network reads",
            remedy="Name the data root that the network was trained on.",
        )
    return videos.training_statistics()


def to_upstream(model: VaModel, folder: Path, prefix: str) -> None:
    """Write a network as the authors' code reads it.

    Raises:
        DataError: the folder cannot be written.
    """
    for name, network in model.named_children():
        with replacing(folder / f"{prefix}_net_{name}.pth") as temporary:
            torch.save(network.state_dict(), temporary)
    text = json.dumps(_options(model.config), indent=4)
    with replacing(folder / OPTIONS_FILE) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def transfer_encoder(model: VaModel, path: Path) -> None:
    """Start a transformer-lstm from the `_seq` file of a trained transformer, and freeze that part.

    The projection becomes the network's first layer, everything else its encoder. Where it was
    trained, the projection had no activation: `fc_activation` says whether it gets one here.

    Raises:
        CheckpointError: the file is unsafe or damaged, or its shapes are others.
    """
    trained = load_legacy(path)
    for network, part in (
        (model.fc, {f"module.0.{key}": value for key, value in _under("affine.", trained)}),
        (model.te, {key: value for key, value in trained.items() if not key.startswith("affine.")}),
    ):
        load_into(network, part, path=path)
        network.requires_grad_(False)


def _under(start: str, state: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    return [
        (key.removeprefix(start), value) for key, value in state.items() if key.startswith(start)
    ]


def _read_options(path: Path) -> dict[str, Any]:
    try:
        options = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            path,
            f"not readable ({error})",
            expected="the options of the run, which training writes beside its weights",
        ) from error
    if not isinstance(options, dict):
        raise CheckpointError(path, type(options).__name__, expected="options by name")
    return options


def _input_width(folder: Path, prefix: str) -> int:
    """Width of the features, from the weight that reads them."""
    for name, key in FIRST_LAYERS.items():
        path = folder / f"{prefix}_net_{name}.pth"
        state = load_legacy(path) if path.is_file() else {}
        if key in state and state[key].dim() == 2:
            return state[key].shape[1]
    expected = " or ".join(f"{prefix}_net_{name}.pth" for name in FIRST_LAYERS)
    raise CheckpointError(folder, "neither", expected=f"{expected} with a first layer")


def _tree(options: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """What the options say, in our words; types and ranges are checked by the config."""
    try:
        return {
            "model": _network(options),
            "features": _names(options["feature_set"]),
            "normalise": _names(options.get("norm_features")),
            "norm_method": options.get("norm_method", "trn"),
            "target": options["target"],
            "head": "distribution" if _has_classes(options) else "regression",
            "weighted_bins": options.get("cls_weighted", False),
        }
    except KeyError as error:
        raise CheckpointError(where, "none", expected=f"the option {error}") from error
    except (ValueError, TypeError) as error:
        raise CheckpointError(where, f"options of no known network ({error})") from error


def _has_classes(options: Mapping[str, Any]) -> bool:
    return bool(options.get("cls_loss")) or "ce" in options.get("loss_type", ())


def _network(options: Mapping[str, Any]) -> dict[str, Any]:
    kind = str(options["model"]).replace("_", "-")
    network = {
        "kind": kind,
        "chunk_length": options["max_seq_len"],
        "hidden_size": options["hidden_size"],
        "regressor": [int(width) for width in _names(options["regress_layers"])],
        "dropout": options["dropout_rate"],
    }
    if kind == "fclstm-xl":
        return network
    network |= {
        "layers": options["num_layers"],
        "heads": options["nhead"],
        "ffn_width": options["ffn_dim"],
        "position_encoding": options["use_pe"],
    }
    if kind == "transformer-lstm":
        network["residual"] = options["residual"] == "y"
    elif kind == "transformer-attention" and options["former_attention"] == "None":
        network["kind"] = "transformer"  # which it is without its memory
    elif kind == "transformer-attention":
        network |= {
            "attention": options["former_attention"],
            "block_length": options["mem_avg_len"],
            "memory_length": options["max_mem_len"],
        }
    return network


def _names(text: str | None) -> list[str]:
    """The parts of a list with commas; the authors write an empty one as the word None."""
    return [] if text in (None, "None") else [name.strip() for name in str(text).split(",")]


def _options(config: VaModelConfig) -> dict[str, Any]:
    model = config.model
    options: dict[str, Any] = {
        "model": kind_of(type(model)).replace("-", "_"),
        "dataset_mode": "seq",
        "feature_set": ",".join(config.features),
        "input_dim": config.input_width,
        "norm_features": ",".join(config.normalise) or "None",
        "norm_method": config.norm_method,
        "target": config.target,
        "max_seq_len": model.chunk_length,
        "hidden_size": config.hidden_size,
        "regress_layers": ",".join(str(width) for width in model.regressor),
        "dropout_rate": model.dropout,
        "cls_loss": config.head == "distribution",
        "cls_weighted": config.weighted_bins,
        "loss_type": ["batch_ccc"],
        "loss_weights": [1.0],
        "max_dataset_size": float("inf"),
    }
    if isinstance(model, Attending):
        options |= {
            "num_layers": model.layers,
            "nhead": model.heads,
            "ffn_dim": model.ffn_width,
            "use_pe": model.position_encoding,
        }
    if isinstance(model, TransformerLstm):
        options["residual"] = "y" if model.residual else "n"
    if isinstance(model, TransformerAttention):
        options |= {
            "former_attention": model.attention,
            "mem_avg_len": model.block_length,
            "max_mem_len": model.memory_length,
        }
    return options


def command(config: ConvertConfig) -> None:
    """`abaw-va convert`."""
    if config.back:
        to_upstream(VaModel.from_pretrained(config.source), config.out, config.prefix)
    else:
        model = from_upstream(config.source, config.prefix, data=config.data, compat=config.compat)
        model.save_pretrained(config.out)
    say(f"written to {config.out}")
