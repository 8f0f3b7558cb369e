"""Transformer blocks whose attention passes padded tokens over, and tells its map where it is asked to."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from adaglimpse.model.rollout import Rollout

EPSILON = 1e-6
"""Of every layer norm, of the backbone and of the policy."""

_GAMMA = 1e-4
"""Initial weight of a branch."""


class Attention(nn.Module):
    """Multi-head self-attention.

    Args:
        width: of a token.
        heads: into which it is cut.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        attended: Bool[Tensor, "B N"] | None = None,
        rollout: Rollout | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Attend.

        Args:
            x: tokens.
            attended: tokens that may be looked at; None: all.
            rollout: is given the map. Without it the fused kernel makes none.
        """
        batch, count, width = x.shape
        qkv = self.qkv(x).view(batch, count, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mask = None if attended is None else attended[:, None, None, :]
        if rollout is None:
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        else:
            scores = (query * (width // self.heads) ** -0.5) @ key.transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask, -torch.inf)
            attention = scores.softmax(dim=-1)
            rollout.add(attention)
            mixed = attention.to(value.dtype) @ value
        projected: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, count, width))
        return projected


class Mlp(nn.Module):
    """Two layers with an exact GELU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Each token by itself."""
        made: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return made


class Block(nn.Module):
    """x + gamma_1 Attention(norm x), then x + gamma_2 MLP(norm x)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = Mlp(width)
        self.gamma_1 = nn.Parameter(torch.full((width,), _GAMMA))
        self.gamma_2 = nn.Parameter(torch.full((width,), _GAMMA))

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        attended: Bool[Tensor, "B N"] | None = None,
        rollout: Rollout | None = None,
    ) -> Float[Tensor, "B N D"]:
        """See `Attention`."""
        x = x + self.gamma_1 * self.attn(self.norm1(x), attended, rollout)
        added: Tensor = self.gamma_2 * self.mlp(self.norm2(x))
        return x + added
