"""What adapts the branches to another domain: adversary and reconstruction."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Strength: TypeAlias = float | Float[Tensor, ""] | None
"""Strength of a reversed gradient, alpha; None: 1."""

SOURCE, TARGET = 0, 1
"""Labels of the domains."""

HIDDEN = 100
"""Width of the domain classifier; fixed in the paper."""


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: float | Tensor) -> Tensor:
        ctx.alpha = alpha
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.alpha * gradients[0], None


def reversed_gradient(
    x: Float[Tensor, "*shape"], alpha: Strength = None
) -> Float[Tensor, "*shape"]:
    """`x` itself; its gradient is multiplied by -alpha, or by -1 where alpha is None.

    Ganin and Lempitsky (2015): what trains the classifier after it untrains the features before it.
    """
    unchanged: Tensor = _Reversal.apply(x, 1.0 if alpha is None else alpha)
    return unchanged


class RowNorm(nn.BatchNorm1d):
    """Batch norm of rows; a single row has no variance, and is normalised by the running statistics.

    The last batch of an epoch can be a single row.
    """

    def forward(self, x: Float[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        """Normalise each column, then scale and shift it."""
        if not self.training or x.shape[0] > 1:
            return super().forward(x)
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


class DomainClassifier(nn.Module):
    """Tells from face features which domain they are of; the features learn that it cannot."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(16 * width, HIDDEN)
        self.bn1 = RowNorm(HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, 2)

    def forward(
        self, features: Float[Tensor, "B C g g"], alpha: Strength = None
    ) -> Float[Tensor, "B 2"]:
        """Log-probabilities of source and target; `alpha` is the strength of the reversed gradient."""
        pooled = reversed_gradient(features, alpha).mean(dim=(2, 3))
        hidden = functional.relu(self.bn1(self.fc1(pooled)))
        return functional.log_softmax(self.fc2(hidden), dim=1)


def _reconstruction(width: int) -> nn.Sequential:
    """Features [B, 16 width, g, g] to a picture [B, 3, 8 g + 8, 8 g + 8]."""
    return nn.Sequential(
        nn.ConvTranspose2d(16 * width, 4 * width, 3, 2),
        nn.BatchNorm2d(4 * width),
        nn.ReLU(),
        nn.ConvTranspose2d(4 * width, 2 * width, 3, 2),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * width, 3, 4, 2),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Conv2d(3, 3, 1),
    )


class Reconstruction(nn.Module):
    """Rebuilds colour from depth features and depth from colour features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_rgb = _reconstruction(width)
        self.to_depth = _reconstruction(width)

    def forward(
        self, scene: Float[Tensor, "B C g g"], depth: Float[Tensor, "B C g g"]
    ) -> tuple[Float[Tensor, "B 3 O O"], Float[Tensor, "B 3 O O"]]:
        """The picture from `depth`, and the depth from `scene`."""
        return self.to_rgb(depth), self.to_depth(scene)
