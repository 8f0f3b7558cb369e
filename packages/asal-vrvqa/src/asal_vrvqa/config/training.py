"""What can be chosen: the network, how frames are read, the stream of tasks, and a whole training run.

Nothing here imports torch, so that `asal-vrvqa train --help` answers at once. The defaults mend what is
broken in the authors' code; the preset `upstream` brings it back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from shared_core.config import setting
from shared_core.errors import ConfigError
from shared_core.training.config import TrainSettings

TASKS = ("CG", "Landscape", "Sports", "Shows", "Cityscape")
"""The authors' stream of scene categories, in their order."""

REST = "Others"
"""The category that no task learns: for pretraining, and to judge on scenes never seen."""

STRATEGIES = (
    "finetune", "joint", "er", "der", "derpp", "lwf", "ewc", "si", "agem", "gdumb", "magr", "asal",
)  # fmt: skip
"""How a stream is learnt; each is a file of `asal_vrvqa.strategies`, which names its paper."""

KEEP_NOTHING = ("finetune", "joint", "lwf", "ewc", "si")
"""Strategies without a memory of clips."""

UNFIT = {
    "icarl": "its memory and its decision are means of classes, and scores have none",
    "hal": "its anchors are chosen by how class labels are forgotten",
    "bic": "it corrects the bias of class logits",
    "lucir": "it normalises class logits",
    "xder": "it writes into the logits of classes to come",
    "l2p": "it learns prompts of a pretrained transformer, and this network is none",
    "dualprompt": "it learns prompts of a pretrained transformer, and this network is none",
    "coda_prompt": "it learns prompts of a pretrained transformer, and this network is none",
}
"""Strategies of the field that have no meaning for regression with this network, and why."""


def check_strategy(name: str, field: str = "strategy") -> None:
    """Refuse a strategy that there is not.

    Raises:
        ConfigError: names those that there are, and why one of the field's cannot be among them.
    """
    if name in STRATEGIES:
        return
    why = f" ({name} cannot be adapted to scores: {UNFIT[name]})" if name in UNFIT else ""
    raise ConfigError(field, name, f"one of {', '.join(STRATEGIES)}{why}")


@dataclass(frozen=True, kw_only=True)
class Network:
    """Sizes of the network; the defaults are the paper's."""

    backbone: Literal["sphere", "plain", "viewport"] = "sphere"
    """ResNet-18 on the sphere, on the equirectangular frame, or on viewports along scanpaths."""
    parts: int = 16
    """Bands of latitude that the sphere is cut into; an even number."""
    channels: int = 64
    """Channels of the stem; every other width is a multiple of it."""
    height: int = 512
    """Pixels of a frame's height, as the network sees it: a multiple of 32 times parts."""
    width: int = 1024
    """Pixels of a frame's width: a multiple of 32."""
    regressor: Literal["gaussian", "mlp"] = "gaussian"
    """Head: mean and variance of each frame's score, with noise in training; or a plain one."""
    frames: int = 7
    """Frames of a clip."""
    key_frames: int = 3
    """Frames of a clip that the memory keeps, and from which the adapter makes all."""
    adapter: bool = True
    """Whether it has the adapter from key frames to all frames, which `asal` needs."""
    projector: bool = False
    """Whether it has the projector from old features to new ones, which `magr` needs."""

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together.

        Raises:
            ConfigError: names the field and what it may be.
        """
        for name in ("channels", "frames", "key_frames"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "1 or more")
        if self.key_frames > self.frames:
            raise ConfigError("key_frames", self.key_frames, f"at most frames ({self.frames})")
        sphere = self.backbone == "sphere"
        if sphere and (self.parts < 2 or self.parts % 2):
            raise ConfigError("parts", self.parts, "an even number, 2 or more")
        unit = 32 * self.parts if sphere else 32
        rule = f"32 x parts ({self.parts}) = {unit}" if sphere else "32"
        for name, multiple, why in (("height", unit, rule), ("width", 32, "32")):
            value = getattr(self, name)
            if value < multiple or value % multiple:
                nearest = max(1, round(value / multiple)) * multiple
                raise ConfigError(name, value, f"a multiple of {why}; the nearest is {nearest}")
        if sphere:
            self._refuse_empty_bands()

    def _refuse_empty_bands(self) -> None:
        # The narrowest band, at the pole, must keep a column on the last map.
        weight = math.ceil(64 * math.sin(math.pi * 0.5 / self.parts))
        columns = self.width // 32
        if int(weight / 64 * columns + 0.5) < 1:
            enough = 32 * math.ceil(32 / weight)
            raise ConfigError(
                "width",
                self.width,
                f"{enough} or more with {self.parts} parts, or the bands at the poles have no column "
                "on the last map",
            )


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a clip's frames are chosen and read; a trained model keeps it."""

    missing_frames: Literal["error", "repeat-last"] = "error"
    """A clip with too few frames is an error, or its last frame stands in for those that lack."""
    scanpaths: int = 4
    """Scanpaths of a clip whose viewports are judged; for the backbone `viewport` only."""
    flip: Literal["frame", "clip", "none"] = "frame"
    """Training mirrors each frame by itself (as the authors), the whole clip, or nothing."""
    jitter: bool = True
    """Training takes each frame, or by a coin the one a second later."""

    def __post_init__(self) -> None:
        """Refuse a clip without scanpaths.

        Raises:
            ConfigError: names the field.
        """
        if self.scanpaths < 1:
            raise ConfigError("scanpaths", self.scanpaths, "1 or more")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What the scores mean."""

    name: str = "MOS"
    """What they are; anything but MOS is said to be no opinion score wherever a score is shown."""
    low: float = 1.0
    """The worst."""
    high: float = 5.0
    """The best."""

    def __post_init__(self) -> None:
        """Refuse an empty range.

        Raises:
            ConfigError: names the field.
        """
        if not self.low < self.high:
            raise ConfigError("high", self.high, f"above low ({self.low:g})")


@dataclass(frozen=True, kw_only=True)
class QualityModelConfig:
    """What a saved model is built from, how its frames are read, and what its scores mean."""

    network: Network = field(default_factory=Network)
    """Sizes."""
    reading: Reading = field(default_factory=Reading)
    """How its frames are chosen."""
    scale: Scale = field(default_factory=Scale)
    """What its scores mean."""
    trained: bool = True
    """Whether it has learnt any scores: a converted backbone alone has not."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What the strategies keep of the past, and how it is learnt again."""

    buffer_size: int = 30
    """Clips in the memory, over all tasks."""
    minibatch: int = 2
    """Clips of the memory in an update (authors: 2, with which the correlation has no gradient)."""
    key_frame_weights: Path | None = None
    """`asal`: torchvision's ResNet-18 file, whose features choose the key frames (as the authors); none:
    those of the network itself."""
    joint_step: bool = False
    """`asal`: current and stored clips make one step together, with one correlation over both."""
    beta: float = 0.1
    """`asal`: weight of the adapter's loss."""
    adapter_detach: bool = False
    """`asal`: the adapter's loss does not move the features it aims at."""
    alpha: float = 0.5
    """`der`, `derpp`, `lwf`, `magr`: weight of distillation."""
    label_weight: float = 0.5
    """`derpp`: weight of the stored labels."""
    graph_weight: float = 0.1
    """`magr`: weight of the graph loss."""
    ewc_lambda: float = 1.0
    """`ewc`: weight of the penalty."""
    ewc_gamma: float = 1.0
    """`ewc`: what is kept of the importance of earlier tasks at each new one."""
    si_c: float = 0.1
    """`si`: weight of the penalty."""
    si_xi: float = 0.1
    """`si`: damping of the importance."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ConfigError: names the field.
        """
        for name in ("buffer_size", "minibatch"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "1 or more")
        for name in (
            "beta",
            "alpha",
            "label_weight",
            "graph_weight",
            "ewc_lambda",
            "ewc_gamma",
            "si_c",
        ):
            if not getattr(self, name) >= 0:
                raise ConfigError(name, getattr(self, name), "0 or more")
        if not self.si_xi > 0:
            raise ConfigError("si_xi", self.si_xi, "a number above 0")


@dataclass(frozen=True, kw_only=True)
class Compat:
    """Quirks of the authors' code, off by default; the README says what each one costs."""

    lr_carry_over: bool = False
    """The learning rate goes on decaying from task to task: the fifth starts at 3.2e-8."""
    key_frame_order: bool = False
    """Key frames are replayed in the order of their clusters, though the adapter learns on sorted ones."""
    select_on_test: bool = False
    """Base and joint training: the test clips choose the checkpoint."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(TrainSettings):
    """Train on one set of clips (base, joint) or on a stream of tasks, one scene category after another."""

    labels: Path
    """Folder with infoAB_all.csv (VideoName, MOS) and the categories (categorized_videos.csv or .xlsx)."""
    frames: Path
    """Folder of frame folders ({A|B}_{source}/NNN.png), as `asal-vrvqa prepare frames` writes them."""
    cache: Path | None = setting(None, changes_numbers=False)
    """Folder of the uint8 cache that `prepare frames --cache` writes; without it PNGs are decoded."""

    mode: Literal["continual", "base", "joint", "joint-wo-base"] = "continual"
    """The stream of tasks; the rest category alone; all clips at once; the tasks' clips at once."""
    strategy: str | None = None
    """How it is learnt: finetune, joint, er, der, derpp, lwf, ewc, si, agem, gdumb, magr or asal; none:
    a stream by asal, anything else by finetune."""
    tasks: tuple[str, ...] = TASKS
    """Categories of the stream, in their order."""
    split_unit: Literal["source", "clip"] = "source"
    """What is dealt to training and test: source videos, so that no source is in both, or single clips,
    as the authors do (nearly every test clip then shows a scene of the training set)."""
    train_ratio: float = 0.8
    """Share of each category that is trained on."""
    split_seed: int = 1024
    """Key of the split (authors: 1024; their joint split takes the run's seed)."""
    few_shot: int | None = None
    """Clips of each task that are trained on, about that many; none: all."""
    val_ratio: float = 0.0
    """Base and joint training: share of the training sources that choose the checkpoint; 0: the last
    weights are kept."""

    network: Network = field(default_factory=Network)
    """Sizes of the network."""
    reading: Reading = field(default_factory=Reading)
    """How frames are chosen and changed."""
    scale: Scale = field(default_factory=Scale)
    """What the labels mean; one outside of its range is an error."""
    replay: Replay = field(default_factory=Replay)
    """The memory, and the weights of the strategies."""
    compat: Compat = field(default_factory=Compat)
    """Quirks of the authors' code to keep."""
    init_weights: Path | None = None
    """Initial weights: a model or run folder (base pretraining), or torchvision's ResNet-18 file."""

    loss: Literal["mse", "plcc", "mix"] = "mix"
    """Squared error, correlation, or both with the weights below."""
    mse_weight: float = 0.01
    """Factor of the squared error in mix."""
    plcc_weight: float = 1.0
    """Factor of the correlation loss in mix."""
    kl_weight: float = 0.0
    """Factor of the divergence of the Gaussian head's variance from 1; the authors have none."""

    epochs: int = 15
    """Passes over the clips of each task."""
    batch_size: int = 3
    """Clips in an update, over all processes and micro-batches together."""
    clip_norm: float | None = None
    """Largest norm of the gradient; none: no clipping."""
    lr: float = 1e-4
    """Learning rate of Adam at the start of each task."""
    weight_decay: float = 1e-7
    """L2 penalty of Adam."""
    decay_every: int = 2
    """Epochs between two falls of the learning rate."""
    decay_factor: float = 0.75
    """By what it falls."""
    sync_batch_norm: bool = True
    """Several processes share their batch statistics, so that they learn what one would."""
    global_loss: bool = True
    """Correlations are taken over the batch of all processes; else over each one's share."""

    def __post_init__(self) -> None:
        """Refuse choices that contradict one another.

        Raises:
            ConfigError: names the field, the value, and what it may be.
        """
        super().__post_init__()
        for name in ("mse_weight", "plcc_weight", "kl_weight", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ConfigError(name, getattr(self, name), "0 or more")
        for name in ("lr", "decay_factor"):
            if not getattr(self, name) > 0:
                raise ConfigError(name, getattr(self, name), "a number above 0")
        if self.decay_every < 1:
            raise ConfigError("decay_every", self.decay_every, "1 or more epochs")
        if not 0 < self.train_ratio < 1:
            raise ConfigError("train_ratio", self.train_ratio, "between 0 and 1")
        if not 0 <= self.val_ratio < 1:
            raise ConfigError("val_ratio", self.val_ratio, "0 or more, below 1")
        if self.few_shot is not None and self.few_shot < 4:
            raise ConfigError("few_shot", self.few_shot, "4 or more: one of each condition")
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise ConfigError("tasks", self.tasks, "one or more categories, each once")
        check_strategy(self.learns_by)
        if self.mode == "continual":
            self._check_stream()
        elif self.learns_by != "finetune":
            expected = f"finetune or none: the mode {self.mode} is a single task"
            raise ConfigError("strategy", self.strategy, expected)

    def _check_stream(self) -> None:
        if self.val_ratio or self.compat.select_on_test:
            name = "val_ratio" if self.val_ratio else "compat.select_on_test"
            raise ConfigError(name, True, "unset in a stream: its last weights are the result")
        if self.learns_by == "si" and self.precision == "fp16":
            raise ConfigError("precision", "fp16", "fp32 or bf16: si reads unscaled gradients")
        if self.learns_by not in KEEP_NOTHING and (self.replay.buffer_size < len(self.tasks)):
            raise ConfigError(
                "replay.buffer_size",
                self.replay.buffer_size,
                f"{len(self.tasks)} or more: a clip of each task",
            )

    @property
    def learns_by(self) -> str:
        """The strategy that `strategy` comes to."""
        return self.strategy or ("asal" if self.mode == "continual" else "finetune")

    def for_model(self) -> QualityModelConfig:
        """Config of the network: with what the strategy teaches, and nothing that it does not."""
        network = replace(
            self.network, adapter=self.learns_by == "asal", projector=self.learns_by == "magr"
        )
        return QualityModelConfig(network=network, reading=self.reading, scale=self.scale)
