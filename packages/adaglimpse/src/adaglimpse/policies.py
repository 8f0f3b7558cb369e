"""Ways to choose the next glimpse: the learnt one, and fixed ones to compare it with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from adaglimpse.config import PATCH, EvalAction, GlimpseModelConfig, Policy
from adaglimpse.method.actions import chosen
from adaglimpse.model.mae import Encoded
from adaglimpse.model.network import GlimpseModel, Views
from adaglimpse.model.policy import Observation
from shared_core.data.loader import generator

_LEARNT, _RANDOM = 1, 2  # purposes of draws

Replace = Callable[[Observation], Observation]
"""Changes what the policy sees, for ablations."""


class Chooser(Protocol):
    """Chooses the next glimpse of each image."""

    sees: bool
    """Whether it needs what the backbone makes of the earlier glimpses."""

    def __call__(
        self, views: Views, encoded: Encoded | None, items: Int64[Tensor, " n"]
    ) -> Float[Tensor, "n 3"]:
        """Actions (y, x, z), each from 0 to 1.

        Args:
            views: what was seen.
            encoded: of these views, where it `sees`.
            items: numbers of the images in their data set, which key what is drawn.
        """
        ...


class Learnt:
    """The model's own policy.

    Args:
        model: in evaluation mode.
        how: an action comes from its distribution.
        seed: of what is drawn, if anything is.
        replace: changes what it sees.
    """

    sees = True

    def __init__(
        self,
        model: GlimpseModel,
        how: EvalAction = "mean",
        seed: int = 0,
        replace: Replace | None = None,
    ) -> None:
        self.model = model
        self.how = how
        self.seed = seed
        self.replace = replace

    def __call__(
        self, views: Views, encoded: Encoded | None, items: Int64[Tensor, " n"]
    ) -> Float[Tensor, "n 3"]:
        """See `Chooser`."""
        if encoded is None:
            raise ValueError("the learnt policy needs what the backbone makes of the glimpses")
        seen = self.model.observation(views, encoded)
        if self.replace is not None:
            seen = self.replace(seen)
        loc, scale = self.model.policy(seen)
        draws = self.how in ("sample", "mc1000")
        keys = [(self.seed, item, views.step, _LEARNT) for item in items.tolist()] if draws else []
        return self.model.scaled(chosen(self.how, loc, scale, [generator(*key) for key in keys]))


class Random:
    """Place and scale uniformly at random.

    Args:
        config: of the model that looks.
        seed: of what is drawn.
    """

    sees = False

    def __init__(self, config: GlimpseModelConfig, seed: int = 0) -> None:
        self.config = config
        self.seed = seed

    def __call__(
        self,
        views: Views,
        encoded: Encoded | None,  # noqa: ARG002
        items: Int64[Tensor, " n"],
    ) -> Float[Tensor, "n 3"]:
        """See `Chooser`."""
        keys = [(self.seed, item, views.step, _RANDOM) for item in items.tolist()]
        drawn = [torch.rand(3, generator=generator(*key)) for key in keys]
        actions = torch.stack(drawn).to(views.images.device)
        if self.config.fixed_scale is not None:
            actions[:, 2] = self.config.fixed_scale
        return actions


class Fixed:
    """The same glimpses for every image.

    Args:
        actions: one a glimpse, [G, 3].
    """

    sees = False

    def __init__(self, actions: Float[Tensor, "G 3"]) -> None:
        self.actions = actions

    def __call__(
        self,
        views: Views,
        encoded: Encoded | None,  # noqa: ARG002
        items: Int64[Tensor, " n"],
    ) -> Float[Tensor, "n 3"]:
        """See `Chooser`."""
        return self.actions[views.step].to(views.images).expand(len(items), -1)


def grid_actions(config: GlimpseModelConfig, glimpses: int) -> Float[Tensor, "G 3"]:
    """Tiles of the image row by row, as large as covers it, by the smallest square number of them."""
    side = math.ceil(math.sqrt(glimpses))
    number = torch.arange(glimpses)
    place = torch.stack((number // side, number % side), dim=1) / max(side - 1, 1)
    scale = torch.full((glimpses, 1), scale_of(config, min(config.image_size) / side))
    return torch.cat((place if side > 1 else torch.full((glimpses, 2), 0.5), scale), dim=1)


def centre_actions(glimpses: int) -> Float[Tensor, "G 3"]:
    """At the centre, from the whole image to the closest look in equal parts."""
    scale = torch.linspace(1, 0, glimpses).unsqueeze(1)
    return torch.cat((torch.full((glimpses, 2), 0.5), scale), dim=1)


def full_actions(glimpses: int) -> Float[Tensor, "G 3"]:
    """The whole image, every time."""
    return torch.tensor([0.5, 0.5, 1.0]).expand(glimpses, 3)


def scale_of(config: GlimpseModelConfig, side: float) -> float:
    """The z of a glimpse whose side has so many pixels, from 0 to 1."""
    smallest = PATCH * config.glimpse_grid_size
    largest = min(config.image_size) * config.max_glimpse_size_ratio
    if largest == smallest:
        return 0.0
    return min(1.0, max(0.0, (side - smallest) / (largest - smallest)))


def chooser(
    name: Policy, model: GlimpseModel, glimpses: int, how: EvalAction = "mean", seed: int = 0
) -> Chooser:
    """The policy of a name."""
    match name:
        case "learnt":
            return Learnt(model, how, seed)
        case "random":
            return Random(model.config, seed)
        case "grid":
            return Fixed(grid_actions(model.config, glimpses))
        case "centre":
            return Fixed(centre_actions(glimpses))
        case "full":
            return Fixed(full_actions(glimpses))
