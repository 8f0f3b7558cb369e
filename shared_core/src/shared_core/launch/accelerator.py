"""Connects the processes of a run: the only builder of an Accelerator.

accelerate has two silent traps. `accelerate launch --cpu --num_processes 2` runs one process, and a
configuration with MULTI_GPU and `use_cpu: true` runs two that are not connected, each training
alone. So `accelerator` compares what was asked for (by the settings, the preset and the
environment) with what is connected, and refuses to go on when they differ.
"""

from __future__ import annotations

import importlib.util
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import (
    DeepSpeedPlugin,
    FullyShardedDataParallelPlugin,
    GradientAccumulationPlugin,
    InitProcessGroupKwargs,
)

from shared_core.errors import LaunchError
from shared_core.extras import require
from shared_core.launch.presets import Asked, Preset, Sharding, processes_asked
from shared_core.launch.ranks import PRESET, PROCESSES, inside_a_rank, inside_accelerate_launch

COLLECTIVE_TIMEOUT = timedelta(minutes=30)
"""A collective that takes longer (a rank hangs, another machine is gone) is an error."""


class LaunchSettings(Asked, Protocol):
    """What `accelerator` reads of `shared_core.training.config.TrainSettings`."""

    @property
    def precision(self) -> str:
        """fp32, bf16 or fp16."""

    @property
    def device(self) -> str:
        """auto, cpu or cuda."""

    @property
    def batch_size(self) -> int:
        """Items in an update, over all processes and micro-batches."""

    @property
    def accumulate(self) -> int:
        """Micro-batches in an update."""

    @property
    def clip_norm(self) -> float | None:
        """Largest norm of the gradient."""

    @property
    def compile(self) -> bool:
        """Whether the model is compiled."""

    @property
    def threads(self) -> int | None:
        """Torch threads of this process."""


def accelerator(settings: LaunchSettings) -> Accelerator:
    """Connect this process to the others of its run.

    How many processes are asked for is said by `settings.processes`, by the preset, and by who
    started this process (`ranks.start`, `accelerate launch`, torchrun); they must agree.

    Returns:
        An Accelerator with as many connected processes as asked for, on the asked device, with the
        settings' precision and accumulation.

    Raises:
        LaunchError: the connected processes, the sharding or the device are not what was asked for.
        MissingExtraError: DeepSpeed is asked for and not installed.
    """
    preset = _preset(settings)
    sharding = _sharding(preset)
    count = _count(settings, preset)
    on_cpu = _on_cpu(settings, preset, sharding)
    _refuse_other_settings(settings)
    if on_cpu:
        os.environ["DS_ACCELERATOR"] = "cpu"  # read when accelerate imports deepspeed, if it does
    if not torch.distributed.is_initialized():
        # accelerate keeps one state per process; a second run in a notebook may differ.
        AcceleratorState._reset_state(reset_partial_state=True)
    connected = Accelerator(
        # cpu=True would silently drop DeepSpeed, which follows DS_ACCELERATOR instead.
        cpu=on_cpu and sharding != "deepspeed",
        mixed_precision=_mixed_precision(settings, sharding),
        # As a plugin, for the environment of `accelerate launch` overrules the plain argument.
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=settings.accumulate, adjust_scheduler=False, sync_with_dataloader=False
        ),
        dynamo_backend="inductor" if settings.compile else "no",
        deepspeed_plugin=(
            _deepspeed(settings, preset, count, on_cpu) if sharding == "deepspeed" else None
        ),
        fsdp_plugin=fsdp_plugin(preset) if sharding == "fsdp" else None,
        kwargs_handlers=_group(on_cpu) if inside_a_rank() else None,
    )
    _refuse_other_count(count, connected)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    return connected


def _group(on_cpu: bool) -> list[InitProcessGroupKwargs]:
    backend = "gloo" if on_cpu else "nccl"
    return [InitProcessGroupKwargs(backend=backend, timeout=COLLECTIVE_TIMEOUT)]


def _preset(settings: LaunchSettings) -> Preset | None:
    name = os.environ.get(PRESET) or settings.launch
    return None if name is None else Preset.named(name)


def _sharding(preset: Preset | None) -> Sharding:
    """What shards the model; inside `accelerate launch` its own word, which a preset must match."""
    asked: Sharding = preset.sharding if preset else "none"
    if not inside_accelerate_launch():
        if asked != "none" and not inside_a_rank():
            raise LaunchError(f"{_name(preset)} needs processes that are started for it.\n{_HOW}")
        return asked
    running: Sharding = "none"
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        running = "deepspeed"
    elif os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        running = "fsdp"
    stage = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") if running == "deepspeed" else None
    wanted = str(preset.zero_stage) if preset and preset.zero_stage else None
    if preset and (asked, wanted) != (running, stage):
        what = {"none": "no sharding", "fsdp": "FSDP", "deepspeed": f"DeepSpeed ZeRO-{stage}"}
        raise LaunchError(
            f"{_name(preset)} is asked for, accelerate launch runs {what[running]}.\n"
            "Leave --launch out, or give accelerate launch that preset's file."
        )
    return running


_HOW = (
    "Run the command with --launch and --processes, which starts them, or through "
    "`accelerate launch --config_file FILE -m ...`."
)


def _name(preset: Preset | None) -> str:
    return f"--launch {preset.name}" if preset else "this run"


def _count(settings: LaunchSettings, preset: Preset | None) -> int:
    """How many processes are asked for; refused here when it is not what was started."""
    asked = processes_asked(preset, settings.processes)
    started = int(os.environ["WORLD_SIZE"]) if inside_a_rank() else 1
    told = os.environ.get(PROCESSES)
    # accelerate announces a meeting point exactly when more than one process was asked for.
    if inside_accelerate_launch() and not inside_a_rank() and "MASTER_PORT" in os.environ:
        raise LaunchError(
            "accelerate launch was asked for several processes (MASTER_PORT is set) and runs one.\n"
            "Take the preset cpu-2 (`--config_file cpu-2.yaml`) instead of --cpu, or --multi_gpu."
        )
    for count in (asked, None if told is None else int(told)):
        if count is not None and count != started:
            raise _mismatch(count, started)
    return started


def _refuse_other_count(count: int, connected: Accelerator) -> None:
    group = torch.distributed
    world = group.get_world_size() if group.is_available() and group.is_initialized() else 1
    for found in (world, int(connected.num_processes)):
        if found != count:
            raise _mismatch(count, found)


def _mismatch(asked: int, found: int) -> LaunchError:
    inside = inside_a_rank() or inside_accelerate_launch()
    remedy = "Leave --processes and --launch out, or make them equal to what is running."
    return LaunchError(
        f"asked for {asked} connected processes, found {found}.\n{remedy if inside else _HOW}"
    )


def _on_cpu(settings: LaunchSettings, preset: Preset | None, sharding: Sharding) -> bool:
    """Whether the tensors live on the CPU."""
    told_cpu = (preset is not None and preset.use_cpu) or (
        os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"
    )
    if told_cpu and settings.device == "cuda":
        raise LaunchError("--device cuda is asked for, and processes on the CPU.")
    on_cpu = told_cpu or settings.device == "cpu" or not torch.cuda.is_available()
    if on_cpu and settings.device == "cuda":
        raise LaunchError("--device cuda: there is no GPU that torch can use (see `doctor`).")
    if on_cpu and (sharding == "fsdp" or (preset is not None and preset.needs_gpu)):
        raise LaunchError(
            f"{_name(preset)} needs a GPU, and this run is on the CPU.\n"
            "On the CPU: cpu, cpu-2, or zero1, zero2, zero3 with --processes N."
        )
    if on_cpu and settings.precision == "fp16":
        raise LaunchError("--precision fp16 needs a GPU; on the CPU take bf16 or fp32.")
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if not on_cpu and local > torch.cuda.device_count():
        raise LaunchError(
            f"{local} processes, and {torch.cuda.device_count()} GPUs on this machine.\n"
            "Ask for one process for each GPU, or for --device cpu."
        )
    return on_cpu


def _refuse_other_settings(settings: LaunchSettings) -> None:
    """The train command's settings hold; one that `accelerate launch` says otherwise is refused."""
    for variable, flag, ours, unsaid in (
        ("MIXED_PRECISION", "--precision", settings.precision, ("no",)),
        ("GRADIENT_ACCUMULATION_STEPS", "--accumulate", str(settings.accumulate), ("1", "auto")),
        ("GRADIENT_CLIPPING", "--clip-norm", str(settings.clip_norm), ("auto",)),
    ):
        theirs = os.environ.get(f"ACCELERATE_{variable}", ours)
        if theirs not in (ours, *unsaid):
            raise LaunchError(
                f"accelerate launch says {theirs} for {variable.lower()}, the train command {ours}."
                f"\nSay {flag} {theirs} to the train command."
            )


def _mixed_precision(settings: LaunchSettings, sharding: Sharding) -> str:
    """DeepSpeed has its own autocast (see `_deepspeed`)."""
    return "no" if settings.precision == "fp32" or sharding == "deepspeed" else settings.precision


def fsdp_plugin(preset: Preset | None) -> FullyShardedDataParallelPlugin:
    """FSDP by the preset; without one, by what `accelerate launch` has put into the environment."""
    if preset is None:
        return FullyShardedDataParallelPlugin()
    names = {"version": "fsdp_version"}
    return FullyShardedDataParallelPlugin(
        **{names.get(key, key): value for key, value in preset.fsdp.items()}
    )


def _deepspeed(
    settings: LaunchSettings, preset: Preset | None, count: int, on_cpu: bool
) -> DeepSpeedPlugin:
    if on_cpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # accelerate would take a GPU it sees
    for module in ("transformers", "deepspeed"):
        if importlib.util.find_spec(module) is None:
            require(module, "deepspeed")
    if on_cpu:
        skip_shared_memory_build()
    # accelerate refuses a configuration beside fields of its own file; ours takes those in.
    os.environ.pop("ACCELERATE_CONFIG_DS_FIELDS", None)
    return DeepSpeedPlugin(
        hf_ds_config=deepspeed_config(settings, preset, count), zero3_init_flag=False
    )


def skip_shared_memory_build() -> None:
    """Let DeepSpeed on the CPU talk through gloo alone.

    Otherwise it compiles a shared-memory transport at its first start: 35 s on an idle machine,
    minutes under load, and a stale lock when it is killed meanwhile. The table is private.
    """
    ops = require("deepspeed.ops", "deepspeed")
    ops.__compatible_ops__["deepspeed_shm_comm"] = False


def deepspeed_config(settings: LaunchSettings, preset: Preset | None, count: int) -> dict[str, Any]:
    """DeepSpeed's configuration: the sharding of the preset, everything else of the settings.

    Inside `accelerate launch`, offloading and, without a preset, the sharding are its own.
    """
    precision = {"bf16": "bfloat16", "fp16": "float16"}
    autocast = (
        # The weights stay fp32, as without DeepSpeed; its own bf16 and fp16 modes would cast them.
        {"torch_autocast": {"enabled": True, "dtype": precision[settings.precision]}}
        if settings.precision in precision
        else {}
    )
    share = settings.accumulate * count
    return {
        **_zero_optimization(preset),
        # The loader fills up the last batch, so that every process has as many items.
        "train_micro_batch_size_per_gpu": -(-settings.batch_size // share),
        "gradient_accumulation_steps": settings.accumulate,
        "gradient_clipping": settings.clip_norm or 0.0,
        "zero_allow_untested_optimizer": True,  # the learner chooses its optimiser
        "zero_force_ds_cpu_optimizer": False,
        **autocast,
    }


def _zero_optimization(preset: Preset | None) -> dict[str, Any]:
    if preset is None and (file := os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE")):
        tree: dict[str, Any] = json.loads(Path(file).read_text(encoding="utf-8"))
        return tree
    stage = preset.zero_stage if preset else int(os.environ["ACCELERATE_DEEPSPEED_ZERO_STAGE"])
    offload = {
        f"offload_{part}": {"device": os.environ[variable]}
        for part in ("optimizer", "param")
        if (variable := f"ACCELERATE_DEEPSPEED_OFFLOAD_{part.upper()}_DEVICE") in os.environ
    }
    # ZeRO-3 gathers the whole weights when they are saved (fp32, as they are kept).
    gather = {"stage3_gather_16bit_weights_on_model_save": True} if stage == 3 else {}
    return {"zero_optimization": {"stage": stage, **offload, **gather}}
