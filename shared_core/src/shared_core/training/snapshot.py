"""What a checkpoint holds, gathered from all processes and given back to them.

    model.safetensors      the whole model's weights, from any sharding
    optimizer.safetensors  tree: {"optimizers": {name: state}, "scaler": the fp16 loss scale's}
    learner.safetensors    tree: `Learner.state()`
    rank-0.safetensors     tree: `Learner.own_state()` of process 0, and so on; only where there is any
    progress.json          the `Progress` to continue from
    deepspeed/             instead of optimizer.safetensors: the shards of DeepSpeed's engine

There is no random state in it: what is drawn depends on the place in the run (see `seeding`).
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import DistributedType, send_to_device
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from shared_core.checkpoints.tree import load_tree, save_tree
from shared_core.checkpoints.weights import load_into, load_weights, save_weights
from shared_core.errors import CheckpointError
from shared_core.faultpoints import reach
from shared_core.training.learner import Learner
from shared_core.training.schedules import Progress

WEIGHTS = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
LEARNER = "learner.safetensors"
PROGRESS = "progress.json"
ENGINE = "deepspeed"

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def write(folder: Path, learner: Learner, accelerator: Accelerator, progress: Progress) -> None:
    """Write a checkpoint's files; every process calls it, process 0 writes what is not sharded.

    Raises:
        OSError: the folder cannot be written, on the processes where it cannot.
    """
    weights = _weights(learner, accelerator)
    state = dict(learner.state())
    if _is_deepspeed(accelerator):
        accelerator.deepspeed_engine_wrapped.engine.save_checkpoint(folder / ENGINE, tag=ENGINE)
        optimizers = None
    else:
        optimizers = _optimizers(learner, accelerator)
    if own := dict(learner.own_state()):
        save_tree(folder / _own(accelerator), own)
    if not accelerator.is_main_process:
        return
    save_weights(folder / WEIGHTS, weights)
    if optimizers is not None:
        save_tree(folder / OPTIMIZER, optimizers)
    save_tree(folder / LEARNER, state)
    write_progress(folder, progress)


def restore(folder: Path, learner: Learner, accelerator: Accelerator) -> Progress:
    """Put a verified checkpoint into a prepared learner; every process calls it.

    Raises:
        CheckpointError: it was made for another model.
    """
    if _is_deepspeed(accelerator):
        engine = accelerator.deepspeed_engine_wrapped.engine
        path, _ = engine.load_checkpoint(str(folder / ENGINE), tag=ENGINE)
        if path is None:
            raise CheckpointError(folder / ENGINE, "no shards", expected="those of DeepSpeed")
    else:
        _restore_whole(folder, learner, accelerator)
    reach("load:learner")
    learner.load_state(send_to_device(load_tree(folder / LEARNER), accelerator.device))
    own = folder / _own(accelerator)
    learner.load_own_state(load_tree(own) if own.is_file() else None)
    return read_progress(folder)


def _own(accelerator: Accelerator) -> str:
    return f"rank-{accelerator.process_index}.safetensors"


def _is_deepspeed(accelerator: Accelerator) -> bool:
    return bool(accelerator.distributed_type == DistributedType.DEEPSPEED)


def _weights(learner: Learner, accelerator: Accelerator) -> dict[str, Any]:
    if _is_deepspeed(accelerator):
        return dict(accelerator.get_state_dict(learner.model) or {})  # ZeRO-3: on process 0 alone
    if accelerator.is_fsdp2:
        return get_model_state_dict(learner.model, options=_WHOLE)
    return learner.bare_model.state_dict()


def _optimizers(learner: Learner, accelerator: Accelerator) -> dict[str, Any]:
    states = {}
    for name, optimizer in learner.optimizers().items():
        if accelerator.is_fsdp2:
            bare = optimizer.optimizer  # type: ignore[attr-defined]  # accelerate's wrapper
            states[name] = get_optimizer_state_dict(learner.model, bare, options=_WHOLE)
        else:
            states[name] = optimizer.state_dict()
    scaler = accelerator.scaler
    return {"optimizers": states, "scaler": None if scaler is None else scaler.state_dict()}


def _restore_whole(folder: Path, learner: Learner, accelerator: Accelerator) -> None:
    weights: dict[str, Any] = dict(load_weights(folder / WEIGHTS))
    if accelerator.is_fsdp2:
        set_model_state_dict(learner.model, weights, options=_WHOLE)
    else:
        load_into(learner.bare_model, weights, path=folder / WEIGHTS)
    reach("load:optimizer")
    saved = load_tree(folder / OPTIMIZER)
    for name, optimizer in learner.optimizers().items():
        state = saved["optimizers"][name]
        if accelerator.is_fsdp2:
            bare = optimizer.optimizer  # type: ignore[attr-defined]  # accelerate's wrapper
            set_optimizer_state_dict(learner.model, bare, state, options=_WHOLE)
        else:
            optimizer.load_state_dict(state)
    if accelerator.scaler is not None:
        accelerator.scaler.load_state_dict(saved["scaler"])


def write_progress(folder: Path, progress: Progress) -> None:
    """Write where the run stood."""
    tree = dataclasses.asdict(progress)
    tree["scores"] = [None if math.isnan(score) else score for score in progress.scores]
    reach(f"before:{PROGRESS}")
    text = json.dumps(tree, indent=1, allow_nan=False) + "\n"
    (folder / PROGRESS).write_text(text, encoding="utf-8")
    reach(f"after:{PROGRESS}")


def read_progress(folder: Path) -> Progress:
    """Read where the run stood."""
    tree = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
    scores = tuple(math.nan if score is None else score for score in tree.pop("scores"))
    return Progress(**tree, scores=scores)
