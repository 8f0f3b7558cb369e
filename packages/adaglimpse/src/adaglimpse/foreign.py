"""Files of weights that somebody else made: what is in them, and how a backbone takes it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adaglimpse.config import PATCH, SIZES, BackboneSize
from adaglimpse.model.mae import ElasticMae
from shared_core.checkpoints.weights import (
    NUMPY_SCALARS,
    load_into,
    load_weights,
    read_legacy,
    weights_in,
)
from shared_core.errors import CheckpointError

MASK_CLASSES = 150
"""Of ADE20K, where a file does not say how many it has."""

_NOT_TENSORS = ("__batch_size", "__device")
"""Ends of names under which the authors' version of torchrl keeps what is no tensor."""

_CODES = ("pos_embed", "decoder_pos_embed")
_FITTED = ("head.", "decoder_pred.", "decoder_segment.conv_head.19.")
"""Last layers, whose size is the task's."""
_OPTIONAL = ("head.*", "mask_token", "decoder*", *_CODES)


class Foreign(NamedTuple):
    """What a file holds.

    Attributes:
        state: weights, by the file's names.
        settings: what a Lightning checkpoint says of its training; empty in other files.
    """

    state: dict[str, Tensor]
    settings: Mapping[str, Any]


def read_foreign(path: Path) -> Foreign:
    """Read a Lightning checkpoint, a `.pth` or a safetensors file, running no code from it.

    Raises:
        CheckpointError: it is unsafe or damaged, or holds no weights.
    """
    if path.suffix == ".safetensors":
        return Foreign(load_weights(path), {})
    content = read_legacy(path, classes=(*NUMPY_SCALARS, argparse.Namespace))
    settings = content.get("hyper_parameters") if isinstance(content, Mapping) else None
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        entries = content["state_dict"].items()
        content = {name: value for name, value in entries if not str(name).endswith(_NOT_TENSORS)}
    state = weights_in(content, path)
    if not state:
        raise CheckpointError(path, "none", expected="weights")
    return Foreign(state, settings if isinstance(settings, Mapping) else {})


def part(state: Mapping[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    """The weights under the first of these prefixes that any name has, without it."""
    for prefix in prefixes:
        length = len(prefix)
        if found := {name[length:]: state[name] for name in state if name.startswith(prefix)}:
            return found
    return {}


def backbone_size(state: Mapping[str, Tensor], path: Path) -> BackboneSize:
    """Which backbone has a class token of this width.

    Raises:
        CheckpointError: none has, or there is no class token; names what there is.
    """
    widths = {sizes.width: name for name, sizes in SIZES.items()}
    token = state.get("cls_token")
    if token is None:
        raise CheckpointError(
            path,
            f"weights named {', '.join(sorted(state)[:8])}" if state else "no backbone",
            expected="the weights of a ViT (cls_token, patch_embed.proj.weight, ...)",
        )
    if token.dim() != 3 or token.shape[-1] not in widths:
        raise CheckpointError(
            path,
            f"cls_token {list(token.shape)}",
            expected=f"a width of {', '.join(map(str, widths))}",
        )
    return widths[token.shape[-1]]


def square_side(positions: Tensor | None) -> int | None:
    """Side in pixels of the square image whose patches have these position codes [1, N, D]."""
    if positions is None or positions.dim() != 3:
        return None
    side = math.isqrt(positions.shape[1])
    return side * PATCH if side * side == positions.shape[1] else None


def lay_over(mae: ElasticMae, state: Mapping[str, Tensor], path: Path) -> list[str]:
    """Put weights into a backbone whose decoder and last layers may be others.

    Position codes are not taken: they follow from boxes. Scales `gamma_1` and `gamma_2` that the file's
    blocks lack are 1.

    Args:
        mae: changed in place.
        state: weights by its names.
        path: where they came from, for messages.

    Returns:
        What the user has to know, a clause each.

    Raises:
        CheckpointError: they do not match, lists the names; the backbone is then unchanged.
    """
    own = mae.state_dict()
    taken = dict(state)
    notes = []
    for name in _CODES:
        code = taken.pop(name, None)
        if code is not None and name in own and not _same(code, own[name]):
            notes.append(f"its position code {name} is not used: it follows from boxes")
    for prefix in _FITTED:
        names = [name for name in taken if name.startswith(prefix) and name in own]
        if any(taken[name].shape != own[name].shape for name in names):
            shapes = ", ".join(f"{name} {list(taken.pop(name).shape)}" for name in names)
            notes.append(f"its last layer is not taken, it is of another size: {shapes}")
    scales = [name for name in own if _lacks_scale(name, taken)]
    if scales:
        taken |= {name: torch.ones_like(own[name]) for name in scales}
        notes.append("it has no gamma_1 and gamma_2: they are 1")
    load_into(mae, taken, path=path, optional=_OPTIONAL)
    if absent := _parts(name for name in own if name not in taken and name not in _CODES):
        notes.append(f"not in it, left as they were: {absent}")
    if spare := _parts(name for name in taken if name not in own):
        notes.append(f"not taken, this model has none: {spare}")
    return notes


def _same(code: Tensor, own: Tensor) -> bool:
    return code.shape == own.shape and torch.allclose(code.float(), own, atol=1e-5)


def _lacks_scale(name: str, state: Mapping[str, Tensor]) -> bool:
    """Whether this is the scale of a branch of a block that is there without it."""
    block, _, last = name.rpartition(".")
    return last in ("gamma_1", "gamma_2") and name not in state and f"{block}.norm1.weight" in state


def _parts(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))
