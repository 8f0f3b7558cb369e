"""Actor and critic: what they see of each patch, how that is pooled, and what they answer.

Both have a trunk of their own, of the same shape. Names of parameters are those of the released
weights (`patch_net_conv.0`, `input_layers.1.0`, `pooling.attention.2`, ...).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from adaglimpse.config import RL_INPUTS, RlInput
from adaglimpse.model.blocks import EPSILON

Norm = Literal["batch", "masked", "group", "frozen"]

ACTION = 3
"""Of an action: y, x and z, each from 0 to 1."""

LOC_OFFSET = 0.5
"""Added to the policy's location before it is squashed. The library that the authors trained with did so
for bounds of [0, 1], so that released weights act differently without it."""

_HIDDEN = 256
_INPUT = 512  # shared by the inputs
_PATCH_FEATURES = 32
_HEADS = 8
_SMALLEST_SCALE = 0.01
_NEGATIVE = (
    -1e8
)  # where there is no patch; finite, so that an image without any has a mean of all places


class Observation(NamedTuple):
    """What is known of an image after some glimpses, for P places of patches.

    Attributes:
        patches: normalised pixels; 0 where there is none.
        attention: importance by attention rollout.
        coords: boxes (y1, x1, y2, x2) in pixels, as numbers: the released weights expect them raw.
        observation: latents of the backbone.
        mask: True where there is no patch.
    """

    patches: Float[Tensor, "B P 3 16 16"]
    attention: Float[Tensor, "B P 1"]
    coords: Float[Tensor, "B P 4"]
    observation: Float[Tensor, "B P D"]
    mask: Bool[Tensor, "B P 1"]


class MaskedBatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics come from the rows that are there."""

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Normalise x [n, C, h, w]; `valid` [n] says which rows are there."""
        if valid is None or not self.training:
            return super().forward(x)
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            raise ValueError("a masked batch norm needs running statistics")
        weight = valid.to(x.dtype).view(-1, 1, 1, 1)
        rows = weight.sum() * x.shape[2] * x.shape[3]
        count, some = rows.clamp(min=1), (rows > 0).to(x.dtype)
        mean = (x * weight).sum(dim=(0, 2, 3)) / count
        variance = ((x - mean.view(1, -1, 1, 1)) ** 2 * weight).sum(dim=(0, 2, 3)) / count
        unbiased = variance * count / (count - 1).clamp(min=1)
        # Without any row, as before the first glimpse, the running statistics stand in, and stay. All of
        # it in place and without branches: several critics are one call, statistics side by side.
        mean = torch.lerp(self.running_mean.clone(), mean, some)
        variance = torch.lerp(self.running_var.clone(), variance, some)
        with torch.no_grad():
            share = self.momentum * some
            self.running_mean.add_(share * (mean.detach() - self.running_mean))
            self.running_var.add_(share * (unbiased.detach() - self.running_var))
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(some.long())
        scaled = (x - mean.view(1, -1, 1, 1)) * torch.rsqrt(variance + self.eps).view(1, -1, 1, 1)
        return scaled * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


class FrozenBatchNorm(nn.BatchNorm2d):
    """Batch norm with constant statistics, in training too."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name is torch's
        """Normalise by the running statistics, which nothing moves."""
        return functional.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


def _norm(kind: Norm, channels: int) -> nn.Module:
    match kind:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "masked":
            return MaskedBatchNorm(channels)
        case "frozen":
            return FrozenBatchNorm(channels)
        case "group":
            return nn.GroupNorm(4, channels)


class PatchNet(nn.Sequential):
    """Features [32] of a patch: two convolutions, each followed by norm, GELU and pooling."""

    def __init__(self, norm: Norm) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 5), _norm(norm, 8), nn.GELU(), nn.MaxPool2d(2),
            nn.Conv2d(8, _PATCH_FEATURES, 5), _norm(norm, _PATCH_FEATURES), nn.GELU(),
            nn.MaxPool2d(2), nn.Flatten(),
        )  # fmt: skip

    def forward(  # type: ignore[override]  # a Sequential takes one tensor
        self, patches: Float[Tensor, "n 3 16 16"], valid: Bool[Tensor, " n"]
    ) -> Float[Tensor, "n 32"]:
        """Of each patch; `valid` says which are there."""
        x = patches
        for layer in self:
            x = layer(x, valid) if isinstance(layer, MaskedBatchNorm) else layer(x)
        return x


def _layer(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(before, after), nn.LayerNorm(after, eps=EPSILON), nn.GELU())


class Pooling(nn.Module):
    """Features of all patches to one vector, weighted by eight attentions over the patches.

    Args:
        before: width of a patch's features.
    """

    def __init__(self, before: int) -> None:
        super().__init__()
        self.input_layer = _layer(before, _HIDDEN)
        self.attention = nn.Sequential(
            nn.Linear(_HIDDEN, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, _HEADS)
        )
        self.output_layer = _layer(_HIDDEN, _HIDDEN)

    def forward(
        self, features: Float[Tensor, "B P E"], mask: Bool[Tensor, "B P 1"]
    ) -> Float[Tensor, "B h"]:
        """The vector; an image without patches has the mean over its empty places."""
        x = self.input_layer(features)
        weight = (self.attention(x) + mask * _NEGATIVE).softmax(dim=1)
        values = x.view(*x.shape[:-1], _HEADS, _HIDDEN // _HEADS)
        pooled: Tensor = self.output_layer((weight.unsqueeze(-1) * values).sum(dim=1).flatten(1))
        return pooled


class Trunk(nn.Module):
    """What actor and critic have in common: an observation to a vector [256].

    Args:
        latent: width of the backbone's latents.
        inputs: what is seen of each patch.
        norm: of the patches' features.
    """

    def __init__(self, latent: int, inputs: Sequence[RlInput], norm: Norm) -> None:
        super().__init__()
        widths = dict(zip(RL_INPUTS, (_PATCH_FEATURES, 1, 4, latent), strict=True))
        self.inputs = tuple(inputs)
        share = _INPUT // len(inputs)
        self.patch_net_conv = PatchNet(norm)
        self.input_layers = nn.ModuleList(_layer(widths[name], share) for name in inputs)
        self.pooling = Pooling(share * len(inputs))

    def state(self, seen: Observation) -> Float[Tensor, "B h"]:
        """The vector of an observation."""
        features = [
            layer(self._input(name, seen))
            for name, layer in zip(self.inputs, self.input_layers, strict=True)
        ]
        vector: Tensor = self.pooling(torch.cat(features, dim=-1), seen.mask)
        return vector

    def _input(self, name: RlInput, seen: Observation) -> Tensor:
        if name != "patches":
            plain: Tensor = getattr(seen, name)
            return plain.float()
        flat: Tensor = self.patch_net_conv(seen.patches.flatten(0, 1).float(), ~seen.mask.flatten())
        return flat.view(*seen.patches.shape[:2], -1)


class Actor(Trunk):
    """Location and scale of the normal that is squashed into an action, for y, x and z."""

    def __init__(self, latent: int, inputs: Sequence[RlInput], norm: Norm) -> None:
        super().__init__(latent, inputs, norm)
        self.head = nn.Sequential(
            nn.Linear(_HIDDEN, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, 2 * ACTION)
        )

    def forward(self, *seen: Tensor) -> tuple[Float[Tensor, "B 3"], Float[Tensor, "B 3"]]:
        """Location and scale; takes the fields of an `Observation` in their order."""
        loc, raw = self.head(self.state(Observation(*seen))).chunk(2, dim=-1)
        return loc + LOC_OFFSET, action_scale(raw)


class Critic(Trunk):
    """Value of an action after an observation: what is still to be gained."""

    def __init__(self, latent: int, inputs: Sequence[RlInput], norm: Norm) -> None:
        super().__init__(latent, inputs, norm)
        self.action_net = _layer(ACTION, _HIDDEN)
        self.head = nn.Sequential(nn.Linear(2 * _HIDDEN, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, 1))

    def forward(self, *seen_and_action: Tensor) -> Float[Tensor, "B 1"]:
        """The value; takes the fields of an `Observation` in their order, then the action [B, 3]."""
        *seen, action = seen_and_action
        state = self.state(Observation(*seen))
        value: Tensor = self.head(torch.cat((state, self.action_net(action)), dim=-1))
        return value


def action_scale(raw: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Scale of the normal, at least 0.01; 0.5 where the network answers 0."""
    bias = math.log(math.expm1(0.5 - _SMALLEST_SCALE))
    return (functional.softplus(raw + bias) + _SMALLEST_SCALE).clamp(min=1e-4)
