"""Bootstrap confidence intervals (Efron, 1979; percentile method), over what is independent.

Frames of one video are not independent of each other, so the unit that is drawn is the group: a
video for CCC (`GroupScore`), an item for a list of opinion scores (`ItemScore`), a picture for the
distances of the people in it (`MeanScore`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float64, Int64, Real
from numpy.typing import NDArray
from torch import Tensor

from shared_core.metrics.measure import Interval
from shared_core.metrics.moments import Moments

_FEWEST_GROUPS = 5
"""With fewer, the resamples are too few different ones for an interval to mean anything."""
_LARGEST_UNDEFINED_SHARE = 0.05
_DRAWS_AT_ONCE = 1 << 18
"""Limits the memory: 48 bytes of moments each."""


@runtime_checkable
class Resampled(Protocol):
    """A score that can be computed on resamples of its groups."""

    @property
    def noun(self) -> str:
        """What the groups are, in the plural."""

    def __len__(self) -> int:
        """Number of groups."""

    def __call__(self, drawn: Int64[Tensor, " samples groups"]) -> Float64[Tensor, " samples"]:
        """The score of each resample, which holds the groups of these indices."""


@dataclass(frozen=True)
class GroupScore:
    """A score of the pairs of all groups together, such as CCC over all frames of the drawn videos.

    Attributes:
        groups: moments of each group.
        statistic: batch of moments to values: `Moments.concordance` or `Moments.correlation`.
        noun: what the groups are.
    """

    groups: Sequence[Moments]
    statistic: Callable[[Moments], NDArray[np.float64]] = Moments.concordance
    noun: str = "videos"

    def __len__(self) -> int:
        return len(self.groups)

    def __call__(self, drawn: Int64[Tensor, " samples groups"]) -> Float64[Tensor, " samples"]:
        """The statistic of each resample."""
        drawn_moments = Moments(Moments.stack(self.groups).values[drawn.numpy()])
        return torch.from_numpy(self.statistic(drawn_moments.merge()))


@dataclass(frozen=True)
class ItemScore:
    """A score of single pairs, such as SRCC over images.

    Attributes:
        prediction: one score an item.
        target: of the same length.
        metric: prediction and target to a 0-d tensor: `srcc`, `krcc`, `plcc`, `rmse`, `mae`, `ccc`.
        noun: what the groups are.
        groups: the group of each item, numbered from 0, such as the video that it was cut from; None:
            each item is a group of its own.
    """

    prediction: Real[Tensor, " n"]
    target: Real[Tensor, " n"]
    metric: Callable[[Tensor, Tensor], Tensor]
    noun: str = "items"
    groups: Int64[Tensor, " n"] | None = None

    @cached_property
    def _members(self) -> list[Tensor] | None:
        """The items of each group; None where each is its own."""
        if self.groups is None:
            return None
        return [
            (self.groups == number).nonzero()[:, 0] for number in range(int(self.groups.max()) + 1)
        ]

    def __len__(self) -> int:
        return len(self.prediction if self._members is None else self._members)

    def __call__(self, drawn: Int64[Tensor, " samples groups"]) -> Float64[Tensor, " samples"]:
        """The metric of each resample."""
        prediction, target = self.prediction.cpu(), self.target.cpu()
        members = self._members
        items = (
            list(drawn)
            if members is None
            else [torch.cat([members[number] for number in row]) for row in drawn.tolist()]
        )
        return torch.stack([self.metric(prediction[i], target[i]) for i in items])


@dataclass(frozen=True)
class MeanScore:
    """The mean of one value per item, such as a distance, over items of the drawn groups.

    Items of one picture, or of one video, are not independent: with `groups` it is those that are
    drawn, each with all its items.

    Attributes:
        values: one an item; NaN where the item does not count.
        groups: the group of each item, numbered from 0; None: each item is a group of its own.
        noun: what the groups are.
    """

    values: Float64[Tensor, " items"]
    groups: Int64[Tensor, " items"] | None = None
    noun: str = "items"

    @cached_property
    def _sums(self) -> Float64[Tensor, "groups 2"]:
        """Sum of the values that count, and their number, of each group that has any."""
        counts = ~self.values.isnan()
        rows = torch.stack((self.values.nan_to_num(0.0), counts.double()), dim=1)
        if self.groups is not None:
            sums = rows.new_zeros(int(self.groups.max()) + 1 if len(rows) else 0, 2)
            rows = sums.index_add(0, self.groups, rows)
        return rows[rows[:, 1] > 0]

    def __len__(self) -> int:
        return len(self._sums)

    def __call__(self, drawn: Int64[Tensor, " samples groups"]) -> Float64[Tensor, " samples"]:
        """The mean of each resample."""
        total, count = self._sums[drawn].sum(dim=1).unbind(dim=1)
        return total / count

    def value(self) -> float:
        """The mean of all items that count; NaN where none does."""
        total, count = self._sums.sum(dim=0).tolist()
        return total / count if count else float("nan")


def bootstrap(
    score: Resampled, *, generator: torch.Generator, samples: int = 1000, level: float = 0.95
) -> Interval:
    """Confidence interval of a score.

    Resamples in which the score is undefined are left out; where they are more than 5 percent there
    is no interval, and with fewer than 5 groups neither.

    Args:
        score: what to compute, on what groups.
        generator: draws the groups; a CPU generator.
        samples: number of resamples.
        level: share of the resamples inside the interval.
    """
    return _interval(score, len(score), score.noun, generator, samples, level)


def bootstrap_difference(
    ours: Resampled,
    baseline: Resampled,
    *,
    generator: torch.Generator,
    samples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Confidence interval of `ours - baseline`, paired: both see the same resamples.

    Ours is better at this level where the interval lies above 0 (for errors: below).

    Args:
        ours: score of one method.
        baseline: score of the other, on the same groups in the same order.
        generator: draws the groups; a CPU generator.
        samples: number of resamples.
        level: share of the resamples inside the interval.

    Raises:
        ValueError: the numbers of groups differ.
    """
    if len(ours) != len(baseline):
        raise ValueError(f"ours has {len(ours)} {ours.noun}, the baseline {len(baseline)}")

    def difference(drawn: Tensor) -> Tensor:
        return ours(drawn) - baseline(drawn)

    return _interval(difference, len(ours), ours.noun, generator, samples, level)


def _interval(
    statistic: Callable[[Tensor], Tensor],
    groups: int,
    noun: str,
    generator: torch.Generator,
    samples: int,
    level: float,
) -> Interval:
    if groups < _FEWEST_GROUPS:
        return Interval.undefined(groups, f"fewer than {_FEWEST_GROUPS} {noun}")
    rows = max(1, _DRAWS_AT_ONCE // groups)
    values = torch.cat(
        [
            statistic(
                torch.randint(groups, (min(rows, samples - done), groups), generator=generator)
            )
            for done in range(0, samples, rows)
        ]
    )
    return percentile_interval(values, groups, level=level)


def percentile_interval(
    values: Float64[Tensor, " samples"], groups: int, *, level: float = 0.95
) -> Interval:
    """The middle of the scores of resamples; none where more than 5 percent are undefined (NaN).

    Args:
        values: a score a resample.
        groups: how many groups were drawn from.
        level: share of the resamples inside the interval.
    """
    samples = len(values)
    defined = values[~values.isnan()]
    if len(defined) < (1 - _LARGEST_UNDEFINED_SHARE) * samples:
        return Interval.undefined(
            groups, f"undefined in {samples - len(defined)} of {samples} resamples"
        )
    low, high = defined.quantile(defined.new_tensor([(1 - level) / 2, (1 + level) / 2])).tolist()
    return Interval(low=low, high=high, groups=groups)
