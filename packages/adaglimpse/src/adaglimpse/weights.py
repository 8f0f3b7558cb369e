"""Weights of others: checkpoints of AdaGlimpse's authors, MAE's backbones, teachers.

Whatever the file, its names become ours and are laid over a network. A checkpoint must fill its model to
the last name; a backbone may lack decoder and head, which is said. Names that nobody knows are an error.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from adaglimpse.config import (
    IMAGENET_CLASSES,
    RL_INPUTS,
    ConvertConfig,
    GlimpseModelConfig,
    RlInput,
    Task,
)
from adaglimpse.foreign import (
    MASK_CLASSES,
    Foreign,
    backbone_size,
    lay_over,
    part,
    read_foreign,
    square_side,
)
from adaglimpse.method.sac import FILE, Sac, save_sac
from adaglimpse.model.mae import ElasticMae
from adaglimpse.model.network import GlimpseModel
from shared_core.checkpoints.weights import load_into, save_weights
from shared_core.commands import say
from shared_core.data.atomic import replacing
from shared_core.errors import CheckpointError, ConfigError

UNTRAINED = (
    "it holds a backbone that nobody taught where to look: the policy is drawn at random, and so are "
    "the glimpses that it chooses"
)

_MAE = ("mae._orig_mod.", "mae.", "_orig_mod.", "module.", "")
_ACTOR = (
    "rl_loss_module.actor_network_params.module.0.module.",
    "actor_critic.actor_net.",
    "actor_critic.policy_module.module.0.module.",
)
_SAC = {
    "critics.module.": "rl_loss_module.qvalue_network_params.module.",
    "targets.module.": "rl_loss_module.target_qvalue_network_params.module.",
    "log_alpha": "rl_loss_module.log_alpha",
}
"""Beginnings of our names, and of theirs. The checkpoint's `qvalue_net` is a template that never learnt."""

_KNOWN = ("mae.", "actor_critic.", "rl_loss_module.", "teacher_model.", "teacher.")
"""Beginnings of all names in a checkpoint."""

_CHECKPOINT = "a checkpoint of AdaGlimpse (mae.*, actor_critic.*, rl_loss_module.*)"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Glimpses:
    """What a model's file of weights alone does not say.

    Attributes:
        task: of a model that is made from a backbone alone; a checkpoint says it itself.
        num_glimpses: of an episode; None: as the checkpoint says, or 14.
        glimpse_grid_size: patches along a glimpse's side; None: as the checkpoint says, or 2.
        max_glimpse_size_ratio: of the largest glimpse; None: as the checkpoint says, or 1.
    """

    task: Task = "reconstruction"
    num_glimpses: int | None = None
    glimpse_grid_size: int | None = None
    max_glimpse_size_ratio: float | None = None


class _Converted(NamedTuple):
    """A model in evaluation mode, what `Sac.state_dict` gives (None without), and what is to be said."""

    model: GlimpseModel
    sac: dict[str, Tensor] | None
    notes: list[str]


def from_upstream(path: Path, glimpses: Glimpses | None = None) -> GlimpseModel:
    """The model whose weights somebody else's file holds, in evaluation mode.

    Sizes, task, classes and what the policy sees follow from the names and shapes in the file. What the
    user has to know, such as parts that begin at random, is logged as a warning.

    Args:
        path: a Lightning checkpoint of the authors, or a `.pth` or safetensors file of MAE.
        glimpses: what the file does not say.

    Raises:
        CheckpointError: the file is unsafe or damaged, or does not match; lists the names.
    """
    converted = _converted(read_foreign(path), path, glimpses or Glimpses())
    for note in converted.notes:
        _log.warning("%s: %s", path, note)
    return converted.model


def load_backbone(mae: ElasticMae, path: Path) -> list[str]:
    """Start a backbone from a file or a folder; parts that are not in it stay as they are.

    Position codes are never taken: they follow from boxes. Without `gamma_1` and `gamma_2` these are 1.

    Args:
        mae: changed in place.
        path: the folder of a model or a run, a Lightning checkpoint, or a file of MAE.

    Returns:
        What the user has to know, a clause each.

    Raises:
        CheckpointError: it is unsafe or damaged, or does not match; the backbone is then unchanged.
    """
    if path.is_dir():
        state: Mapping[str, Tensor] = GlimpseModel.from_pretrained(path).mae.state_dict()
    else:
        state = part(read_foreign(path).state, *_MAE)
    return lay_over(mae, state, path)


def _converted(found: Foreign, path: Path, glimpses: Glimpses) -> _Converted:
    actor = part(found.state, *_ACTOR)
    if actor:
        return _from_checkpoint(found, actor, path, glimpses)
    state = part(found.state, *_MAE)
    config = _config(state, {}, path, glimpses, {"trained": False})
    with torch.random.fork_rng(devices=[]):  # converting must not move anyone's random numbers
        torch.manual_seed(0)
        model = GlimpseModel(config)
    return _Converted(model.eval(), None, [*lay_over(model.mae, state, path), UNTRAINED])


def _from_checkpoint(
    found: Foreign, actor: Mapping[str, Tensor], path: Path, glimpses: Glimpses
) -> _Converted:
    if unknown := [name for name in found.state if not name.startswith(_KNOWN)]:
        raise CheckpointError(path, f"unknown {', '.join(unknown)}", expected=_CHECKPOINT)
    state, settings = part(found.state, *_MAE[:2]), found.settings
    trained = _learnt_to_look(settings)
    more = {
        "trained": trained,
        "exclude_rl_inputs": _excluded(actor, state),
        "extract_latent_layer": settings.get("extract_latent_layer"),
        "fixed_scale": settings.get("fixed_scale"),
    }
    config = _config(state, settings, path, replace(glimpses, task=_task(state)), more)
    with torch.device("meta"):  # the file fills everything
        model = GlimpseModel(config)
    model.to_empty(device="cpu")
    ours = {f"mae.{name}": value for name, value in state.items()}
    load_into(model, ours | {f"actor.{name}": value for name, value in actor.items()}, path=path)
    sac = _sac(model, found.state, path)
    notes = [] if trained else [UNTRAINED]
    if sac is None:
        notes.append("it has no critics: training would begin with new ones")
    if part(found.state, "teacher_model.", "teacher."):
        notes.append("it also holds a teacher, which `--kind` takes instead")
    return _Converted(model.eval(), sac, notes)


def _learnt_to_look(settings: Mapping[str, Any]) -> bool:
    """Whether the training taught the policy too."""
    alone = settings.get("backbone_training_type") == "backbone-only"
    return not (alone or settings.get("pretraining", False))


def _sac(model: GlimpseModel, state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor] | None:
    """Critics, slow critics and temperature, by our names; all of them, or none is there."""
    found = {
        ours + name: value
        for ours, theirs in _SAC.items()
        for name, value in part(state, theirs).items()
    }
    if not found:
        return None
    with torch.random.fork_rng(devices=[]):  # converting must not move anyone's random numbers
        sac = Sac(model.actor, model.new_critic())
    load_into(sac, found, path=path)
    return dict(sac.state_dict())


def _task(state: Mapping[str, Tensor]) -> Task:
    if any(name.startswith("decoder_segment.") for name in state):
        return "segmentation"
    return "reconstruction" if "decoder_embed.weight" in state else "classification"


def _classes(state: Mapping[str, Tensor], task: Task) -> int:
    """As many as the task's last layer has rows; the usual number without one."""
    match task:
        case "reconstruction":
            return IMAGENET_CLASSES
        case "classification":
            return len(state.get("head.bias", range(IMAGENET_CLASSES)))
        case "segmentation":
            return len(state.get("decoder_segment.conv_head.19.bias", range(MASK_CLASSES)))


def _excluded(actor: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> tuple[RlInput, ...]:
    """Inputs for which the policy has no layer, by the layers' widths."""
    width = state["cls_token"].shape[-1] if "cls_token" in state else 0
    widths = dict(zip(RL_INPUTS, (32, 1, 4, width), strict=True))
    layers = [actor.get(f"input_layers.{number}.0.weight") for number in range(len(RL_INPUTS))]
    present = {layer.shape[-1] for layer in layers if layer is not None}
    return tuple(name for name in RL_INPUTS if widths[name] not in present)


def _config(
    state: Mapping[str, Tensor],
    settings: Mapping[str, Any],
    path: Path,
    glimpses: Glimpses,
    more: Mapping[str, Any],
) -> GlimpseModelConfig:
    usual, size = GlimpseModelConfig(), backbone_size(state, path)
    chosen = {name: value for name, value in vars(glimpses).items() if value is not None}
    names = ("num_glimpses", "glimpse_grid_size", "max_glimpse_size_ratio")
    said = {name: settings.get(name, getattr(usual, name)) for name in names}
    try:
        return GlimpseModelConfig(
            backbone_size=size,
            num_classes=_classes(state, glimpses.task),
            image_size=_image_size(state, settings, usual.image_size),
            **{**said, **chosen, **more},
        )
    except (ConfigError, TypeError, ValueError) as error:
        raise CheckpointError(path, f"settings of no model that can be ({error})") from error


def _image_size(
    state: Mapping[str, Tensor], settings: Mapping[str, Any], usual: tuple[int, int]
) -> tuple[int, int]:
    """As the checkpoint says, or of the square whose patches have the position codes."""
    said = settings.get("image_size")
    if said is not None:
        height, width = said
        return int(height), int(width)
    side = square_side(state.get("pos_embed"))
    return usual if side is None else (side, side)


def command(config: ConvertConfig) -> None:
    """`adaglimpse convert`."""
    found = read_foreign(config.source)
    kind = _kind(found) if config.kind == "auto" else config.kind
    if kind in ("vit-teacher", "deeplab-teacher"):
        _convert_teacher(config, kind)
        return
    if kind == "mae":
        found = Foreign(part(found.state, *_MAE), {})
    elif not part(found.state, *_ACTOR):
        raise CheckpointError(
            config.source,
            f"weights named {', '.join(sorted(found.state)[:8])}",
            expected=_CHECKPOINT,
        )
    glimpses = Glimpses(**{each.name: getattr(config, each.name) for each in fields(Glimpses)})
    converted = _converted(found, config.source, glimpses)
    for note in converted.notes:
        say(f"NOTE: {note}")
    (config.out / FILE).unlink(missing_ok=True)  # another model's critics, of an earlier conversion
    converted.model.save_pretrained(config.out)
    if converted.sac is not None:
        save_sac(config.out, converted.sac)
    say(f"written to {config.out}")


def _kind(found: Foreign) -> Literal["checkpoint", "mae", "deeplab-teacher"]:
    if part(found.state, *_ACTOR) and part(found.state, *_MAE[:2]):
        return "checkpoint"
    deeplab = any("classifier.4." in name for name in found.state)
    return "deeplab-teacher" if deeplab else "mae"


def _convert_teacher(config: ConvertConfig, kind: str) -> None:
    from adaglimpse.teachers import deeplab_teacher, vit_teacher  # torchvision is slow to import

    if config.out.suffix != ".safetensors":
        raise ConfigError("out", config.out, "a .safetensors file, for a teacher")
    read = vit_teacher if kind == "vit-teacher" else deeplab_teacher
    teacher = read(config.source)
    with replacing(config.out) as temporary:
        save_weights(temporary, teacher.state_dict())
    say(f"written to {config.out}")
