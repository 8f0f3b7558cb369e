"""What can be chosen: the networks, the objective, the schedule, and a whole training run.

Nothing here imports torch, so that `abaw-va train --help` answers at once. The defaults are those
of the authors' scripts; the presets spell them out, model by model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from shared_core.config import setting
from shared_core.config.fields import nearest
from shared_core.errors import ConfigError, UsageError
from shared_core.training.config import TrainSettings

Target: TypeAlias = Literal["both", "valence", "arousal"]
"""What is predicted; `both` orders the columns valence, arousal."""

LossName: TypeAlias = Literal[
    "mse", "vmse", "amse", "mse_sum", "vmse_sum", "amse_sum",
    "ccc", "vccc", "accc", "batch_ccc", "batch_vccc", "batch_accc",
    "ce",
]  # fmt: skip
"""The losses; a leading v or a means valence or arousal alone."""

BINS = 22
"""Classes of the distribution head: 20 bins and the two ends of the scale."""


@dataclass(frozen=True, kw_only=True)
class _Temporal:
    """What every network has."""

    hidden_size: int = 256
    """Width of the hidden states; -1: half the input width, at most 512."""
    regressor: tuple[int, ...] = (256, 256)
    """Widths of the fully connected layers before the output."""
    dropout: float = 0.3
    """Dropout between the layers of the regressor, 0 to 1."""
    encoder_dropout: float = 0.1
    """Dropout inside the encoders, attention weights included, 0 to 1."""
    chunk_length: int = 250
    """Frames the network reads at a time."""

    def __post_init__(self) -> None:
        """Refuse widths and probabilities that cannot be.

        Raises:
            ConfigError: names the field and what it may be.
        """
        if self.hidden_size != -1:
            _at_least("hidden_size", self.hidden_size, 1)
        for width in self.regressor:
            _at_least("regressor", width, 1)
        _at_least("chunk_length", self.chunk_length, 1)
        for name in ("dropout", "encoder_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "at least 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class Attending(_Temporal):
    """What every network with a transformer encoder has."""

    layers: int = 4
    """Encoder layers."""
    heads: int = 4
    """Attention heads; they divide the hidden width."""
    ffn_width: int = 1024
    """Width of the feed-forward layers."""
    position_encoding: bool = True
    """Add sine and cosine positions, counted from the start of each chunk."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("layers", "heads", "ffn_width"):
            _at_least(name, getattr(self, name), 1)


@dataclass(frozen=True, kw_only=True)
class Transformer(Attending):
    """Transformer encoder over chunks; nothing passes from one chunk to the next."""

    hop: int | None = None
    """At inference, frames between the starts of overlapping windows, whose predictions are
    averaged; none: half a chunk; 0: chunks side by side, as the authors do, with a seam at every
    border."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hop is not None and not 0 <= self.hop <= self.chunk_length:
            raise ConfigError("hop", self.hop, f"0 to chunk_length ({self.chunk_length})")


@dataclass(frozen=True, kw_only=True)
class TransformerLstm(Attending):
    """Transformer encoder over chunks, then an LSTM along the whole video."""

    residual: bool = True
    """The LSTM reads the projected features plus the encoder's output, not the latter alone."""
    fc_activation: Literal["relu", "none"] = "relu"
    """After the projection of the features. A projection transferred from a trained `transformer`
    had no activation there: `none` keeps what it learnt; the authors put a ReLU on it."""


@dataclass(frozen=True, kw_only=True)
class TransformerAttention(Attending):
    """Transformer encoder over chunks that attends to means of the video's earlier chunks."""

    attention: Literal["multihead", "single"] = "multihead"
    """How the memory is read: a learnt attention with 4 heads, or a dot product without weights."""
    block_length: int = 10
    """Frames averaged into one row of memory."""
    memory_length: int = 100
    """Rows of memory that are kept; -1: all of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least("block_length", self.block_length, 1)
        if self.memory_length != -1:
            _at_least("memory_length", self.memory_length, 1)


@dataclass(frozen=True, kw_only=True)
class FclstmXl(_Temporal):
    """One fully connected layer, then an LSTM along the whole video."""

    hidden_size: int = 512
    """Width of the hidden states; -1: half the input width, at most 512."""
    regressor: tuple[int, ...] = (512, 256)
    """Widths of the fully connected layers before the output."""
    chunk_length: int = 100
    """Frames the network reads at a time; training backpropagates through that many."""


Network: TypeAlias = Transformer | TransformerLstm | TransformerAttention | FclstmXl

MEMORY_HEADS = 4
"""Heads of the attention to the memory; fixed in the authors' code, whatever the encoder has."""


@dataclass(frozen=True, kw_only=True)
class Compat:
    """Quirks of the authors' code, off by default; the README says what each one costs."""

    padding: bool = False
    """Networks treat padding as frames: a prediction depends on the other videos of its batch."""
    sampler: bool = False
    """Batches are whole videos padded to the longest, so that many steps see one video."""
    init: bool = False
    """All encoder layers start from the same attention projection."""
    schedule: bool = False
    """The cosine rises again after `constant_epochs`; the warm-up begins with a rate of 0."""
    ccc_padding: bool = False
    """The loss `ccc` counts the zeros of the padding as frames."""
    norm_padding: bool = False
    """Normalisation by `batch` counts padding as frames and fills it with values; needs `padding`."""
    class_bounds: bool = False
    """A label that lies on the bound of a class falls into the class of -1."""
    undefined_ccc: bool = False
    """An undefined CCC (both sides constant, or one frame) is reported as 0."""

    def __post_init__(self) -> None:
        """Refuse padding that is counted and is not there.

        Raises:
            ConfigError: names the field.
        """
        if self.norm_padding and not self.padding:
            raise ConfigError("compat.norm_padding", True, "compat.padding beside it")


@dataclass(frozen=True, kw_only=True)
class Smoothing:
    """Moving average of the predictions; a window reaches that far to each side, 0 turns it off."""

    valence: float = 1.667
    """Reach on each side for valence (authors: 50 frames at 30 frames per second)."""
    arousal: float = 0.667
    """Reach on each side for arousal (authors: 20 frames at 30 frames per second)."""
    unit: Literal["seconds", "frames"] = "seconds"
    """Unit of the two; frames ignore the video's rate, as the authors do."""

    def __post_init__(self) -> None:
        """Refuse windows of negative length.

        Raises:
            ConfigError: names the field.
        """
        for name in ("valence", "arousal"):
            if not getattr(self, name) >= 0:
                raise ConfigError(name, getattr(self, name), f"0 or more {self.unit}")

    def window(self, target: str, fps: float) -> int:
        """Frames on each side for a video of `fps` frames per second."""
        reach: float = getattr(self, target)
        return round(reach if self.unit == "frames" else reach * fps)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Which features a network reads, and how they are normalised."""

    features: tuple[str, ...] = ("affectnet", "vggish", "wav2vec")
    """Names of the feature sets, in the order of their channels; widths are read from the files."""
    normalise: tuple[str, ...] = ()
    """Those of them that are normalised (authors: compare and egemaps)."""
    norm_method: Literal["trn", "batch"] = "trn"
    """`trn`: by mean and deviation of all training frames; `batch`: by those of the sequence."""

    def __post_init__(self) -> None:
        """Refuse an empty or repeated list.

        Raises:
            ConfigError: names the field and what it may be.
        """
        if not self.features or len(set(self.features)) < len(self.features):
            raise ConfigError("features", self.features, "one or more different names")
        for name in self.normalise:
            if name not in self.features:
                raise UsageError(
                    f"normalise: {name!r} is not among features" + nearest(name, self.features)
                )


@dataclass(frozen=True, kw_only=True)
class Design(Inputs):
    """What a network reads, computes and predicts."""

    model: Network = field(default_factory=Transformer)
    """Which network, with its own fields."""
    target: Target = "both"
    """What is predicted."""
    head: Literal["regression", "distribution"] = "regression"
    """A value per frame, or a distribution over 22 classes whose mean is the prediction."""
    weighted_bins: bool = False
    """Classes hold equal shares of the training labels, instead of being equally wide."""
    compat: Compat = field(default_factory=Compat)
    """Quirks of the authors' code, all off."""

    @property
    def target_names(self) -> tuple[Literal["valence", "arousal"], ...]:
        """Names of the output columns, K of them."""
        return ("valence", "arousal") if self.target == "both" else (self.target,)


@dataclass(frozen=True, kw_only=True)
class VaModelConfig(Design):
    """All that defines a trained network; lies beside its weights."""

    input_width: int = 1238
    """Channels of all features together."""

    def __post_init__(self) -> None:
        """Refuse widths that do not fit together.

        Raises:
            ConfigError: names the field and what it may be.
        """
        super().__post_init__()
        _at_least("input_width", self.input_width, 2)
        divisor = self.model.heads if isinstance(self.model, Attending) else 1
        if isinstance(self.model, TransformerAttention):
            divisor = math.lcm(divisor, MEMORY_HEADS)
        if self.hidden_size % divisor:
            raise ConfigError("hidden_size", self.hidden_size, f"a multiple of {divisor}")

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states, with -1 worked out."""
        if self.model.hidden_size == -1:
            return min(self.input_width // 2, 512)
        return self.model.hidden_size

    @property
    def output_width(self) -> int:
        """Channels of the last layer: K, or 22 K with a distribution head."""
        return len(self.target_names) * (BINS if self.head == "distribution" else 1)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(TrainSettings, Design):
    """Settings of one training run."""

    data: Path = setting(changes_numbers=False)
    """Data root in the layout of `abaw-va prepare`."""
    fold: int | None = None
    """Cross-validation fold that validates, from 1; the others train. None: the official sets."""
    pretrained_encoder: Path | None = None
    """For transformer-lstm: the authors' `<epoch>_net_seq.pth` of a trained transformer, whose
    projection and encoder start the network and stay as they are."""

    losses: tuple[LossName, ...] = ("batch_ccc",)
    """Losses that are added up; those called batch_ pool all frames of the global batch."""
    loss_weights: tuple[float, ...] = (1.0,)
    """One weight per loss."""
    epochs: int = 30
    """Passes over the training data."""
    lr: float = 2e-5
    """Peak learning rate of Adam (authors: 2e-5, fclstm-xl 3e-5)."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Decay of Adam's averages of the gradient and of its square."""
    lr_policy: Literal["linear", "linear-warmup", "step", "plateau", "cosine"] = "linear"
    """How the rate changes from epoch to epoch: constant, then falling to 0; rising, then falling;
    a tenth every `step_epochs`; a fifth after five evaluations without gain; half a cosine."""
    constant_epochs: int = 10
    """Epochs before the fall of `linear`, or of the rise of `linear-warmup`."""
    step_epochs: int = 50
    """Epochs between two falls of `step`."""
    clip: Literal["global", "per-network"] = "global"
    """`clip_norm` limits the gradient of the whole model, or of each of its parts (authors)."""
    init: Literal["normal", "xavier", "kaiming", "orthogonal"] = "normal"
    """Distribution of the initial weights of linear layers."""
    init_gain: float = 0.02
    """Standard deviation of `normal`, gain of `xavier` and `orthogonal`."""
    random_offset: bool = False
    """Cut each video into chunks from another first frame in every epoch, so that borders move."""

    smoothing: Smoothing = field(default_factory=Smoothing)
    """Moving average of the predictions before they are judged."""

    def __post_init__(self) -> None:
        """Refuse choices that contradict one another.

        Raises:
            ConfigError: names the field, the value, and what it may be.
        """
        TrainSettings.__post_init__(self)
        Design.__post_init__(self)
        for name in self.losses:
            if name not in get_args(LossName):
                raise UsageError(
                    f"losses: there is no loss {name!r}" + nearest(name, get_args(LossName))
                )
        if not self.losses or len(self.losses) != len(self.loss_weights):
            raise ConfigError(
                "loss_weights", self.loss_weights, f"a number for each of {self.losses}"
            )
        if "ce" in self.losses and self.head != "distribution":
            raise ConfigError("head", self.head, "distribution, which the loss ce needs")
        if not self.lr > 0:
            raise ConfigError("lr", self.lr, "a number above 0")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError("betas", self.betas, "two numbers from 0 to below 1")
        if self.compat.norm_padding and not self.compat.sampler:
            raise ConfigError("compat.norm_padding", True, "compat.sampler beside it")
        if self.constant_epochs < 0:
            raise ConfigError("constant_epochs", self.constant_epochs, "0 or more")
        _at_least("step_epochs", self.step_epochs, 1)
        if self.pretrained_encoder and not isinstance(self.model, TransformerLstm):
            raise ConfigError("pretrained_encoder", self.model, "the model transformer-lstm")

    def for_model(self, input_width: int) -> VaModelConfig:
        """Config of the network for features of `input_width` channels in all."""
        design = {part.name: getattr(self, part.name) for part in fields(Design)}
        return VaModelConfig(input_width=input_width, **design)


def _at_least(name: str, value: int, lowest: int) -> None:
    if value < lowest:
        raise ConfigError(name, value, f"{lowest} or more")
