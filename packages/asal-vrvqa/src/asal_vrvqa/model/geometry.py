"""Where the columns of the sphere lie: a pseudo-cylindrical grid of latitude bands.

The sphere is cut into `parts` bands of latitude, the north pole first. A band near a pole is a shorter
circle, so it gets fewer columns. All bands have the same number of rows, so they are laid side by side
in one *strip*: `rows` high, and as wide as all valid columns together. No column of a strip is invalid,
and nothing has to be masked.

    plane      [N, H, W, C]        the equirectangular frame
    strip      [N, H / parts, V, C]    V = sum of the bands' columns
    haloed     [N, H / parts + 2p, S, C]    each band with p columns and rows of its neighbours around it

Everything here depends on sizes alone, and is worked out once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

_UNITS = 64
"""The widest band has so many units of width."""

_NUDGE = 1e-9
"""Added to a position before it is split, so that rounding never puts it left of its column."""


Function = TypeVar("Function", bound=Callable[..., Any])


def _table(kept: int) -> Callable[[Function], Function]:
    """Work a table out once, and outside of compiled graphs: its sizes are no part of them."""

    def once(function: Function) -> Function:
        disabled: Any = torch.compiler.disable  # it has no types
        return cast("Function", disabled(lru_cache(maxsize=kept)(function)))

    return once


@lru_cache
def band_columns(parts: int, width: int) -> tuple[int, ...]:
    """Valid columns of each band on a map of this width, from pole to pole.

    int(w / 64 * width + 1/2) with w = ceil(64 sin(pi (g + 1/2) / parts)).

    Raises:
        ValueError: a band would have none.
    """
    weights = [math.ceil(_UNITS * math.sin(math.pi * (g + 0.5) / parts)) for g in range(parts)]
    columns = tuple(int(weight / _UNITS * width + 0.5) for weight in weights)
    if min(columns) < 1:
        raise ValueError(f"{parts} parts leave the bands at the poles no column of {width}")
    return columns


def starts(columns: tuple[int, ...]) -> list[int]:
    """Where each band begins in the strip."""
    return [sum(columns[:g]) for g in range(len(columns))]


@dataclass(frozen=True)
class Taps:
    """A linear map that makes each cell of a few cells of the source.

    Attributes:
        index: cells of the source, a row a tap.
        weight: of each.
    """

    index: Int64[Tensor, "taps n"]
    weight: Float[Tensor, "taps n"]

    def __call__(self, cells: Float[Tensor, "N source C"]) -> Float[Tensor, "N n C"]:
        """The cells that it makes."""
        made = cells.index_select(1, self.index[0]) * self.weight[0, :, None].to(cells.dtype)
        for index, weight in zip(self.index[1:], self.weight[1:], strict=True):
            made = torch.addcmul(made, cells.index_select(1, index), weight[:, None].to(cells))
        return made


@dataclass(frozen=True)
class Halo:
    """How a strip gets its halo, for a convolution that then needs no padding.

    Attributes:
        body: column of the strip for each column of the haloed strip.
        edges: the halo rows, p above and p below, from the flat cells [rows * V] of the strip.
        columns: S, of the haloed strip.
        pad: rows of the halo on each side.
        kept: columns of a convolution's output that are a strip again; the others lie between bands.
    """

    body: Int64[Tensor, " S"]
    edges: Taps
    columns: int
    pad: int
    kept: Int64[Tensor, " V"]


@_table(128)
def halo(
    parts: int,
    rows: int,
    width: int,
    pad: int,
    kernel: int,
    stride: int,
    device: torch.device,
) -> Halo:
    """The halo for a convolution of this kernel and stride on a strip of so many rows.

    A halo row comes from the neighbouring band, between whose columns it interpolates; beyond a pole
    the row is reflected and turned by half a circle. Then each row is wrapped around.

    Args:
        parts: bands.
        rows: of the strip.
        width: of the map.
        pad: columns and rows on each side.
        kernel: of the convolution.
        stride: of the convolution, 1 or 2.
        device: where the tables live.
    """
    columns = band_columns(parts, width)
    begin = starts(columns)
    out_columns = band_columns(parts, width // stride)
    body: list[np.ndarray] = []
    kept: list[np.ndarray] = []
    places: list[tuple[int, np.ndarray]] = []  # band, and its column of each haloed column
    offset = 0
    for g, (valid, made) in enumerate(zip(columns, out_columns, strict=True)):
        # A band begins where the stride lands.
        length = valid + 2 * pad
        length += -length % stride
        inside = (np.arange(length) - pad) % valid
        body.append(begin[g] + inside)
        places.append((g, inside))
        kept.append(offset // stride + np.arange(made))
        offset += length
    overhang = kernel - 2 * pad - 1  # what is read beyond the last band; none for odd kernels
    if overhang > 0:
        raise ValueError(f"a halo of {pad} is too narrow for a kernel of {kernel}")
    edges = [
        _halo_row(places, columns, begin, row, rows, parts)
        for row in (*range(-pad, 0), *range(rows, rows + pad))
    ]
    index = np.concatenate([e[0] for e in edges], axis=1)
    weight = np.concatenate([e[1] for e in edges], axis=1)
    return Halo(
        body=_long(np.concatenate(body), device),
        edges=Taps(_long(index, device), _float(weight, device)),
        columns=offset,
        pad=pad,
        kept=_long(np.concatenate(kept), device),
    )


def _halo_row(
    places: list[tuple[int, np.ndarray]],
    columns: tuple[int, ...],
    begin: list[int],
    row: int,
    rows: int,
    parts: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Index and weight of both taps of one halo row, over all bands."""
    total = sum(columns)
    index, weight = [], []
    for g, column in places:
        across = g * rows + row
        turned = column.astype(np.float64)
        if across < 0 or across >= parts * rows:
            across = -across - 1 if across < 0 else 2 * parts * rows - across - 1
            turned = (column + columns[g] / 2) % columns[g]  # may fall between two columns
        band, inner = divmod(across, rows)
        valid = columns[band]
        at = _positions(turned, columns[g], valid)
        first = np.floor(at).astype(np.int64)
        share = (first + 1 - at).astype(np.float32)
        base = inner * total + begin[band]
        index.append(np.stack([base + first % valid, base + (first + 1) % valid]))
        weight.append(np.stack([share, 1 - share]))
    return np.concatenate(index, axis=1), np.concatenate(weight, axis=1)


def _positions(column: np.ndarray, of: int, on: int) -> np.ndarray:
    """Where columns of a circle of `of` columns lie on one of `on`, in [0, on)."""
    at = ((column + 0.5) / of * on - 0.5 + _NUDGE).astype(np.float32)
    return np.where(at < 0, at + np.float32(on), at)


def _catmull_rom(u: np.ndarray) -> np.ndarray:
    """Weights of the columns i-1, i, i+1 and i+2 for a position i + u."""
    return np.stack(
        [
            (-u + 2 * u**2 - u**3) / 2,
            (2 - 5 * u**2 + 3 * u**3) / 2,
            (u + 4 * u**2 - 3 * u**3) / 2,
            (-(u**2) + u**3) / 2,
        ]
    )


def _cubic(of: int, on: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns [4, of] of a circle of `on` columns, and their weights, for a circle of `of`."""
    at = _positions(np.arange(of, dtype=np.float64), of, on)
    first = np.floor(at).astype(np.int64)
    offsets = np.arange(-1, 3)[:, None]
    return (first + offsets) % on, _catmull_rom(at - first.astype(np.float32))


@_table(16)
def slicing(parts: int, height: int, width: int, device: torch.device) -> Taps:
    """From the flat cells of a plane [height * width] to those of its strip, by Catmull-Rom."""
    rows = height // parts
    index, weight = [], []
    for g, valid in enumerate(band_columns(parts, width)):
        column, share = _cubic(valid, width)
        row = (g * rows + np.arange(rows))[:, None]
        index.append((row * width)[None] + column[:, None, :])
        weight.append(np.broadcast_to(share[:, None, :], (4, rows, valid)))
    return Taps(
        _long(np.concatenate(index, axis=2).reshape(4, -1), device),
        _float(np.concatenate(weight, axis=2).reshape(4, -1), device),
    )


@_table(16)
def unslicing(parts: int, height: int, width: int, device: torch.device) -> Taps:
    """From the flat cells of a strip to those of its plane [height * width], by Catmull-Rom."""
    rows = height // parts
    columns = band_columns(parts, width)
    begin, total = starts(columns), sum(columns)
    index, weight = [], []
    for g, valid in enumerate(columns):
        column, share = _cubic(width, valid)
        row = np.arange(rows)[:, None]
        index.append((row * total)[None] + begin[g] + column[:, None, :])
        weight.append(np.broadcast_to(share[:, None, :], (4, rows, width)))
    return Taps(
        _long(np.concatenate(index, axis=1).reshape(4, -1), device),
        _float(np.concatenate(weight, axis=1).reshape(4, -1), device),
    )


@_table(16)
def pooling(parts: int, width: int, device: torch.device) -> Float[Tensor, " V"]:
    """Weight of each column of a strip in the mean over the plane; all rows weigh alike.

    The mean of the un-sliced plane, without making it: it is linear, and the same for all rows.
    """
    weights = []
    for valid in band_columns(parts, width):
        column, share = _cubic(width, valid)
        weights.append(np.bincount(column.ravel(), share.ravel(), minlength=valid) / width)
    return _float(np.concatenate(weights) / parts, device)


@_table(128)
def every_second(parts: int, width: int, device: torch.device) -> Int64[Tensor, " V2"]:
    """Columns of a strip that a 1x1 convolution of stride 2 reads."""
    columns = band_columns(parts, width)
    made = band_columns(parts, width // 2)
    begin = starts(columns)
    chosen = [begin[g] + 2 * np.arange(made[g]) for g in range(parts)]
    return _long(np.concatenate(chosen), device)


def _long(values: np.ndarray, device: torch.device) -> Tensor:
    return _kept(np.ascontiguousarray(values, dtype=np.int64), device)


def _float(values: np.ndarray, device: torch.device) -> Tensor:
    return _kept(np.ascontiguousarray(values, dtype=np.float32), device)


def _kept(values: np.ndarray, device: torch.device) -> Tensor:
    table = torch.from_numpy(values).to(device)
    if table.is_inference():  # first asked for while predicting, it must serve training too
        with torch.inference_mode(mode=False):
            table = table.clone()
    return table
