"""Operations on the sphere's strips (see `geometry`): slicing, halos, convolutions, batch norm, pooling.

Channels come last in memory, so that a column is one block: a halo then costs a copy, and the
convolutions of the CPU are at their fastest.
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from asal_vrvqa.model import geometry
from shared_core.launch.batch_norm import ConnectedBatchNorm
from shared_core.launch.collectives import is_connected


def to_strip(plane: Float[Tensor, "N C H W"], parts: int) -> Float[Tensor, "N h V C"]:
    """Cut a plane into bands and shrink each to its columns.

    Raises:
        ValueError: the height is no multiple of the parts.
    """
    batch, channels, height, width = plane.shape
    if height % parts:
        raise ValueError(f"the height {height} is no multiple of {parts} parts")
    cells = plane.permute(0, 2, 3, 1).reshape(batch, height * width, channels)
    taps = geometry.slicing(parts, height, width, plane.device)
    columns = sum(geometry.band_columns(parts, width))
    return taps(cells).reshape(batch, height // parts, columns, channels)


def to_plane(
    strip: Float[Tensor, "N h V C"], parts: int, width: int
) -> Float[Tensor, "N C H {width}"]:
    """Stretch each band to the full width and stack them: the inverse of `to_strip`, but for blur."""
    batch, rows, _, channels = strip.shape
    taps = geometry.unslicing(parts, rows * parts, width, strip.device)
    plane = taps(strip.flatten(1, 2)).reshape(batch, rows * parts, width, channels)
    return plane.permute(0, 3, 1, 2)


def pooled(strip: Float[Tensor, "N h V C"], parts: int, width: int) -> Float[Tensor, "N C"]:
    """Mean over the plane that the strip stands for; rows near the poles weigh as much as others."""
    weight = geometry.pooling(parts, width, strip.device).to(strip)
    return torch.einsum("nvc,v->nc", strip.mean(dim=1), weight)


def with_halo(strip: Float[Tensor, "N h V C"], table: geometry.Halo) -> Float[Tensor, "N H S C"]:
    """Surround each band with rows and columns of its neighbours."""
    batch, _, _, channels = strip.shape
    halo_rows = 2 * table.pad  # counted, for a process may have no frame at all
    edges = table.edges(strip.flatten(1, 2)).reshape(batch, halo_rows, table.columns, channels)
    above, below = edges.chunk(2, dim=1)
    body = strip.index_select(2, table.body)
    return torch.cat([above, body, below], dim=1)


def convolved(
    strip: Float[Tensor, "N h V C"],
    weight: Float[Tensor, "D C k k"],
    *,
    parts: int,
    width: int,
    stride: int = 1,
    bias: Float[Tensor, " D"] | None = None,
) -> Float[Tensor, "N h2 V2 D"]:
    """Convolve on the sphere: bands see their neighbours, columns go around."""
    kernel = weight.shape[-1]
    if kernel == 1:
        seen = strip
        if stride == 2:
            columns = geometry.every_second(parts, width, strip.device)
            seen = strip[:, ::2].index_select(2, columns)
        return functional.linear(seen, weight.flatten(1), bias)
    table = geometry.halo(parts, strip.shape[1], width, kernel // 2, kernel, stride, strip.device)
    seen = with_halo(strip, table).permute(0, 3, 1, 2)
    made = functional.conv2d(seen, weight, bias, stride=stride)
    return made.permute(0, 2, 3, 1).index_select(2, table.kept)


def max_pooled(strip: Float[Tensor, "N h V C"], *, parts: int, width: int) -> Tensor:
    """Maximum over 3x3 cells, at every second row and column."""
    table = geometry.halo(parts, strip.shape[1], width, 1, 3, 2, strip.device)
    seen = with_halo(strip, table).permute(0, 3, 1, 2)
    made = functional.max_pool2d(seen, 3, stride=2)
    return made.permute(0, 2, 3, 1).index_select(2, table.kept)


def to_parts(
    strip: Float[Tensor, "N h V C"], parts: int, width: int
) -> Float[Tensor, "NP C h {width}"]:
    """The strip as the authors lay it out: a picture a band, zeros right of its valid columns."""
    columns = geometry.band_columns(parts, width)
    bands = [
        functional.pad(band.permute(0, 3, 1, 2), (0, width - band.shape[2]))
        for band in torch.split(strip, list(columns), dim=2)
    ]
    return torch.stack(bands, dim=1).flatten(0, 1)


def from_parts(stacked: Float[Tensor, "NP C h W"], parts: int) -> Float[Tensor, "N h V C"]:
    """The valid columns of the authors' layout as a strip; whatever stands right of them is dropped."""
    columns = geometry.band_columns(parts, stacked.shape[-1])
    bands = stacked.reshape(-1, parts, *stacked.shape[1:]).unbind(1)
    kept = [band[..., :valid] for band, valid in zip(bands, columns, strict=True)]
    return torch.cat(kept, dim=-1).permute(0, 2, 3, 1)


class PopulationBatchNorm(ConnectedBatchNorm):
    """Batch norm whose running variance is that of the population: divided by n, not n - 1.

    Over all valid columns, which are all a strip has. With several processes its statistics are those
    of the global batch, unless `alone` says otherwise.
    """

    alone = False
    """Statistics of this process's rows only."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name is torch's
        """Normalise each channel of [N, C, ...], then scale and shift it."""
        if not self.training:
            return super().forward(input)
        if is_connected() and not self.alone:
            return super().forward(input)
        count = input.numel() // max(1, self.num_features)
        mean, unbiased = torch.zeros_like(self._mean), torch.ones_like(self._variance)
        made = functional.batch_norm(
            input, mean, unbiased, self.weight, self.bias, True, 1.0, self.eps
        )
        with torch.no_grad():
            share = 0.0 if self.momentum is None else self.momentum
            self._mean.lerp_(mean, share)
            self._variance.lerp_(unbiased * ((count - 1) / count), share)
            self._batches.add_(1)
        return made

    def unbiased(self, variance: Tensor, count: Tensor) -> Tensor:  # noqa: ARG002
        """What the running variance learns from a batch's: the same."""
        return variance

    @property
    def _mean(self) -> Tensor:
        return cast("Tensor", self.running_mean)

    @property
    def _variance(self) -> Tensor:
        return cast("Tensor", self.running_var)

    @property
    def _batches(self) -> Tensor:
        return cast("Tensor", self.num_batches_tracked)


def normalised(strip: Float[Tensor, "N h V C"], norm: nn.Module) -> Float[Tensor, "N h V C"]:
    """A strip through a batch norm of torch, which wants the channels second."""
    made: Tensor = norm(strip.permute(0, 3, 1, 2))
    return made.permute(0, 2, 3, 1)
