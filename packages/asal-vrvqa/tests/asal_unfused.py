"""ResNet-18 on the sphere the plain way: masks, two gathers a pad, nothing folded.

The slow reference for features, for the bytes kept for backward, and for the benchmark. It shares
nothing with the package but the names of the weights.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def valid_columns(parts: int, width: int) -> Tensor:
    weights = [math.ceil(64 * math.sin(math.pi * (g + 0.5) / parts)) for g in range(parts)]
    return torch.tensor([int(weight / 64 * width + 0.5) for weight in weights])


def mask(parts: int, width: int) -> Tensor:
    return (torch.arange(width) < valid_columns(parts, width)[:, None]).float()[:, None, None]


def sliced(frames: Tensor, parts: int) -> Tensor:
    batch, channels, height, width = frames.shape
    valid = valid_columns(parts, width)[:, None].double()
    s = ((torch.arange(width) + 0.5) / valid * width - 0.5 + 1e-9).float()
    s = torch.where(s < 0, s + width, s)
    i = s.floor()
    u = s - i
    taps = (
        (-u + 2 * u**2 - u**3) / 2,
        (2 - 5 * u**2 + 3 * u**3) / 2,
        (u + 4 * u**2 - 3 * u**3) / 2,
        (-(u**2) + u**3) / 2,
    )
    bands = frames.reshape(batch, channels, parts, height // parts, width).permute(0, 2, 1, 3, 4)
    made = torch.zeros_like(bands)
    for offset, weight in enumerate(taps):
        index = ((i.long() + offset - 1) % width)[None, :, None, None].expand(bands.shape)
        made = made + bands.gather(4, index) * weight[None, :, None, None]
    return (made * mask(parts, width)).reshape(batch * parts, channels, -1, width)


def padded(x: Tensor, parts: int, p: int) -> Tensor:
    """All rows, the interior's too, through two gathers."""
    rows, width = x.shape[-2:]
    valid = valid_columns(parts, width)
    bands = x.reshape(-1, parts, *x.shape[1:]).permute(0, 2, 1, 3, 4)
    flat = bands.reshape(*bands.shape[:2], -1)
    g = torch.arange(parts)[:, None, None]
    across = g * rows + torch.arange(-p, rows + p)[None, :, None]
    c = torch.arange(-p, width + p)[None, None]
    column = (c % valid[:, None, None]).double()
    beyond = (across < 0) | (across >= parts * rows)
    across = torch.where(across < 0, -across - 1, across)
    across = torch.where(across >= parts * rows, 2 * parts * rows - across - 1, across)
    own = valid[:, None, None]
    column = torch.where(beyond, (column + own / 2) % own, column)
    q = across // rows
    of = valid[q]
    s = ((column + 0.5) / own * of - 0.5 + 1e-9).float()
    s = torch.where(s < 0, s + of, s)
    i = s.floor().long()
    share = (i + 1 - s).to(x.dtype)
    base = (q * rows + across % rows) * width
    left = flat[..., (base + i % of).reshape(-1)].reshape(*flat.shape[:2], *share.shape)
    right = flat[..., (base + (i + 1) % of).reshape(-1)].reshape(*flat.shape[:2], *share.shape)
    there = c < own + p
    made = (share * left + (1 - share) * right) * there
    return made.permute(0, 2, 1, 3, 4).reshape(-1, x.shape[1], rows + 2 * p, width + 2 * p)


class MaskedNorm(nn.BatchNorm2d):
    parts = 16

    def forward(self, x: Tensor) -> Tensor:
        m = mask(self.parts, x.shape[-1]).repeat(len(x) // self.parts, 1, 1, 1)
        mean, var = self.running_mean, self.running_var
        if self.training:
            count = m.sum() * x.shape[2]
            mean = (x * m).sum(dim=(0, 2, 3)) / count
            var = (((x - mean[:, None, None]) * m) ** 2).sum(dim=(0, 2, 3)) / count
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var, self.momentum)
        scaled = (x - mean[:, None, None]) / torch.sqrt(var[:, None, None] + self.eps)
        return (scaled * self.weight[:, None, None] + self.bias[:, None, None]) * m


class Block(nn.Module):
    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride, bias=False)
        self.bn1 = MaskedNorm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, bias=False)
        self.bn2 = MaskedNorm(channels)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, channels, 1, stride, bias=False), MaskedNorm(channels)
            )

    def forward(self, x: Tensor, parts: int) -> Tensor:
        made = functional.relu(self.bn1(self.conv1(padded(x, parts, 1))))
        made = self.bn2(self.conv2(padded(made, parts, 1)))
        return functional.relu(made + (x if self.downsample is None else self.downsample(x)))


class UnfusedResNet18(nn.Module):
    def __init__(self, parts: int = 16, channels: int = 64) -> None:
        super().__init__()
        self.parts = parts
        self.conv1 = nn.Conv2d(3, channels, 7, 2, bias=False)
        self.bn1 = MaskedNorm(channels)
        before = channels
        for stage in range(4):
            wide = channels * 2**stage
            blocks = nn.ModuleList([Block(before, wide, 1 + (stage > 0)), Block(wide, wide, 1)])
            setattr(self, f"layer{stage + 1}", blocks)
            before = wide
        for module in self.modules():
            if isinstance(module, MaskedNorm):
                module.parts = parts

    def forward(self, frames: Tensor) -> Tensor:
        x = self.conv1(padded(sliced(frames, self.parts), self.parts, 3))
        x = functional.max_pool2d(padded(functional.relu(self.bn1(x)), self.parts, 1), 3, 2)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                x = block(x, self.parts)
        return self.unsliced(x).mean(dim=(2, 3))

    def unsliced(self, x: Tensor) -> Tensor:
        parts, (rows, width) = self.parts, x.shape[-2:]
        valid = valid_columns(parts, width)[:, None]
        s = ((torch.arange(width) + 0.5) / width * valid.double() - 0.5 + 1e-9).float()
        s = torch.where(s < 0, s + valid, s)
        i = s.floor()
        u = s - i
        taps = (
            (-u + 2 * u**2 - u**3) / 2,
            (2 - 5 * u**2 + 3 * u**3) / 2,
            (u + 4 * u**2 - 3 * u**3) / 2,
            (-(u**2) + u**3) / 2,
        )
        bands = x.reshape(-1, parts, *x.shape[1:])
        made = torch.zeros_like(bands)
        for offset, weight in enumerate(taps):
            index = ((i.long() + offset - 1) % valid)[None, :, None, None].expand(bands.shape)
            made = made + bands.gather(4, index) * weight[None, :, None, None]
        return made.permute(0, 2, 1, 3, 4).reshape(len(bands), x.shape[1], parts * rows, width)
