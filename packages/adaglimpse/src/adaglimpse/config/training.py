"""What can be chosen of a training run.

Names and defaults are the authors', except where their code is broken; the preset `upstream` and the
fields of `Compat` bring that back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from adaglimpse.config.data import DataSettings
from adaglimpse.config.model import BackboneSize, GlimpseModelConfig, RlInput, Task
from shared_core.config import setting
from shared_core.errors import ConfigError
from shared_core.training.config import TrainSettings

EvalAction = Literal["mean", "mode", "sample", "mc1000"]


@dataclass(frozen=True, kw_only=True)
class Compat:
    """Quirks of the authors' code, off by default; the README says what each one costs."""

    unmasked_decoder: bool = False
    """The decoder attends to the empty patches of images that stopped early."""
    penalty_of_next_action: bool = False
    """The size penalty counts the next glimpse's scale, and none at the last step."""
    metrics: bool = False
    """Segmentation measures of images without a labelled pixel are 0, 0 and NaN instead of undefined."""
    pretraining_stream: bool = False
    """Random patches come from one stream of numpy's with the authors' key; without loader processes
    only."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(DataSettings, TrainSettings):
    """Train a backbone and the policy that chooses its glimpses, on images of one data set."""

    task: Task = "reconstruction"
    """What is predicted from the glimpses."""
    image_size: tuple[int, int] = (224, 224)
    """Height and width that images are resized to, pixels."""
    augment: bool = True
    """Training images are changed at random, as is usual for their data set."""
    shear: Literal["constant", "symmetric"] = "constant"
    """Segmentation: every training image is sheared by 5 degrees (as the authors), or by -5 to 5."""
    num_samples: int | None = None
    """Images of an epoch, drawn with replacement; none: every image once."""
    eval_batch_size: int = setting(32, changes_numbers=False)
    """Images that are judged at the same time."""

    backbone_size: BackboneSize = "base"
    """Width and depth of the backbone."""
    num_glimpses: int = 14
    """Glimpses of an episode."""
    glimpse_grid_size: int = 2
    """Patches along each side of a glimpse."""
    max_glimpse_size_ratio: float = 1.0
    """Side of the largest glimpse, as a share of the image's shorter side."""
    fixed_scale: float | None = None
    """Every glimpse of this scale, 0 (closest) to 1 (whole image); none: the policy chooses."""
    extract_latent_layer: int | None = None
    """The policy sees the input of this block of the backbone; none: its output."""
    exclude_rl_inputs: tuple[RlInput, ...] = ()
    """What the policy does not see: patches, attention, coords, observation."""
    rl_norm: Literal["batch", "masked", "group", "frozen"] = "batch"
    """Normalisation of the policy's patch features: over a batch with its empty patches (as the
    authors), over the patches that are there, within groups of channels, or by constant statistics."""
    masked_rollout: bool = False
    """Attention rollout counts real patches only."""

    pretrained_mae_path: Path | None = None
    """Initial weights of the backbone: a model or run folder, a Lightning checkpoint, or a file of MAE."""
    pretrained_checkpoint: Path | None = None
    """Initial weights of everything: a model or run folder, as `convert` and `train` write them."""
    pretraining: bool = False
    """Train the backbone alone, on random patches."""
    teacher_pretraining: bool = False
    """Train the DeepLab teacher alone, on segmented images."""
    freeze_encoder: bool = False
    """The encoder keeps its initial weights; decoder and heads learn."""
    teacher_type: Literal["vit", "deeplab"] | None = None
    """Learn from a teacher's predictions on whole images: a ViT (classification), or DeepLabV3
    (segmentation)."""
    teacher_path: Path | None = None
    """Its weights."""

    batch_size: int = 32
    """Images whose episodes make an update, over all processes."""
    epochs: int = 100
    """Passes over the training images."""
    clip_norm: float | None = None
    """Largest norm of the gradient of each network; none: no clipping."""
    lr: float = 1e-3
    """Peak learning rate of actor, critics and temperature."""
    backbone_lr: float = 1e-5
    """Peak learning rate of the backbone."""
    backbone_decay: float = 1e-4
    """Weight decay of the backbone."""
    rl_decay: float = 0.01
    """Weight decay of actor and critics."""
    alpha_decay: float = 0.01
    """Weight decay of the temperature's logarithm; above 0 it pulls the temperature to 1."""
    cycle_momentum: bool = True
    """The one-cycle schedule moves Adam's first beta too (as the authors)."""
    backbone_loss: Literal["sum", "mean"] = "sum"
    """Reconstruction: its loss is a sum over the images of a batch (as the authors), or their mean."""

    rl_batch_size: int = 128
    """Transitions of a SAC update, for each process."""
    rl_iters_per_step: int = 1
    """SAC updates after each glimpse."""
    replay_buffer_size: int = 10_000
    """Transitions that are kept, for each process."""
    save_replay: bool = True
    """Checkpoints hold the replay buffer, so that a resumed run is exact; without, it is filled anew."""
    rl_loss_function: Literal["l2", "l1", "smooth_l1"] = "l2"
    """Distance of the critics from their target."""
    rl_target_entropy: float | None = None
    """Entropy that the temperature aims at; none: minus the number of action's dimensions, -3."""
    rl_alpha_init: float = 1.0
    """Initial temperature: worth of an action's entropy, in rewards. It takes thousands of updates to
    fall; short runs with small rewards want it small from the start."""
    reward_type: Literal["diff", "simple", "autonorm"] = "diff"
    """Gain of the score by a glimpse, the score after it, or that in standard deviations of a batch."""
    glimpse_size_penalty: float = 0.0
    """Taken from the reward, times the scale of the glimpse."""
    init_random_batches: int = 10_000
    """Glimpses of the run's first episodes that are chosen uniformly, counted in batches."""
    freeze_backbone_epochs: int = 10
    """Epochs at the beginning in which the policy alone learns."""
    backbone_training_type: Literal["alternating", "constant", "disabled", "backbone-only"] = (
        "alternating"
    )
    """Afterwards: policy and backbone in turn (even epochs the policy), both, the policy alone; or the
    backbone alone from the first epoch on."""
    flush_replay: bool = False
    """Empty the replay buffer when the policy's turn comes again: its latents are of an older backbone."""
    early_stop_threshold: float | None = None
    """In evaluation an image stops once its score is above this; none: never. The score is the largest
    probability of a class, or minus the RMSE of a reconstruction."""
    train_early_stop_threshold: float | None = None
    """The same in training, where the score knows the answer."""
    eval_action: EvalAction = "mean"
    """Action in evaluation: the distribution's exact mean, its mode, a draw, or the mean of 1000 draws."""
    compat: Compat = field(default_factory=Compat)
    """Quirks of the authors' code to keep."""

    def __post_init__(self) -> None:
        """Refuse choices that contradict one another.

        Raises:
            ConfigError: names the field, the value, and what it may be.
        """
        super().__post_init__()
        self.check_task(self.task)
        self.for_model(1, ())
        for name in ("rl_batch_size", "rl_iters_per_step", "replay_buffer_size", "eval_batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "1 or more")
        for name in ("init_random_batches", "freeze_backbone_epochs"):
            if getattr(self, name) < 0:
                raise ConfigError(name, getattr(self, name), "0 or more")
        for name in ("backbone_decay", "rl_decay", "alpha_decay", "glimpse_size_penalty"):
            if not getattr(self, name) >= 0:
                raise ConfigError(name, getattr(self, name), "0 or more")
        for name in ("lr", "backbone_lr", "rl_alpha_init"):
            if not getattr(self, name) > 0:
                raise ConfigError(name, getattr(self, name), "a number above 0")
        if self.early_stop_threshold is not None and self.task == "segmentation":
            raise ConfigError(
                "early_stop_threshold",
                self.early_stop_threshold,
                "none: the score of a segmentation needs the labels",
            )
        if self.num_samples is not None and self.num_samples < 1:
            raise ConfigError("num_samples", self.num_samples, "1 or more, or none")
        if self.teaches_policy:
            self._check_replay()
        self._check_teacher()

    def _check_replay(self) -> None:
        if self.replay_buffer_size < self.rl_batch_size:
            raise ConfigError(
                "replay_buffer_size",
                self.replay_buffer_size,
                f"rl_batch_size ({self.rl_batch_size}) or more",
            )
        episodes = self.batch_size * self.num_glimpses
        if self.replay_buffer_size < episodes:
            raise ConfigError(
                "replay_buffer_size",
                self.replay_buffer_size,
                f"{episodes} or more: batch_size ({self.batch_size}) x num_glimpses "
                f"({self.num_glimpses}), the episodes of a batch",
            )

    def _check_teacher(self) -> None:
        fitting: dict[str, Task] = {"vit": "classification", "deeplab": "segmentation"}
        if self.teacher_pretraining and self.task != "segmentation":
            raise ConfigError("teacher_pretraining", True, "false, or the task segmentation")
        if self.pretraining and self.teacher_pretraining:
            raise ConfigError("teacher_pretraining", True, "false beside pretraining")
        if self.teacher_type is not None:
            if fitting[self.teacher_type] != self.task:
                raise ConfigError(
                    "teacher_type",
                    self.teacher_type,
                    f"none, or the task {fitting[self.teacher_type]}",
                )
            if self.teacher_path is None:
                raise ConfigError(
                    "teacher_path", None, f"the weights of the {self.teacher_type} teacher"
                )
        if self.dataset == "ade20k-distilled" and self.teacher_type is None:
            raise ConfigError(
                "teacher_type", None, "deeplab: the images of this data set have no masks"
            )
        if self.pretraining and self.compat.pretraining_stream and self.workers:
            raise ConfigError("workers", self.workers, "0 with compat.pretraining_stream")

    @property
    def teaches_policy(self) -> bool:
        """Whether any epoch of the run teaches the policy."""
        alone = self.pretraining or self.teacher_pretraining
        return not alone and self.backbone_training_type != "backbone-only"

    def for_model(self, num_classes: int, classes: tuple[str, ...]) -> GlimpseModelConfig:
        """Config of the model, for the classes of the data."""
        return GlimpseModelConfig(
            task=self.task,
            backbone_size=self.backbone_size,
            num_classes=num_classes,
            classes=classes,
            image_size=self.image_size,
            num_glimpses=self.num_glimpses,
            glimpse_grid_size=self.glimpse_grid_size,
            max_glimpse_size_ratio=self.max_glimpse_size_ratio,
            fixed_scale=self.fixed_scale,
            extract_latent_layer=self.extract_latent_layer,
            exclude_rl_inputs=self.exclude_rl_inputs,
            rl_norm=self.rl_norm,
            masked_rollout=self.masked_rollout,
            unmasked_decoder=self.compat.unmasked_decoder,
        )
