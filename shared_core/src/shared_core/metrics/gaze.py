"""Metrics of gaze heat maps (Recasens et al., 2015; Chong et al., 2018).

Points are (x, y) in fractions of the picture. A row of `gazes` that is (-1, -1) says that there is no
point. Everything works on batches, on the tensors' device.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from shared_core.metrics.ranking import area_under_roc

_EPSILON = 1e-6


def present(gazes: Float[Tensor, "B K 2"]) -> Bool[Tensor, "B K"]:
    """Which rows are points: those with a coordinate other than -1."""
    return (gazes != -1).any(dim=-1)


def enlarge(
    heatmaps: Float[Tensor, "B S S"], height: int, width: int
) -> Float[Tensor, "B height width"]:
    """Heat maps at another size, as scikit-image resizes them with order 1.

    Along each axis the value at i is interpolated at u = (i + 1/2) S / n - 1/2, mirrored about the
    centres of the first and the last cell. An axis that becomes shorter is blurred before, with
    sigma = (S / n - 1) / 2 cut at 4 sigma. A constant map stays exactly constant.
    """
    for axis, length in ((2, width), (1, height)):
        cells = heatmaps.shape[axis]
        if length < cells:
            middle = heatmaps.mean(dim=(1, 2), keepdim=True)
            blur = _blur(cells, length).to(heatmaps)
            heatmaps = middle + torch.tensordot(
                heatmaps - middle, blur, dims=([axis], [1])
            ).movedim(-1, axis)
        lower, upper, share = (part.to(heatmaps.device) for part in _places(cells, length))
        low, high = heatmaps.index_select(axis, lower), heatmaps.index_select(axis, upper)
        share = share.to(heatmaps.dtype)
        heatmaps = low.lerp_(high, share[:, None] if axis == 1 else share)
    return heatmaps


@lru_cache(maxsize=64)
def _places(cells: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of each place: the cells before and after it, and how far it is from one to the other."""
    u = (torch.arange(length, dtype=torch.float64) + 0.5) * cells / length - 0.5
    u = torch.where(u < 0, -u, u)
    u = torch.where(u > cells - 1, 2 * (cells - 1) - u, u)
    lower = u.floor().clamp(0, cells - 1)
    upper = (lower + 1).clamp(max=cells - 1)
    return lower.long(), upper.long(), u - lower


@lru_cache(maxsize=64)
def _blur(cells: int, length: int) -> Float64[Tensor, "cells cells"]:
    """A Gaussian along an axis that is to become shorter, mirrored at both ends."""
    sigma = (cells / length - 1) / 2
    reach = int(4 * sigma + 0.5)
    offsets = torch.arange(-reach, reach + 1)
    values = torch.exp(-0.5 * (offsets / sigma).double() ** 2)
    period = 2 * (cells - 1)
    place = (torch.arange(cells)[:, None] + offsets) % period
    place = torch.where(place >= cells, period - place, place)
    matrix = torch.zeros(cells, cells, dtype=torch.float64)
    return matrix.scatter_add_(1, place, (values / values.sum()).expand(cells, -1))


def pixels(gazes: Float[Tensor, "B K 2"], height: int, width: int) -> Int64[Tensor, "B K"]:
    """The pixel of each point, row by row; -1 where there is no point.

    x W and y H, products in float32, cut to whole numbers and to the picture.
    """
    columns = (gazes[..., 0].float() * width).long().clamp(0, width - 1)
    rows = (gazes[..., 1].float() * height).long().clamp(0, height - 1)
    return torch.where(present(gazes), rows * width + columns, -1)


def picture_auc(
    heatmaps: Float[Tensor, "B S S"], gazes: Float[Tensor, "B K 2"], height: int, width: int
) -> Float64[Tensor, " B"]:
    """GazeFollow's AUC: the pixels that annotators chose against all others, at the picture's size.

    Returns:
        In [0, 1]; NaN where nobody chose one, or the heat map is not finite.
    """
    scores = enlarge(heatmaps, height, width).flatten(1)
    return area_under_roc(scores, pixels(gazes, height, width))


def peak(
    heatmaps: Float[Tensor, "B S S"], *, nan_as_zero: bool = False, centre: bool = False
) -> Float[Tensor, "B 2"]:
    """Where the heat map is highest, as a fraction; of equal cells the first, row by row.

    Args:
        heatmaps: finite, unless `nan_as_zero`.
        nan_as_zero: take NaN for 0, as the authors do.
        centre: the middle of the cell; else its upper left corner, by which the field measures.
    """
    if nan_as_zero:
        heatmaps = torch.where(heatmaps.isnan(), 0.0, heatmaps)
    size = heatmaps.shape[-1]
    place = heatmaps.flatten(1).argmax(dim=1)
    cell = torch.stack((place % size, place // size), dim=1).float()
    return (cell + 0.5 * centre) / size


def distances(
    points: Float[Tensor, "B 2"], gazes: Float[Tensor, "B K 2"]
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Distance to the nearest annotator, and to the mean of all; in fractions, NaN without any."""
    there = present(gazes)
    each = (points[:, None] - gazes).norm(dim=-1)
    nearest = torch.where(there, each, torch.inf).min(dim=1).values
    number = there.sum(dim=1, keepdim=True)
    mean = torch.where(there[..., None], gazes, 0.0).sum(dim=1) / number
    return torch.where(there.any(dim=1), nearest, torch.nan), (points - mean).norm(dim=-1)


def angles(
    points: Float[Tensor, "B 2"],
    eyes: Float[Tensor, "B K 2"],
    gazes: Float[Tensor, "B K 2"],
    *,
    compat: bool = False,
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Least and mean angle at the eye between a point and what annotators chose, in degrees.

    In fractions of the picture, whose aspect does not count, as the field measures.

    Args:
        points: predicted.
        eyes: one a gaze.
        gazes: annotated.
        compat: divide by the product of the lengths plus 1e-6, as the authors do: equal directions are
            0.08 degrees apart then, and short ones up to 90. Else an eye at the point is NaN.
    """
    there = present(gazes)
    to_point, to_gaze = points[:, None] - eyes, gazes - eyes
    if compat:
        lengths = to_point.norm(dim=-1) * to_gaze.norm(dim=-1) + _EPSILON
        each = ((to_point * to_gaze).sum(dim=-1) / lengths).clamp(-1, 1).acos()
    else:
        to_point, to_gaze = to_point.double(), to_gaze.double()
        cross = to_point[..., 0] * to_gaze[..., 1] - to_point[..., 1] * to_gaze[..., 0]
        each = torch.atan2(cross.abs(), (to_point * to_gaze).sum(dim=-1))
        there = there & (to_point != 0).any(dim=-1) & (to_gaze != 0).any(dim=-1)
    each = each * (180 / math.pi)
    least = torch.where(there, each, torch.inf).min(dim=1).values
    mean = torch.where(there, each, 0.0).sum(dim=1) / there.sum(dim=1)
    return torch.where(there.any(dim=1), least, torch.nan).float(), mean.float()
