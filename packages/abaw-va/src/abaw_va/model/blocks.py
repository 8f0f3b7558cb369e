"""The parts that see one chunk at a time.

Parameters are named as in the authors' files, so that their weights load as they are.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

TABLE_LENGTH = 512
"""Positions that the authors' files store."""


def sinusoids(start: int, stop: int, width: int) -> Float[Tensor, "positions width"]:
    """Positions p = start .. stop - 1.

    PE[p, 2i] = sin(p / 10000^(2i / width)) and PE[p, 2i + 1] = cos(p / 10000^(2i / width)); row 0
    is all zeros, as in the authors' table.
    """
    position = torch.arange(start, stop, dtype=torch.float64)[:, None]
    even = torch.arange(0, width, 2, dtype=torch.float64)
    angle = position / 10000 ** (even / width)
    table = torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :width]
    return torch.where(position > 0, table, 0.0).float()


class Positions(nn.Module):
    """Sine and cosine positions of any number of frames.

    The first 512 are a frozen table in the state dict, because the authors' files hold one; further
    ones follow from the formula.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(sinusoids(0, TABLE_LENGTH, width), requires_grad=False)

    def forward(self, frames: int) -> Float[Tensor, "frames width"]:
        """Positions 0 .. frames - 1."""
        if frames <= TABLE_LENGTH:
            return self.weight[:frames]
        beyond = sinusoids(TABLE_LENGTH, frames, self.weight.shape[1])
        return torch.cat((self.weight, beyond.to(self.weight)))


class HeadedAttention(nn.Module):
    """Weights of scaled dot-product attention with several heads (Vaswani et al., 2017)."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.heads = heads
        self.dropout = dropout
        nn.init.xavier_uniform_(self.in_proj_weight)

    def attend(
        self,
        x: Float[Tensor, "rows frames width"],
        source: Float[Tensor, "rows keys width"] | None = None,
        present: Bool[Tensor, "rows keys"] | None = None,
    ) -> Float[Tensor, "rows frames width"]:
        """Attend from `x` to the `present` keys of `source` (None: of `x`); every row needs one."""
        width = x.shape[-1]
        weight, bias = self.in_proj_weight, self.in_proj_bias
        if source is None:
            query, key, value = functional.linear(x, weight, bias).chunk(3, dim=-1)
        else:
            query = functional.linear(x, weight[:width], bias[:width])
            key, value = functional.linear(source, weight[width:], bias[width:]).chunk(2, dim=-1)
        query, key, value = (
            torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2) for x in (query, key, value)
        )
        mask = None if present is None else present[:, None, None, :]
        dropout = self.dropout if self.training else 0.0
        attended = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout
        )
        mixed: Tensor = self.out_proj(attended.transpose(1, 2).flatten(-2))
        return mixed


class SelfAttention(HeadedAttention):
    """Frames attend to the frames of their own row."""

    def forward(
        self, x: Float[Tensor, "rows frames width"], present: Bool[Tensor, "rows frames"] | None
    ) -> Float[Tensor, "rows frames width"]:
        """Attend to the frames that are `present`, or to all of them."""
        return self.attend(x, present=present)


class EncoderLayer(nn.Module):
    """Post-norm encoder layer: x = LN(x + Drop(MHA(x))); x = LN(x + Drop(W2 Drop(relu(W1 x))))."""

    def __init__(self, width: int, heads: int, ffn_width: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = SelfAttention(width, heads, dropout)
        self.linear1 = nn.Linear(width, ffn_width)
        self.linear2 = nn.Linear(ffn_width, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "rows frames width"], present: Bool[Tensor, "rows frames"] | None
    ) -> Float[Tensor, "rows frames width"]:
        """One layer; keys are the frames that are `present`, or all of them."""
        x = self.norm1(x + self.dropout(self.self_attn(x, present)))
        hidden = self.linear2(self.dropout(self.linear1(x).relu()))
        y: Tensor = self.norm2(x + self.dropout(hidden))
        return y


class _Layers(nn.Module):
    """The list of layers, one level down as in the authors' keys."""

    def __init__(self, layers: Sequence[EncoderLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


class TransformerEncoder(nn.Module):
    """Projection, positions, and a stack of encoder layers.

    Args:
        width: channels inside and out.
        input_width: channels in, projected to `width`; None: they are `width` already.
        layers, heads, ffn_width, dropout: of the encoder layers.
        position_encoding: whether positions are added.
    """

    def __init__(
        self,
        width: int,
        *,
        input_width: int | None,
        layers: int,
        heads: int,
        ffn_width: int,
        dropout: float,
        position_encoding: bool,
    ) -> None:
        super().__init__()
        if input_width is not None:
            self.affine = nn.Linear(input_width, width)
        self.position_embeddings = Positions(width)
        self.encoder = _Layers(
            [EncoderLayer(width, heads, ffn_width, dropout) for _ in range(layers)]
        )
        # The authors pool the sequence with it and drop the result: kept for their files only.
        self.linear = nn.Linear(width, width).requires_grad_(False)
        self.projects = input_width is not None
        self.position_encoding = position_encoding

    def forward(
        self, x: Float[Tensor, "rows frames channels"], present: Bool[Tensor, "rows frames"] | None
    ) -> Float[Tensor, "rows frames width"]:
        """Hidden states of the last layer; nobody attends to frames that are not `present`.

        None counts every frame as present. A row without any present frame gives finite values.
        """
        if self.projects:
            x = self.affine(x)
        if self.position_encoding:
            x = x + self.position_embeddings(x.shape[1])
        if present is not None:
            present = present | ~present.any(dim=1, keepdim=True)
        for layer in self.encoder.layers:
            x = layer(x, present)
        return x


class FcEncoder(nn.Module):
    """Linear, activation, dropout, on every frame by itself."""

    def __init__(self, input_width: int, width: int, dropout: float, *, relu: bool = True) -> None:
        super().__init__()
        activation = nn.ReLU() if relu else nn.Identity()
        self.module = nn.Sequential(nn.Linear(input_width, width), activation, nn.Dropout(dropout))

    def forward(self, x: Float[Tensor, "*rows channels"]) -> Float[Tensor, "*rows width"]:
        """Project each frame."""
        y: Tensor = self.module(x)
        return y


class FcRegressor(nn.Module):
    """Linear, ReLU and dropout for each of `widths`, then a linear output without activation."""

    def __init__(self, width: int, widths: Sequence[int], outputs: int, dropout: float) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for before, after in itertools.pairwise((width, *widths)):
            parts += [nn.Linear(before, after), nn.ReLU()]
            # Without dropout the authors leave the module out, which renumbers their keys.
            parts += [nn.Dropout(dropout)] if dropout > 0 else []
        self.module = nn.Sequential(*parts)
        self.fc_out = nn.Linear((width, *widths)[-1], outputs)

    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows outputs"]:
        """Output channels of each frame."""
        y: Tensor = self.fc_out(self.module(x))
        return y
