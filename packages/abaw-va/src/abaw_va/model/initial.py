"""Initial weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from abaw_va.model.blocks import EncoderLayer, HeadedAttention
from abaw_va.model.carriers import Lstm

Scheme: TypeAlias = Literal["normal", "xavier", "kaiming", "orthogonal"]


def initialise(
    model: nn.Module,
    generator: torch.Generator,
    *,
    scheme: Scheme = "normal",
    gain: float = 0.02,
    same_projections: bool = False,
) -> None:
    """Draw all weights anew, in place.

    Linear layers, the attention's output projections among them: `scheme`, bias 0. The attention's
    joint input projection: Xavier uniform, bias 0. LSTM: uniform within 1 / sqrt(width). Layer
    norms and positions keep what they are built with.

    Args:
        model: on the CPU, where the generator is.
        generator: source of all draws.
        scheme: `normal` of standard deviation `gain`; `xavier` and `orthogonal` scaled by `gain`;
            `kaiming` as it is.
        gain: see `scheme`.
        same_projections: all encoder layers get the attention projection of the first one, as in
            the authors' code, where they are copies of one another.
    """
    draw = _scheme(scheme, gain)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            draw(module.weight, generator=generator)
            nn.init.zeros_(module.bias)
        elif isinstance(module, HeadedAttention):
            nn.init.xavier_uniform_(module.in_proj_weight, generator=generator)
            nn.init.zeros_(module.in_proj_bias)
        elif isinstance(module, Lstm):
            bound = module.rnn.hidden_size**-0.5
            for weight in module.parameters():
                nn.init.uniform_(weight, -bound, bound, generator=generator)
    if same_projections:
        _copy_first_projection(model)


def _scheme(scheme: Scheme, gain: float) -> Callable[..., Tensor]:
    match scheme:
        case "normal":
            return partial(nn.init.normal_, std=gain)
        case "xavier":
            return partial(nn.init.xavier_normal_, gain=gain)
        case "kaiming":
            return nn.init.kaiming_normal_
        case "orthogonal":
            return partial(nn.init.orthogonal_, gain=gain)


@torch.no_grad()
def _copy_first_projection(model: nn.Module) -> None:
    layers = [module for module in model.modules() if isinstance(module, EncoderLayer)]
    for layer in layers[1:]:
        layer.self_attn.in_proj_weight.copy_(layers[0].self_attn.in_proj_weight)
