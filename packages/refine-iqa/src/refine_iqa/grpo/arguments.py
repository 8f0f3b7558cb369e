"""A run's settings in the words of trl, peft and DeepSpeed."""

from __future__ import annotations

from typing import Any

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from peft import LoraConfig
from trl import GRPOConfig

from refine_iqa.config import TrainConfig
from shared_core.errors import ConfigError, LaunchError


def grpo_config(config: TrainConfig, connected: Accelerator, planned: int) -> GRPOConfig:
    """The settings of `GRPOTrainer` on the processes that are connected.

    Args:
        config: the run's settings.
        connected: the processes.
        planned: updates of all epochs; the learning rate falls over these, or over `max_steps`.

    Raises:
        ConfigError: the completions of an update cannot be dealt to the processes evenly.
        LaunchError: the model is to be sharded by FSDP, which trl's generation is not proven with here.
    """
    if connected.distributed_type == DistributedType.FSDP:
        raise LaunchError("FSDP is not supported here. Take the preset ddp, zero2 or zero3.")
    if config.weights_dtype == "bfloat16" and not config.lora.rank and not _is_sharded(connected):
        raise ConfigError(
            "weights_dtype",
            config.weights_dtype,
            "float32, or adapters (lora.rank), or a zero preset, which keeps fp32 copies: the steps of "
            "an update are too small for bfloat16",
        )
    precision = {"bf16": config.precision == "bf16", "fp16": config.precision == "fp16"}
    on_cpu = connected.device.type == "cpu"
    deepspeed = _deepspeed(connected)
    made = GRPOConfig(
        output_dir=str(config.run),
        # The update
        per_device_train_batch_size=_completions(config, connected.num_processes),
        gradient_accumulation_steps=config.accumulate,
        num_train_epochs=config.epochs,
        max_steps=min(config.max_steps or planned, planned),
        learning_rate=config.lr,
        lr_scheduler_type="linear",
        warmup_steps=config.warmup_share,
        weight_decay=config.weight_decay,
        max_grad_norm=config.clip_norm or 0.0,
        gradient_checkpointing=config.gradient_checkpointing,
        torch_compile=config.compile,
        **precision,
        # GRPO
        num_generations=config.num_generations,
        max_completion_length=config.max_completion_length,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        num_iterations=config.num_iterations,
        beta=config.beta,
        epsilon=config.epsilon,
        epsilon_high=config.epsilon_high,
        delta=config.delta,
        loss_type=config.loss_type,
        scale_rewards="group",
        use_bias_correction_kl=False,  # the authors' divergence, and every earlier GRPO's
        reward_weights=_weights(config),
        # The house keeps the record, evaluates and saves.
        logging_steps=1,
        logging_first_step=True,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        log_completions=False,
        remove_unused_columns=False,
        seed=config.seed,
        dataloader_num_workers=config.workers,
        # Processes
        use_cpu=on_cpu and deepspeed is None,
        ddp_backend=None if connected.num_processes == 1 else ("gloo" if on_cpu else "nccl"),
        deepspeed=deepspeed,
        **({} if deepspeed is None else {"accelerator_config": {"use_configured_state": True}}),
        **_vllm(config),
    )
    if deepspeed is not None:
        # Without the state that is connected, transformers counts one process on the CPU; the
        # Accelerator on top of it is its own.
        AcceleratorState._reset_state()
    return made


def lora_config(config: TrainConfig) -> LoraConfig | None:
    """Adapters of the language model's linear layers; none without a rank."""
    if not config.lora.rank:
        return None
    names = "|".join(config.lora.targets)
    return LoraConfig(
        r=config.lora.rank,
        lora_alpha=config.lora.alpha,
        lora_dropout=config.lora.dropout,
        # A pattern, for the vision tower has layers of the same names.
        target_modules=rf".*language_model.*\.({names})",
        task_type="CAUSAL_LM",
    )


def _is_sharded(connected: Accelerator) -> bool:
    return bool(connected.distributed_type == DistributedType.DEEPSPEED)


def _completions(config: TrainConfig, processes: int) -> int:
    """Completions of a micro-batch on a process."""
    completions, parts = config.batch_size * config.num_generations, processes * config.accumulate
    if completions % parts:
        raise ConfigError(
            "batch_size",
            config.batch_size,
            f"one whose completions (x {config.num_generations}) make {parts} equal parts "
            f"({processes} processes x {config.accumulate} micro-batches)",
        )
    return completions // parts


def _weights(config: TrainConfig) -> list[float]:
    given = list(config.reward_weights) or [1.0] * len(config.reward_names)
    return [*given, 1.0] if config.strategy == "refine" else given


def _deepspeed(connected: Accelerator) -> dict[str, Any] | None:
    """The sharding of the launch preset; what trl's settings say as well is left to them."""
    plugin = getattr(connected.state, "deepspeed_plugin", None)
    if plugin is None:
        return None
    kept = {
        name: value
        for name, value in plugin.deepspeed_config.items()
        if name not in ("torch_autocast", "bf16", "fp16")
    }
    said_by_trl = (
        "train_micro_batch_size_per_gpu",
        "gradient_accumulation_steps",
        "gradient_clipping",
        "train_batch_size",
    )
    precision = {name: {"enabled": "auto"} for name in ("bf16", "fp16")}
    return {**kept, **dict.fromkeys(said_by_trl, "auto"), **precision}


def _vllm(config: TrainConfig) -> dict[str, Any]:
    vllm = config.vllm
    if vllm.mode == "off":
        return {}
    host, _, port = vllm.server.rpartition(":")
    return {
        "use_vllm": True,
        "vllm_mode": vllm.mode,
        "vllm_gpu_memory_utilization": vllm.gpu_memory,
        "vllm_max_model_length": vllm.max_model_length,
        "vllm_tensor_parallel_size": vllm.tensor_parallel,
        "vllm_enable_sleep_mode": vllm.sleep and vllm.mode == "colocate",
        "vllm_server_host": host,
        "vllm_server_port": int(port),
    }
