"""Weights and inputs that are the same on every machine, for tests against recorded numbers."""

from __future__ import annotations

import zlib
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

_NORMS = (nn.LayerNorm, nn.modules.batchnorm._BatchNorm)


def seeded(text: str) -> torch.Generator:
    """A generator keyed by the CRC-32 of a text."""
    return torch.Generator().manual_seed(zlib.crc32(text.encode()))


def rnd(name: str, shape: tuple[int, ...]) -> Tensor:
    """Normal numbers keyed by a name."""
    return torch.randn(shape, generator=seeded(f"input:{name}"))


@torch.no_grad()
def filled(network: Network) -> Network:
    """The network in eval mode, its floating tensors 0.02 times normal numbers keyed by name.

    Running variances become 1 + |v| and the weights of normalisation layers 1 + v.
    """
    modules = dict(network.named_modules())
    for key, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            continue
        owner, _, part = key.rpartition(".")
        value = 0.02 * torch.randn(tensor.shape, generator=seeded(key))
        if part == "running_var":
            value = 1 + value.abs()
        elif part == "weight" and isinstance(modules[owner], _NORMS):
            value = 1 + value
        tensor.copy_(value)
    return network.eval()
