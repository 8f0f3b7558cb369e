"""A trained model as a folder that stands alone: weights, processor and card; and its way to the hub."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from refine_iqa.config import ConvertConfig
from refine_iqa.model.card import PACKAGE, plain_card
from refine_iqa.model.loading import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    base_of,
    holds_adapters,
    load_model,
    load_processor,
    model_folder,
)
from shared_core.checkpoints.hub import push_to_hub
from shared_core.checkpoints.manifest import seal
from shared_core.checkpoints.pretrained import CARD
from shared_core.commands import say
from shared_core.data.tables import read_json
from shared_core.errors import CheckpointError, DataError, UsageError, first_line

__all__ = ["command", "export", "push_to_hub"]


def export(
    source: Path | str,
    out: Path | str,
    *,
    merge_lora: bool = False,
    base: Path | str | None = None,
) -> Path:
    """Write a model, or LoRA adapters, with all that is needed to use it.

    A card that training wrote goes along; another model gets one that says how little is known of it.

    Args:
        source: a run folder, model folder, folder of adapters, or hub id.
        out: folder to write, new or empty. It is there whole, or not at all.
        merge_lora: add the adapters to the weights, which keep their number format. Otherwise adapters
            stay adapters, and need their base.
        base: the model that the adapters belong to; None: the one that they name.

    Returns:
        The folder.

    Raises:
        CheckpointError: nothing is there, it is damaged, or of another family.
        UsageError: `out` holds something, or `merge_lora` or `base` are given without adapters.
        DataError: the folder cannot be written.
    """
    out = Path(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out}: expected a new or an empty folder. Choose another: --out.")
    folder = model_folder(source)
    adapted = holds_adapters(folder)
    if not adapted and (merge_lora or base is not None):
        raise UsageError(f"{source}: no adapters are in it: leave out --merge-lora and --base.")
    under = _base(folder, base) if adapted else None
    with _made(out) as staging:
        if under is not None and not merge_lora:
            _copy_adapters(folder, staging, under)
        else:
            _write_weights(folder, staging, under)
        name = str(source if under is None else under)
        (staging / CARD).write_text(_own_card(folder) or plain_card(name), encoding="utf-8")
        seal(staging, {})
    return out


def command(config: ConvertConfig) -> None:
    """`refine-iqa convert`."""
    out = export(config.source, config.out, merge_lora=config.merge_lora, base=config.base)
    say(f"written to {out}")
    if config.push_to_hub is not None:
        commit = push_to_hub(out, config.push_to_hub)
        say(f"uploaded to {config.push_to_hub}, commit {commit}")


def _base(folder: Path, given: Path | str | None) -> str:
    """Where the model under the adapters is; it can be had."""
    base = base_of(folder) if given is None else str(given)
    try:
        model_folder(base)
    except CheckpointError as error:
        raise CheckpointError(
            folder,
            f"the model that these adapters belong to cannot be had: {str(error).rstrip('.')}",
            remedy="Say where it is: --base.",
        ) from error
    return base


def _write_weights(folder: Path, target: Path, base: str | None) -> None:
    """All weights and the processor; adapters, on their base, are added."""
    if base is None:
        model, processor = load_model(folder, dtype="auto")
    else:
        adapted, processor = load_model(base, dtype="auto", adapter=folder)
        model = _merged(adapted, folder)
    model.save_pretrained(str(target))
    processor.save_pretrained(target)


def _merged(model: Any, folder: Path) -> Any:
    try:
        return model.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise CheckpointError(
            folder, f"the adapters cannot be added to the weights ({first_line(error)})"
        ) from error


def _copy_adapters(folder: Path, target: Path, base: str) -> None:
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise CheckpointError(folder, f"it holds no {ADAPTER_WEIGHTS}")
    shutil.copyfile(folder / ADAPTER_WEIGHTS, target / ADAPTER_WEIGHTS)
    about = {**read_json(folder / ADAPTER_CONFIG), "base_model_name_or_path": base}
    (target / ADAPTER_CONFIG).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    load_processor(folder, base=base).save_pretrained(target)


def _own_card(folder: Path) -> str | None:
    """The card that this package wrote for the model; those of peft and trl are empty forms."""
    path = folder / CARD
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return text if f"library_name: {PACKAGE}\n" in text else None


@contextmanager
def _made(folder: Path) -> Iterator[Path]:
    """A folder beside `folder`, which takes its place once the body has filled it."""
    staging = folder.absolute().with_name(f".{folder.absolute().name}.writing")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        yield staging
        if folder.is_dir():
            folder.rmdir()
        staging.rename(folder)
    except (OSError, SafetensorError) as error:
        raise DataError(
            folder,
            f"cannot be written ({getattr(error, 'strerror', None) or error})",
            remedy="Choose a folder that you may write to, on a disk with free space.",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
