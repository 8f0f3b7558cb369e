"""A network that only predicts: each batch norm becomes part of the convolution before it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from asal_vrvqa.model.backbone import Block, ResNet18

if TYPE_CHECKING:
    from asal_vrvqa.model.network import QualityModel


def folded(model: QualityModel) -> QualityModel:
    """A copy in evaluation mode without batch norms; it predicts the same to rounding."""
    made = copy.deepcopy(model).eval().requires_grad_(False)
    for module in made.modules():
        if isinstance(module, ResNet18):
            _fold(module, "conv1", "bn1")
        if isinstance(module, Block):
            _fold(module, "conv1", "bn1")
            _fold(module, "conv2", "bn2")
            if module.downsample is not None:
                _fold(module.downsample, "0", "1")
    return made


def _fold(owner: nn.Module, conv_name: str, norm_name: str) -> None:
    conv, norm = owner.get_submodule(conv_name), owner.get_submodule(norm_name)
    if not isinstance(conv, nn.Conv2d) or not isinstance(norm, _BatchNorm):
        return  # folded already
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError(f"{norm_name} keeps no statistics to fold")
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last)
    setattr(owner, norm_name, nn.Identity())
