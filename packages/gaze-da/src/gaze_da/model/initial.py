"""Initial weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gaze_da.model.adaptation import DomainClassifier, Reconstruction
from gaze_da.model.heads import Decoder

FIRST_SLOPE = 0.3
"""Weight that the last layer of the heat map starts with."""


def initialise(model: nn.Module, generator: torch.Generator, *, drawn_slope: bool = True) -> None:
    """Draw all weights anew, in place.

    Convolutions: normal of deviation sqrt(2 / (kernel area x channels out)). Their biases and linear
    layers: uniform, as torch has it. Batch norms become the identity. The parts that only adapt are
    drawn last, so that one seed gives the same network with and without them.

    Args:
        model: on the CPU, where the generator is.
        generator: source of all draws.
        drawn_slope: draw the last layer of the heat map too, as the paper has it. It is a single
            weight and a bias, so that half of all seeds start with a map turned upside down and far
            from 0. Else it starts at `FIRST_SLOPE` and 0: near the zeros that most cells have to
            become.
    """
    adapting = [
        inner
        for part in model.modules()
        if isinstance(part, DomainClassifier | Reconstruction)
        for inner in part.modules()
    ]
    predicting = [module for module in model.modules() if module not in set(adapting)]
    for module in (*predicting, *adapting):
        match module:
            case nn.Conv2d() | nn.ConvTranspose2d():
                outputs = module.out_channels * math.prod(module.kernel_size)
                nn.init.normal_(module.weight, std=math.sqrt(2 / outputs), generator=generator)
                _uniform(module.bias, module.weight, generator)
            case nn.Linear():
                _uniform(module.weight, module.weight, generator)
                _uniform(module.bias, module.weight, generator)
            case _BatchNorm():
                module.reset_parameters()
    if not drawn_slope:
        for module in model.modules():
            if isinstance(module, Decoder):
                _start_near_zero(module.conv4)


@torch.no_grad()
def _start_near_zero(last: nn.Conv2d) -> None:
    last.weight.fill_(FIRST_SLOPE)
    if last.bias is not None:
        last.bias.zero_()


def _uniform(values: Tensor | None, weight: Tensor, generator: torch.Generator) -> None:
    """What torch draws for linear layers and for biases: within 1 / sqrt(inputs of an output)."""
    if values is not None:
        bound = 1 / math.sqrt(weight[0].numel())
        nn.init.uniform_(values, -bound, bound, generator=generator)
