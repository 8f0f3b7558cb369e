"""A trainer from a run's settings, and a model from its checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers.trainer_callback import PrinterCallback
from trl import GRPOConfig
from trl.rewards import get_soft_overlong_punishment

from refine_iqa.config import TrainConfig
from refine_iqa.data.rows import Row
from refine_iqa.grpo.arguments import grpo_config, lora_config
from refine_iqa.grpo.callback import RunCallback
from refine_iqa.grpo.difference import ProbabilityDifference
from refine_iqa.grpo.judging import judge_on
from refine_iqa.grpo.rows import TrainingRows
from refine_iqa.grpo.trainer import QualityTrainer, trainer_files
from refine_iqa.learner import updates_per_epoch
from refine_iqa.model.card import run_card
from refine_iqa.model.loading import load_model
from refine_iqa.model.sharing import SharedPictures, share_vision, vision_tower
from refine_iqa.perception.boxes import boxes_said
from refine_iqa.rewards import registry
from shared_core.checkpoints.manifest import seal
from shared_core.checkpoints.pretrained import CARD
from shared_core.checkpoints.weights import load_metadata
from shared_core.data.quarantine import Quarantine
from shared_core.errors import ConfigError
from shared_core.training.run import Run
from shared_core.training.snapshot import read_progress

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_STATE = shutil.ignore_patterns(
    "optimizer*", "scheduler.pt", "scaler.pt", "rng_state*", "trainer_state.json", "global_step*",
    "latest", "zero_to_fp32.py", "zero_to_torch.py", "ref",
)  # fmt: skip
"""What a checkpoint holds beside the model."""


def build_trainer(
    config: TrainConfig,
    rows: Sequence[Row],
    quarantine: Quarantine,
    run: Run,
    *,
    validation: Sequence[Row] = (),
) -> QualityTrainer:
    """The trainer of a run, with its model on its device.

    Args:
        config: the run's settings.
        rows: training rows.
        quarantine: what happens to media that cannot be read.
        run: opened.
        validation: rows with scores that the policy is judged on; none: it is not judged.

    Raises:
        CheckpointError: the model cannot be used.
        ConfigError: settings do not fit the model or the processes.
    """
    planned = config.epochs * updates_per_epoch(config, len(rows))
    arguments = grpo_config(config, run.accelerator, planned)
    model, processor = load_model(
        config.model,
        dtype=_DTYPES[config.weights_dtype],
        attn=None if config.attn == "auto" else config.attn,
    )
    _choose_what_learns(model, config)
    training_rows = TrainingRows(
        rows,
        config,
        factor=processor.image_processor.patch_size * processor.image_processor.merge_size,
        boxes=boxes_said(model.config.model_type, config.box_convention),
        quarantine=quarantine,
    )
    processor.image_processor = SharedPictures(processor.image_processor)
    rewards: list[Callable[..., Any]] = _rule_rewards(config)
    if config.strategy == "refine":
        rewards.append(
            ProbabilityDifference(
                lambda *asked: trainer.probabilities(*asked),
                processor.tokenizer,
                score_threshold=config.score_threshold,
                digits=config.pd_digits,
                label=config.pd_label,
                in_step=_shards_weights(arguments),
            )
        )
    trainer = QualityTrainer(
        run=run,
        refuse=training_rows.refuse,
        advantages=config.advantage_shaping if config.strategy == "refine" else "grpo",
        model=model,
        args=arguments,
        train_dataset=training_rows.dataset(),
        processing_class=processor,
        reward_funcs=rewards,
        peft_config=lora_config(config),
    )
    trainer.remove_callback(PrinterCallback)
    judge = judge_on(validation, config, trainer, quarantine) if validation else None
    trainer.add_callback(RunCallback(run, cycle=config.num_iterations, judge=judge))
    if config.share_vision:
        for policy in (trainer.model, trainer.ref_model):
            if policy is not None:
                share_vision(trainer.accelerator.unwrap_model(policy))
    return trainer


def export(config: TrainConfig, folder: Path, checkpoint: Path) -> None:
    """Write a checkpoint's model, processor and card, and their hashes, without what only training needs.

    Raises:
        CheckpointError: what should be weights is none.
    """
    step = read_progress(checkpoint).step
    shutil.copytree(trainer_files(checkpoint, step), folder, ignore=_STATE, dirs_exist_ok=True)
    for weights in folder.glob("*.safetensors"):
        load_metadata(weights)  # a run that was over has not loaded them
    (folder / CARD).write_text(run_card(config, step), encoding="utf-8")
    seal(folder, {})


def _shards_weights(arguments: GRPOConfig) -> bool:
    """Whether a forward pass needs every process."""
    plugin = arguments.deepspeed_plugin
    return plugin is not None and plugin.zero_stage == 3


def _choose_what_learns(model: Any, config: TrainConfig) -> None:
    if isinstance(model, PeftModel) and config.lora.rank:
        raise ConfigError(
            "lora.rank", config.lora.rank, "0: the model has adapters already, which go on learning"
        )
    if isinstance(model, PeftModel):  # loaded for use; here its adapters go on learning
        for name, weight in model.named_parameters():
            weight.requires_grad_("lora_" in name)
    if config.freeze_vision:
        vision_tower(model).requires_grad_(requires_grad=False)


def _rule_rewards(config: TrainConfig) -> list[Callable[..., Any]]:
    """The rewards by their names; the one for overlong completions is trl's."""
    overlong = get_soft_overlong_punishment(
        max_completion_len=config.max_completion_length,
        soft_punish_cache=config.overlong_buffer,
    )
    overlong.__name__ = "overlong"
    names = [name for name in config.reward_names if name != "overlong"]
    built = registry.build(
        names,
        score_threshold=config.score_threshold,
        soft_width=config.soft_width,
        soft_shape=config.soft_shape,
        severity_needs_type=config.severity_needs_type,
    )
    by_name: dict[str, Callable[..., Any]] = dict(zip(names, built, strict=True))
    return [by_name.get(name, overlong) for name in config.reward_names]
