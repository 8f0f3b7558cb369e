"""What can be chosen of a training run.

Names and defaults are the authors', except where their code is broken; the README lists both.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from refine_iqa.config.data import BoxConvention, MediaSettings
from shared_core.config import setting
from shared_core.errors import ConfigError
from shared_core.training.config import TrainSettings

Stage = Literal["perception", "scoring"]
Strategy = Literal["grpo", "refine"]
Reward = Literal[
    "format", "answer", "answer_soft", "range", "rank", "overlong",
    "type", "severity", "grounding", "joint",
]  # fmt: skip

REWARDS_OF: dict[Stage, tuple[Reward, ...]] = {
    "scoring": ("format", "answer"),
    "perception": ("type", "severity", "grounding", "joint"),
}
"""Rewards of a stage, where none are named."""


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adapters instead of all weights."""

    rank: int = 0
    """Rank of the adapters; 0: all weights are trained."""
    alpha: int = 64
    """Scale of the adapters, divided by the rank."""
    dropout: float = 0.05
    """Dropout before the adapters."""
    targets: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    """Linear layers of the language model that get one."""


@dataclass(frozen=True, kw_only=True)
class Vllm:
    """Completions by vLLM instead of transformers; it needs an environment of its own (see the README)."""

    mode: Literal["off", "colocate", "server"] = "off"
    """Not at all, on the training GPUs, or by a server of `trl vllm-serve`."""
    gpu_memory: float = 0.3
    """Share of a GPU's memory that vLLM takes (colocate)."""
    max_model_length: int | None = None
    """Most tokens of prompt and completion; none: as the model allows."""
    tensor_parallel: int = 1
    """GPUs that share a model (colocate)."""
    sleep: bool = True
    """vLLM gives its memory back while the model learns (colocate)."""
    server: str = "127.0.0.1:8000"
    """Host and port of the server."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(MediaSettings, TrainSettings):
    """Tune a vision-language model by GRPO, on distortions (stage perception) or quality scores."""

    model: Annotated[str, tyro.conf.arg(metavar="FOLDER|RUN|HUB_ID")]
    """Qwen2.5-VL or Qwen3-VL to begin with: a folder, a run folder, or a hub id."""
    data: tuple[Path, ...]
    """Training tables (JSON, JSON lines or CSV); images and videos may be mixed."""
    data_root: Path | None = None
    """Folder that relative paths of the tables begin at; none: each table's own folder."""
    eval_data: Path | None = None
    """Validation table with scores, judged while training; none: no evaluation."""
    eval_mode: Literal["direct", "reasoned"] = "direct"
    """How validation pictures are scored: from digit probabilities, or after reasoning."""
    eval_batch_size: int = setting(8, changes_numbers=False)
    """Validation rows that are scored at the same time."""
    stage: Stage = "scoring"
    """What is learnt: perceiving distortions, or scoring quality."""
    strategy: Strategy = "grpo"
    """Plain GRPO, or the refine strategy: thinking is rewarded for raising the right score's probability."""
    box_convention: BoxConvention = "auto"
    """How boxes are said: pixels of the resized picture (Qwen2.5-VL) or 0..1000 (Qwen3-VL)."""

    rewards: tuple[Reward, ...] = ()
    """Rewards of a completion; none: those of the stage."""
    reward_weights: tuple[float, ...] = ()
    """Weight of each; none: 1 each."""
    score_threshold: float = 0.5
    """Largest error of a right score (reward `answer`)."""
    soft_width: float = 1.0
    """Error at which the reward `answer_soft` has fallen to 0 (linear) or to 1/e (gaussian)."""
    soft_shape: Literal["linear", "gaussian"] = "linear"
    """How the reward `answer_soft` falls with the error."""
    severity_needs_type: bool = True
    """Reward `joint`: severity counts only where the type is right."""
    overlong_buffer: int = 128
    """Reward `overlong`: tokens below the longest completion from which length costs."""

    advantage_shaping: Literal["refine", "grpo"] = "refine"
    """Strategy refine: groups with a full success learn from their best only, uniformly failed ones are
    pushed down a little; or advantages as GRPO has them."""
    pd_digits: Literal["first", "all"] = "first"
    """Digits of the right score whose probability counts: the first decimal, or all three."""
    pd_label: Literal["round", "truncate"] = "round"
    """The right score in two decimals: rounded, or cut off (as the authors)."""

    num_generations: int = 8
    """Completions of a prompt: a group."""
    max_completion_length: int = 1024
    """Most tokens of a completion."""
    temperature: float = 1.0
    """Of sampling."""
    top_p: float = 1.0
    """Sample from the likeliest tokens of this total probability."""
    top_k: int = 0
    """Sample from so many likeliest tokens; 0: from all."""
    num_iterations: int = 1
    """Updates from the same completions (strategy grpo only)."""
    beta: float = 0.04
    """Weight of the divergence from the first model; 0: none, and no second model in memory."""
    epsilon: float = 0.2
    """Clipping of the probability ratio from below, and from above without `epsilon_high`."""
    epsilon_high: float | None = None
    """Clipping from above; none: `epsilon`."""
    delta: float | None = None
    """Bound of the ratio where the advantage is negative (the authors': 10); none: unbounded."""
    loss_type: Literal["grpo", "dr_grpo", "bnpo", "dapo"] = "grpo"
    """Mean over sequences of the mean over tokens, or another of trl's."""

    lr: float = 1e-7
    """Peak learning rate; it falls linearly to 0."""
    warmup_share: float = 0.0
    """Share of the updates over which the learning rate rises."""
    weight_decay: float = 0.0
    """Of AdamW."""
    lora: Lora = field(default_factory=Lora)
    """Low-rank adapters."""
    freeze_vision: bool = False
    """The vision tower keeps its weights."""
    weights_dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the weights in memory; bfloat16 halves it."""
    attn: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    """Attention kernels."""
    gradient_checkpointing: bool = setting(True, changes_numbers=False)
    """Compute activations twice instead of keeping them."""
    share_vision: bool = setting(True, changes_numbers=False)
    """Run the vision tower once for each picture of a group."""
    vllm: Vllm = field(default_factory=Vllm)
    """Completions by vLLM."""

    epochs: int = 5
    """Passes over the training rows."""
    batch_size: int = 8
    """Prompts of an update, over all processes and micro-batches; each has a group of completions."""
    clip_norm: float | None = 1.0
    """Largest norm of the gradient; none: no clipping."""
    save_every: int | None = 200
    """Updates between checkpoints; none: once an epoch."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ConfigError: names the field, the value, and what it may be.
        """
        MediaSettings.__post_init__(self)
        TrainSettings.__post_init__(self)
        if not self.data:
            raise ConfigError("data", self.data, "one table or more")
        if self.num_generations < 2:
            raise ConfigError(
                "num_generations", self.num_generations, "2 or more: one alone has no deviation"
            )
        for name in ("max_completion_length", "num_iterations", "eval_batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "1 or more")
        if self.strategy == "refine" and self.num_iterations > 1:
            raise ConfigError(
                "num_iterations",
                self.num_iterations,
                "1 with strategy refine, which re-uses nothing",
            )
        if self.strategy == "refine" and self.stage != "scoring":
            raise ConfigError("strategy", "refine", "grpo in stage perception: there is no score")
        if self.reward_weights and len(self.reward_weights) != len(self.reward_names):
            raise ConfigError(
                "reward_weights", self.reward_weights, f"one for each of {self.reward_names}"
            )
        if self.strategy == "refine" and {"format", "answer"} - set(self.reward_names):
            raise ConfigError(
                "rewards", self.rewards, "format and answer among them (strategy refine)"
            )
        if self.lora.rank < 0:
            raise ConfigError("lora.rank", self.lora.rank, "0 or more")
        for name, low, high in (
            ("temperature", 1e-6, math.inf),
            ("top_p", 1e-6, 1.0),
            ("top_k", 0, math.inf),
            ("beta", 0.0, math.inf),
            ("epsilon", 0.0, 1.0),
            ("lr", 0.0, math.inf),
            ("warmup_share", 0.0, 0.999),
        ):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(name, getattr(self, name), f"from {low:g} to {high:g}")
        if not re.fullmatch(r"[^:\s]+:\d+", self.vllm.server):
            raise ConfigError("vllm.server", self.vllm.server, "host:port")
        if self.precision == "fp32" and self.weights_dtype == "bfloat16":
            raise ConfigError("weights_dtype", "bfloat16", "float32 with precision fp32")
        for name in ("save_every", "evaluate_every", "max_steps"):
            every = getattr(self, name)
            if every is not None and every % self.num_iterations:
                raise ConfigError(
                    name, every, f"a multiple of num_iterations ({self.num_iterations})"
                )

    @property
    def reward_names(self) -> tuple[Reward, ...]:
        """The rewards in use, in order."""
        return self.rewards or REWARDS_OF[self.stage]
