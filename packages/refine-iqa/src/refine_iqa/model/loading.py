"""A Qwen vision-language model and its processor, from a folder, a run, adapters, or the hub.

Weights are read from safetensors alone, and no code that comes with a model is run. Checkpoints in the
older layout of keys (`visual.*`, `model.*`) load without conversion: transformers renames them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from huggingface_hub import snapshot_download
from peft import PeftModel
from safetensors import SafetensorError
from transformers import (
    PreTrainedModel,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)

from refine_iqa.config import Family
from shared_core.checkpoints.manifest import MANIFEST, read_manifest, verify_contents
from shared_core.data.tables import read_json
from shared_core.errors import CheckpointError, first_line

CONFIG, ADAPTER_CONFIG, ADAPTER_WEIGHTS = (
    "config.json",
    "adapter_config.json",
    "adapter_model.safetensors",
)

_FILES = ("*.json", "*.jinja", "*.txt", "*.safetensors", "README.md")
"""What is taken from the hub: nothing that could hold a pickle or code."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_MODELS: dict[Family, Any] = {
    "qwen2_5_vl": Qwen2_5_VLForConditionalGeneration,
    "qwen3_vl": Qwen3VLForConditionalGeneration,
}
_PROCESSORS: dict[Family, Any] = {"qwen2_5_vl": Qwen2_5_VLProcessor, "qwen3_vl": Qwen3VLProcessor}


class Loaded(NamedTuple):
    """A model in evaluation mode, bare or with adapters, and the processor of its inputs."""

    model: PreTrainedModel | PeftModel
    processor: Any


def model_folder(path_or_hub_id: Path | str) -> Path:
    """The folder of a model or of adapters; what exists on this machine is a folder.

    Args:
        path_or_hub_id: a model folder, a run folder (its `model/` is taken), a folder of adapters, or a
            repository of the Hugging Face hub (`owner/name`), which is downloaded.

    Raises:
        CheckpointError: nothing is there, or it holds no model.
    """
    path = Path(path_or_hub_id)
    if path.exists():
        for folder in (path, path / "model"):
            if (folder / CONFIG).is_file() or (folder / ADAPTER_CONFIG).is_file():
                return folder
        raise CheckpointError(
            path, "neither", expected=f"a folder with {CONFIG} or {ADAPTER_CONFIG}, or a run folder"
        )
    if isinstance(path_or_hub_id, Path) or not _HUB_ID.fullmatch(path_or_hub_id):
        raise CheckpointError(path, "no such folder, and not a hub id of the form owner/name")
    try:
        return Path(snapshot_download(path_or_hub_id, allow_patterns=list(_FILES)))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            path_or_hub_id,
            f"there is no such folder, and the hub does not give it ({first_line(error)})",
            remedy="Check the name. Without a network, give a local folder, or download it once on a "
            "machine that has one.",
        ) from error


def family_of(folder: Path) -> Family:
    """Whose architecture a model folder holds, by its `config.json`.

    Raises:
        CheckpointError: names what it is, and the families that can be used.
        DataError: the file cannot be read.
    """
    about = read_json(folder / CONFIG)
    kind = about.get("model_type") if isinstance(about, dict) else None
    if kind not in _MODELS:
        raise CheckpointError(
            folder / CONFIG,
            "none" if kind is None else repr(kind),
            expected=f"the model_type {' or '.join(_MODELS)}",
            remedy="Choose a Qwen2.5-VL or Qwen3-VL model; others have other processors.",
        )
    family: Family = kind
    return family


def load_processor(path_or_hub_id: Path | str, *, base: Path | str | None = None) -> Any:
    """The processor of a model, padding and cutting on the left.

    Adapters have that of their base model, unless one was saved beside them.

    Args:
        path_or_hub_id: as `model_folder`.
        base: the model that adapters belong to; None: the one that they name.

    Raises:
        CheckpointError: nothing is there, it is of another family, or it is no processor of it.
    """
    folder = model_folder(path_or_hub_id)
    if holds_adapters(folder):
        under = model_folder(base_of(folder) if base is None else base)
        folder, family = folder if _holds_processor(folder) else under, family_of(under)
    else:
        family = family_of(folder)
    try:
        return padded_left(_PROCESSORS[family].from_pretrained(folder))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            folder,
            f"no processor ({first_line(error)})",
            expected=f"the processor of a {family} model",
            remedy="Copy tokenizer, processor and chat template from the model that it was made of.",
        ) from error


def padded_left(processor: Any) -> Any:
    """Let a processor pad and cut on the left, for what follows a prompt is written on its right.

    The side is not saved with a processor. With padding on the right, the prompts of a batch would end
    at different places, and pictures of the shorter ones would be looked for where they are not.

    Raises:
        CheckpointError: it has no tokenizer whose side can be set.
    """
    tokenizer = getattr(processor, "tokenizer", None)
    for side in ("padding_side", "truncation_side"):
        try:
            setattr(tokenizer, side, "left")
        except (AttributeError, ValueError) as error:
            raise CheckpointError(
                type(processor).__name__,
                f"its tokenizer ({type(tokenizer).__name__}) does not let its {side} be set",
                expected="a processor that pads on the left",
            ) from error
    return processor


def load_model(
    path_or_hub_id: Path | str,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | Literal["auto"] = torch.float32,
    attn: str | None = None,
    adapter: Path | str | None = None,
) -> Loaded:
    """Load a model and its processor, in evaluation mode.

    Args:
        path_or_hub_id: as `model_folder`; a folder of adapters is put on the model that it names.
        device: where to put it.
        dtype: of the weights; "auto": as they are stored.
        attn: attention kernels as transformers calls them ("sdpa", "eager", ...); None: its choice.
        adapter: folder of LoRA adapters to put on the model.

    Raises:
        CheckpointError: nothing is there, it is damaged, incomplete, not in safetensors, or of another
            family.
    """
    folder = model_folder(path_or_hub_id)
    if holds_adapters(folder):
        adapter, folder = folder, model_folder(base_of(folder))
    model: Any = _weights(folder, dtype, attn)
    processor = load_processor(folder)
    if adapter is not None:
        adapter = model_folder(adapter)
        model = _with_adapters(model, adapter)
        if _holds_processor(adapter):
            processor = load_processor(adapter, base=folder)
    return Loaded(model.to(device).eval(), processor)


def bare(model: PreTrainedModel | PeftModel) -> Any:
    """The transformers model inside adapters, or the model itself."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def holds_adapters(folder: Path) -> bool:
    """Whether a folder holds adapters alone."""
    return (folder / ADAPTER_CONFIG).is_file() and not (folder / CONFIG).is_file()


def base_of(folder: Path) -> str:
    """The model that the adapters in a folder say they belong to: a folder, or a hub id.

    Raises:
        CheckpointError: they name none.
    """
    about = read_json(folder / ADAPTER_CONFIG)
    base = about.get("base_model_name_or_path") if isinstance(about, dict) else None
    if not isinstance(base, str) or not base:
        raise CheckpointError(
            folder / ADAPTER_CONFIG,
            "none",
            expected="a base_model_name_or_path",
            remedy="Name there the model that the adapters were trained on.",
        )
    return base


def _weights(
    folder: Path, dtype: torch.dtype | Literal["auto"], attn: str | None
) -> PreTrainedModel:
    _verify(folder)
    kind = _MODELS[family_of(folder)]
    chosen = {} if attn is None else {"attn_implementation": attn}
    remedy = "Get the folder again from its source, or convert it to safetensors."
    try:
        model, report = kind.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            **chosen,
        )
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise CheckpointError(
            folder, f"the model cannot be loaded ({first_line(error)})", remedy=remedy
        ) from error
    # What the files lack, transformers fills with random numbers and a warning.
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(
            folder,
            f"{len(missing)} missing, such as {missing[0]}",
            expected="all weights",
            remedy=remedy,
        )
    loaded: PreTrainedModel = model
    return loaded


def _with_adapters(model: PreTrainedModel, folder: Path) -> PeftModel:
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise CheckpointError(
            folder, "none", expected=f"the adapters' weights in {ADAPTER_WEIGHTS}"
        )
    _verify(folder)
    try:
        return PeftModel.from_pretrained(model, str(folder), use_safetensors=True)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise CheckpointError(
            folder,
            f"the adapters do not fit the model ({first_line(error)})",
            remedy="Give the base model that they were trained on.",
        ) from error


def _verify(folder: Path) -> None:
    """Compare the weights with their hashes, which the folders have that this package writes."""
    about = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else None
    if not isinstance(about, dict) or not {"files", "sha256"} <= about.keys():
        return  # none, or one of somebody else's making
    files = read_manifest(folder)["files"]
    verify_contents(folder, {n: files[n] for n in files if n.endswith(".safetensors")})


def _holds_processor(folder: Path) -> bool:
    names = ("processor_config.json", "preprocessor_config.json")
    return any((folder / name).is_file() for name in names)
