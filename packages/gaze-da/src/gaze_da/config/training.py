"""What can be chosen: the network, how pictures are read, the adaptation, and a whole training run.

Nothing here imports torch, so that `gaze-da train --help` answers at once. The defaults mend what is
broken in the authors' code; the preset `upstream` brings it back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from shared_core.errors import ConfigError
from shared_core.training.config import TrainSettings

DatasetName: TypeAlias = Literal["gazefollow", "videoattentiontarget", "goo"]
"""GazeFollow extended, VideoAttentionTarget, GOO-Real, each in its published layout."""

Protocol: TypeAlias = Literal["gazefollow", "vat", "vat-gazelle", "vat-upstream", "goo"]
"""How a prediction is judged: GazeFollow's, Chong's for VideoAttentionTarget with all rows,
the same with Gaze-LLE's block, the authors' own for VideoAttentionTarget, and GOO's."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """Sizes of the network; the defaults are the paper's."""

    width: int = 64
    """Channels of the stems; every other width is a multiple of it."""
    scene_layers: tuple[int, ...] = (3, 4, 6, 3, 2)
    """Blocks in each stage of the scene branch."""
    depth_layers: tuple[int, ...] = (3, 4, 6, 3, 2)
    """Blocks in each stage of the depth branch."""
    face_layers: tuple[int, ...] = (3, 4, 6, 3, 2)
    """Blocks in each stage of the face branch."""
    input_size: int = 224
    """Pixels of each side of picture, depth and face, as the network sees them."""
    output_size: int = 64
    """Cells of each side of the heat map; it follows from the input size."""

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together.

        Raises:
            ConfigError: names the field and what it may be.
        """
        if self.width < 1:
            raise ConfigError("width", self.width, "1 or more")
        for name in ("scene_layers", "depth_layers", "face_layers"):
            layers = getattr(self, name)
            if len(layers) != 5 or min(layers) < 1:
                raise ConfigError(name, layers, "five numbers of blocks, each 1 or more")
        if self.input_size < 32 or self.input_size % 32:
            raise ConfigError("input_size", self.input_size, "a multiple of 32")
        follows = self.input_size // 4 + 8
        if self.output_size != follows:
            raise ConfigError(
                "output_size",
                self.output_size,
                f"{follows}, which follows from input_size {self.input_size} (a quarter, and 8)",
            )

    @property
    def grid(self) -> int:
        """Cells of each side of the branches' feature maps: 7 for an input of 224."""
        return self.input_size // 32


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How pictures, head boxes and depth become the network's input; a trained model keeps it."""

    head_expansion: float = 0.1
    """How much a head box is widened on each side, as a fraction of its size."""
    symmetric_expansion: bool = False
    """Widen both sides alike; else right and bottom grow with the widened box, as the authors do."""
    depth: Literal["files", "none"] = "files"
    """Depth pictures beside the pictures, or none: the depth branch then sees black."""

    def __post_init__(self) -> None:
        """Refuse a negative expansion.

        Raises:
            ConfigError: names the field.
        """
        if not self.head_expansion >= 0:
            raise ConfigError("head_expansion", self.head_expansion, "0 or more")


@dataclass(frozen=True, kw_only=True)
class GazeModelConfig:
    """What a saved model is built from, and how its input has to be read."""

    network: Network = field(default_factory=Network)
    """Sizes."""
    reading: Reading = field(default_factory=Reading)
    """How its pictures were read in training; prediction reads them alike."""
    head_da: bool = False
    """It has the domain classifier on head features."""
    rgb_depth_da: bool = False
    """It has the reconstruction of depth from colour and of colour from depth."""
    inout_trained: bool = True
    """Whether the in/out head has learnt anything; where it has not, its probability is withheld."""


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random changes of the training pictures, each with its probability."""

    jitter: float = 0.5
    """The head box is widened by up to 20 % on each side (VideoAttentionTarget: 5 %)."""
    crop: float = 0.5
    """A random part of the picture that holds the head and the target."""
    flip: float = 0.5
    """The picture is mirrored."""
    colour: float = 0.5
    """Brightness, contrast and saturation change; depth never does."""

    def __post_init__(self) -> None:
        """Refuse what is no probability.

        Raises:
            ConfigError: names the field.
        """
        for name in ("jitter", "crop", "flip", "colour"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(name, getattr(self, name), "a probability, 0 to 1")


@dataclass(frozen=True, kw_only=True)
class Compat:
    """Quirks of the authors' code, off by default; the README says what each one costs."""

    alpha: bool = False
    """The strength of the adversary grows by the batch size of the source, not by the batch's number."""
    target_weight: bool = False
    """The target's reconstruction is weighted as the source's."""
    reconstruction_scale: bool = False
    """Reconstruction errors are summed over columns and divided by the configured batch size: 64 times
    the mean, less for a short batch."""
    full_target_pass: bool = False
    """The whole network runs on the target, so that its batch statistics mix both domains everywhere."""
    frozen_statistics: bool = False
    """Frozen branches go on updating their batch-norm statistics, and use those of the batch."""
    alignment: bool = False
    """Depth and eye points stay where they are when the picture is cropped or mirrored."""
    jitter_leak: bool = False
    """On GazeFollow each jitter replaces the expansion of all items that come after it. What leaks is
    not saved: such a run does not resume to the same bits."""
    outside_crop: bool = False
    """The crop of a picture whose target lies outside starts at minus its size, and heat maps are drawn
    for such targets."""
    heat_map: bool = False
    """Heat maps are truncated toward zero: shifted near the left and top border, NaN far outside."""
    colour_order: bool = False
    """Colours change before pictures are shrunk, in the loader, as Pillow does it."""
    initial_slope: bool = False
    """The single weight of the heat map's last layer is drawn: half of all seeds start upside down."""
    select_on_test: bool = False
    """The test set chooses the checkpoint."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(TrainSettings):
    """Train a network on a labelled data set, with or without an unlabelled one to adapt to."""

    source_dataset: DatasetName = "gazefollow"
    """Layout of the labelled data."""
    source_dataset_dir: Path
    """Its root; of GOO-Real the picture folder finalrealdatasetImgsV3."""
    target_dataset: DatasetName | None = None
    """Layout of the data to adapt to; none: as the source."""
    target_dataset_dir: Path | None = None
    """Its root; its labels are used for judging only."""

    network: Network = field(default_factory=Network)
    """Sizes of the network."""
    reading: Reading = field(default_factory=Reading)
    """How pictures, head boxes and depth are read."""
    augment: Augment = field(default_factory=Augment)
    """Random changes of the training pictures."""
    compat: Compat = field(default_factory=Compat)
    """Quirks of the authors' code to keep."""

    head_da: bool = False
    """Adapt the head branch: an adversary must not tell the domains apart."""
    rgb_depth_da: bool = False
    """Adapt the scene branches: colour rebuilds depth and depth rebuilds colour, on both domains."""
    freeze_scene: bool = False
    """Keep the scene branch as it is."""
    freeze_face: bool = False
    """Keep the face branch as it is."""
    freeze_depth: bool = False
    """Keep the depth branch as it is."""
    init_weights: Path | None = None
    """File of initial weights: the authors', Chong's (2020), torchvision's ResNet-50, or a model."""

    task_weight: float = 1.0
    """Factor of the heat-map loss."""
    inout_weight: float = 1.0
    """Factor of the in/out loss (authors: 0)."""
    adversarial_weight: float = 1.0
    """Factor of the adversary's loss."""
    source_reconstruction_weight: float = 1.0
    """Factor of the reconstruction losses on the source."""
    target_reconstruction_weight: float = 1.0
    """Factor of the reconstruction losses on the target."""

    epochs: int = 70
    """Passes over the source's training items."""
    batch_size: int = 48
    """Items in an update, of each domain, over all processes and micro-batches together."""
    clip_norm: float | None = None
    """Largest norm of the gradient; none: no clipping."""
    lr: float = 2.5e-4
    """Learning rate of Adam."""
    channels_last: bool = False
    """Memory order of pictures; faster on GPUs."""
    sync_batch_norm: bool = True
    """Several processes share their batch statistics, so that they learn what one would."""

    val_fraction: float = 0.05
    """Share of the training pictures (of VideoAttentionTarget: shows) kept to choose the checkpoint."""
    vat_fraction: float = 1.0
    """Share of the rows of each VideoAttentionTarget track that is used (authors: 0.2)."""
    vat_smoothing: bool = True
    """Smooth VideoAttentionTarget's head boxes over 11 frames, as its authors do."""
    reduced_decoding: bool = False
    """Decode large JPEGs at a reduced scale: faster, and slightly other pixels."""
    test: bool = True
    """Score the test set of the target (without one: of the source) once, at the end."""

    def __post_init__(self) -> None:
        """Refuse choices that contradict one another.

        Raises:
            ConfigError: names the field, the value, and what it may be.
        """
        super().__post_init__()
        if self.adapts and self.target_dataset_dir is None:
            raise ConfigError("target_dataset_dir", None, "the data to adapt to")
        for name in (
            "task_weight",
            "inout_weight",
            "adversarial_weight",
            "source_reconstruction_weight",
            "target_reconstruction_weight",
        ):
            if not getattr(self, name) >= 0:
                raise ConfigError(name, getattr(self, name), "0 or more")
        if not self.lr > 0:
            raise ConfigError("lr", self.lr, "a number above 0")
        if not 0 < self.val_fraction < 1:
            raise ConfigError("val_fraction", self.val_fraction, "between 0 and 1")
        if not 0 < self.vat_fraction <= 1:
            raise ConfigError("vat_fraction", self.vat_fraction, "above 0, at most 1")
        if self.channels_last and self.network.width < 16:
            # torch's CPU kernels crash in the backward pass of narrow layers in this order.
            raise ConfigError("channels_last", True, "false, or a network.width of 16 or more")
        if self.compat.jitter_leak and self.workers:
            raise ConfigError(
                "workers", self.workers, "0, since compat.jitter_leak depends on order"
            )
        if self.compat.colour_order and self.reduced_decoding:
            raise ConfigError("reduced_decoding", True, "false with compat.colour_order")

    @property
    def adapts(self) -> bool:
        """Whether the run adapts to a target."""
        return self.head_da or self.rgb_depth_da

    def for_model(self) -> GazeModelConfig:
        """Config of the network."""
        return GazeModelConfig(
            network=self.network,
            reading=self.reading,
            head_da=self.head_da,
            rgb_depth_da=self.rgb_depth_da,
            inout_trained=self.inout_weight > 0,
        )
