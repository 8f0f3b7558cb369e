"""Valence and arousal as a distribution over 22 classes.

Classes 1 to 20 are bins of the scale, classes 0 and 21 its two ends. A label belongs to the class
whose half-open interval of bounds it lies in; a prediction is the mean of the class centres under
the predicted distribution.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

INNER = 20
"""Bins between the ends of the scale."""

TargetName: TypeAlias = Literal["valence", "arousal"]

# Labels of the ABAW 3 training set in 20 bins of width 0.1 from -1; 1 581 184 frames.
LABEL_COUNTS: dict[TargetName, tuple[int, ...]] = {
    "valence": (
        27425, 20326, 35916, 46624, 48919, 51225, 56399, 63890, 79380, 75452,
        271361, 263633, 169472, 107129, 71913, 63248, 44008, 31391, 23231, 30242,
    ),
    "arousal": (
        7114, 1499, 1811, 4137, 4832, 6389, 11349, 18920, 29469, 45875,
        207891, 306583, 249557, 189182, 136268, 107747, 85861, 64224, 44853, 57623,
    ),
}  # fmt: skip


def bin_centres(target: TargetName, weighted: bool) -> Float[Tensor, "22"]:
    """Value that each class stands for: -1, the middles of the 20 bins, 1."""
    edges = _edges(target, weighted)
    return _float32([-1.0, *_middles(edges), 1.0])


def bin_bounds(target: TargetName, weighted: bool) -> Float[Tensor, "23"]:
    """Bounds between classes; the ends reach halfway to the middles of the bins beside them."""
    edges = _edges(target, weighted)
    middles = _middles(edges)
    return _float32([-1.0, (middles[0] - 1) / 2, *edges[1:-1], (middles[-1] + 1) / 2, 1.0])


def _edges(target: TargetName, weighted: bool) -> NDArray[np.float64]:
    """The 21 edges of the 20 bins: equally wide, or of equal shares of the training labels.

    For the latter the cumulative histogram is taken as linear inside its bins, and inverted.
    """
    equally_wide = np.arange(-10, 11) / 10
    if not weighted:
        return equally_wide
    share = np.concatenate(([0.0], np.cumsum(LABEL_COUNTS[target], dtype=np.float64)))
    wanted = np.arange(INNER + 1) / INNER
    return np.interp(wanted, share / share[-1], equally_wide)


def _middles(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    return (edges[:-1] + edges[1:]) / 2


def _float32(values: list[float]) -> Tensor:
    """Rounded once, so that a label such as 0.1 lies exactly on the bound 0.1."""
    return torch.from_numpy(np.array(values, np.float64)).float()


def classes(
    target: Float[Tensor, "*shape"], bounds: Float[Tensor, "23"], *, strict: bool = False
) -> Int[Tensor, "*shape"]:
    """Class of each label: k where bounds[k] <= label < bounds[k + 1]; 1 falls into the last.

    Args:
        target: labels in [-1, 1].
        bounds: of `bin_bounds`.
        strict: as in the authors' code, a label that lies on a bound falls into class 0.
    """
    target = target.contiguous().float()
    inner = bounds[1:-1].to(target).contiguous()
    found = torch.bucketize(target, inner, right=True)
    if strict:
        return torch.where(torch.isin(target, bounds.to(target)), 0, found)
    return found


def class_targets(
    target: Float[Tensor, "B T K"],
    valid: Bool[Tensor, "B T"],
    bounds: Float[Tensor, "23 K"],
    *,
    strict: bool = False,
) -> Int[Tensor, "B T K"]:
    """Class of each label by the bounds of its target; -1 where not `valid`."""
    columns = [
        classes(target[..., k], bounds[:, k], strict=strict) for k in range(target.shape[-1])
    ]
    return torch.where(valid[..., None], torch.stack(columns, dim=-1), -1)


def expectation(
    logits: Float[Tensor, "*shape 22 K"], centres: Float[Tensor, "22 K"]
) -> Float[Tensor, "*shape K"]:
    """Mean of the centres under softmax(logits), in [-1, 1] and float32."""
    return (logits.float().softmax(dim=-2) * centres.float()).sum(dim=-2)
