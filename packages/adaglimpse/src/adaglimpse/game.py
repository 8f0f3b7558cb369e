"""A batch of episodes while it is played in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from adaglimpse.method.tasks import Target
from adaglimpse.model.network import Views
from shared_core.data.loader import generator


@dataclass
class Game:
    """A batch of episodes that is being played.

    Attributes:
        views: what was seen.
        target: what predictions are held against.
        uniform: random actions of all glimpses, [B, G, 3].
        normal: noise of the policy's actions, [B, G, 3].
        episodes: numbers of the episodes in the replay buffer; None where nothing is kept.
        stopped: images that are not looked at any longer.
    """

    views: Views
    target: Target
    uniform: Float[Tensor, "B G 3"]
    normal: Float[Tensor, "B G 3"]
    episodes: Int64[Tensor, " B"] | None
    stopped: Bool[Tensor, " B"]


def drawn(
    keys: Sequence[tuple[int, ...]], glimpses: int
) -> tuple[Float[Tensor, "B G 3"], Float[Tensor, "B G 3"]]:
    """Uniform actions in [0, 1], and standard normal noise, of the glimpses of images.

    Args:
        keys: one an image; what it draws depends on nothing else.
        glimpses: of an episode.
    """
    draws = [generator(*key) for key in keys]
    uniform = [torch.rand(glimpses, 3, generator=draw) for draw in draws]
    normal = [torch.randn(glimpses, 3, generator=draw) for draw in draws]
    return torch.stack(uniform), torch.stack(normal)
