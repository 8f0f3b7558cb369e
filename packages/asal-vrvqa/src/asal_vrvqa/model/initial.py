"""Initial weights, all from one generator."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from asal_vrvqa.model.network import QualityModel


@torch.no_grad()
def initialise(model: QualityModel, generator: torch.Generator) -> None:
    """Draw the weights as the paper's network does.

    Stem and 1x1 convolutions: Kaiming normal, fan out; 3x3: Kaiming uniform, fan in; linear layers as
    torch's; batch norms 1 and 0; the adapter ones.
    """
    for module in model.modules():
        match module:
            case nn.Conv2d() if module.kernel_size[0] == 3:
                nn.init.kaiming_uniform_(
                    module.weight, mode="fan_in", nonlinearity="relu", generator=generator
                )
            case nn.Conv2d():
                nn.init.kaiming_normal_(
                    module.weight, mode="fan_out", nonlinearity="relu", generator=generator
                )
            case nn.Linear():
                bound = 1 / math.sqrt(module.in_features)
                nn.init.uniform_(module.weight, -bound, bound, generator=generator)
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
            case _BatchNorm():
                module.reset_parameters()
    if model.adapter is not None:
        nn.init.ones_(model.adapter.T)
