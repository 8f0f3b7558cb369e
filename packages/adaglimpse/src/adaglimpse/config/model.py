"""What can be chosen of a model: its backbone, its glimpses, and how its policy looks at them.

Nothing here imports torch, so that `--help` answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from shared_core.errors import ConfigError

PATCH = 16
"""Pixels of a patch's side, as the backbone sees it; whatever it shows, it is resized to that."""

Task = Literal["reconstruction", "classification", "segmentation"]
BackboneSize = Literal["tiny", "small", "base", "large"]
RlInput = Literal["patches", "attention", "coords", "observation"]

RL_INPUTS: tuple[RlInput, ...] = ("patches", "attention", "coords", "observation")
"""What the policy sees of each patch, in the order of its input layers."""

IMAGENET_CLASSES = 1000
"""Classes of the head that a backbone keeps, whatever its task."""


class Sizes(NamedTuple):
    """Of a backbone and of its decoder."""

    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int


SIZES: dict[BackboneSize, Sizes] = {
    "tiny": Sizes(64, 2, 4, 64, 2, 4),
    "small": Sizes(384, 12, 6, 256, 8, 16),
    "base": Sizes(768, 12, 12, 512, 8, 16),
    "large": Sizes(1024, 24, 16, 512, 8, 16),
}
"""`tiny` is for tests and the demo; the rest are the paper's."""


@dataclass(frozen=True, kw_only=True)
class GlimpseModelConfig:
    """What a saved model is built from, and how it looks at an image."""

    task: Task = "reconstruction"
    """What is predicted from the glimpses."""
    backbone_size: BackboneSize = "base"
    """Width and depth of the backbone."""
    num_classes: int = IMAGENET_CLASSES
    """Classes of the task; a reconstruction has none."""
    classes: tuple[str, ...] = ()
    """Their names, in order; none: they are called by number."""
    image_size: tuple[int, int] = (224, 224)
    """Height and width that images are resized to, pixels; multiples of 16."""
    num_glimpses: int = 14
    """Glimpses of an episode."""
    glimpse_grid_size: int = 2
    """Patches along each side of a glimpse; a glimpse costs (16 x grid) squared pixels at any scale."""
    max_glimpse_size_ratio: float = 1.0
    """Side of the largest glimpse, as a share of the image's shorter side."""
    fixed_scale: float | None = None
    """Every glimpse of this scale, 0 (closest) to 1 (whole image); none: the policy chooses."""
    extract_latent_layer: int | None = None
    """The policy sees the input of this block; none: the backbone's output."""
    exclude_rl_inputs: tuple[RlInput, ...] = ()
    """What the policy does not see: patches, attention, coords, observation."""
    rl_norm: Literal["batch", "masked", "group", "frozen"] = "batch"
    """Normalisation of the policy's patch features: over a batch with its empty patches (as the
    authors), over the patches that are there, within groups of channels, or by constant statistics."""
    rollout_heads: Literal["mean", "max", "min"] = "mean"
    """How attention heads become one map."""
    masked_rollout: bool = False
    """Attention rollout counts real patches only; the authors' importance shrinks with padding."""
    unmasked_decoder: bool = False
    """The decoder attends to empty patches too, as the authors' does (`compat.unmasked_decoder`)."""
    trained: bool = True
    """Whether it has learnt to look; a converted backbone alone has not."""

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together.

        Raises:
            ConfigError: names the field and what it may be.
        """
        for name in ("num_classes", "num_glimpses", "glimpse_grid_size"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "1 or more")
        smallest = PATCH * self.glimpse_grid_size
        if any(side < PATCH or side % PATCH for side in self.image_size):
            raise ConfigError("image_size", self.image_size, f"multiples of {PATCH} pixels")
        if min(self.image_size) < smallest:
            raise ConfigError(
                "image_size",
                self.image_size,
                f"{smallest} or more on the shorter side: {PATCH} x glimpse_grid_size "
                f"({self.glimpse_grid_size}), the smallest glimpse",
            )
        if (
            not smallest
            <= min(self.image_size) * self.max_glimpse_size_ratio
            <= min(self.image_size)
        ):
            raise ConfigError(
                "max_glimpse_size_ratio",
                self.max_glimpse_size_ratio,
                f"at most 1, and {smallest / min(self.image_size):.3g} or more: the smallest glimpse",
            )
        if self.fixed_scale is not None and not 0 <= self.fixed_scale <= 1:
            raise ConfigError("fixed_scale", self.fixed_scale, "between 0 and 1, or none")
        depth = SIZES[self.backbone_size].depth
        if self.extract_latent_layer is not None and not 0 <= self.extract_latent_layer < depth:
            raise ConfigError(
                "extract_latent_layer", self.extract_latent_layer, f"from 0 to {depth - 1}, or none"
            )
        if len(set(self.exclude_rl_inputs)) == len(RL_INPUTS):
            raise ConfigError("exclude_rl_inputs", self.exclude_rl_inputs, "not all of them")
        if self.classes and len(self.classes) != self.num_classes:
            raise ConfigError(
                "classes", len(self.classes), f"num_classes ({self.num_classes}) names"
            )

    @property
    def max_patches(self) -> int:
        """Patches of an episode: places of the policy's input."""
        return self.num_glimpses * self.glimpse_grid_size**2

    @property
    def rl_inputs(self) -> tuple[RlInput, ...]:
        """What the policy sees of each patch."""
        return tuple(name for name in RL_INPUTS if name not in self.exclude_rl_inputs)
