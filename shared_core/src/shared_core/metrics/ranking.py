"""How well scores rank positives above negatives: area under the ROC curve, average precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

_ROWS_AT_ONCE = 1 << 22
"""Limits the memory of a bootstrap: items times resamples."""


def area_under_roc(
    scores: Float[Tensor, "B N"], positives: Int64[Tensor, "B K"]
) -> Float64[Tensor, " B"]:
    """Exact area under the ROC curve of each row, by counting (Mann and Whitney, 1947).

    The share of pairs of a positive and a negative in which the positive has the higher score; ties
    count one half. For few positives among many scores, which need not be sorted.

    Args:
        scores: of every candidate.
        positives: places of the positives in each row; -1 where there are fewer. A place that comes
            twice counts once.

    Returns:
        In [0, 1]; NaN for a row without positives or without negatives, or whose scores are not all
        finite.
    """
    places, _ = positives.sort(dim=1)
    counts = places >= 0
    counts[:, 1:] &= places[:, 1:] != places[:, :-1]
    of_positives = scores.gather(1, places.clamp(min=0)).masked_fill(~counts, torch.inf)
    thresholds, order = of_positives.sort(dim=1)
    counts = counts.gather(1, order)
    # Below and up to each positive: all scores, less the other positives among them.
    all_below, all_equal = _below_and_equal(scores, thresholds)
    own_below, own_equal = _below_and_equal(thresholds, thresholds)
    wins = 2 * (all_below - own_below) + (all_equal - own_equal)
    area = torch.where(counts, wins, 0).sum(dim=1).double() / 2
    number = counts.sum(dim=1).double()
    negatives = scores.shape[1] - number
    area = area / (number * negatives)
    # One value that is not finite makes the sum so, at a tenth of the price of looking at each.
    defined = (number > 0) & (negatives > 0) & scores.sum(dim=1).isfinite()
    return torch.where(defined, area, torch.nan)


def _below_and_equal(
    scores: Float[Tensor, "B N"], thresholds: Float[Tensor, "B K"]
) -> tuple[Int64[Tensor, "B K"], Int64[Tensor, "B K"]]:
    """How many scores of a row are below each of its sorted thresholds, and how many equal it."""
    rows, bins = len(thresholds), thresholds.shape[1] + 1
    # The first threshold that a score does not pass; equal ones fall to the first of them.
    first = torch.searchsorted(thresholds.contiguous(), scores.contiguous(), out_int32=True)
    of_row = bins * torch.arange(rows, device=scores.device, dtype=torch.int32)[:, None]
    place = (first + of_row).flatten()
    beyond = thresholds.new_full((rows, 1), torch.nan)
    nearest = torch.cat((thresholds, beyond), dim=1).flatten().index_select(0, place)
    ties = nearest == scores.flatten()

    def counted(places: Tensor) -> Tensor:
        return torch.bincount(places, minlength=rows * bins).view(rows, bins)

    equal = counted(place[ties])
    below = (counted(place) - equal).cumsum(dim=1)
    # What equals an earlier threshold is below this one, if the two differ; all of a tie share it.
    distinct = torch.searchsorted(thresholds.contiguous(), thresholds.contiguous()).long()
    passed = equal.cumsum(dim=1) - equal
    return below.gather(1, distinct) + passed.gather(1, distinct), equal.gather(1, distinct)


def average_precision(
    scores: Float[Tensor, " N"], labels: Bool[Tensor, " N"]
) -> Float64[Tensor, ""]:
    """Average precision: sum of (recall_n - recall_(n-1)) precision_n over the distinct scores.

    Args:
        scores: higher means positive.
        labels: which are positive.

    Returns:
        In [0, 1]; NaN without positives. Without negatives it is 1, whatever the scores.
    """
    return PrecisionScore(scores, labels).of(torch.ones(1, len(scores), dtype=torch.float64))[0]


@dataclass(frozen=True)
class PrecisionScore:
    """Average precision over items of the drawn groups; what a bootstrap draws from.

    Attributes:
        scores: higher means positive.
        labels: which are positive.
        groups: the group of each item, numbered from 0; None: each item is one.
        noun: what the groups are.
    """

    scores: Float[Tensor, " N"]
    labels: Bool[Tensor, " N"]
    groups: Int64[Tensor, " N"] | None = None
    noun: str = "items"

    @cached_property
    def _order(self) -> Int64[Tensor, " N"]:
        return self.scores.argsort(descending=True)

    @cached_property
    def _last_of_ties(self) -> Bool[Tensor, " N"]:
        """Where the score changes after an item: only there is a threshold."""
        ordered = self.scores[self._order]
        return torch.cat((ordered[1:] != ordered[:-1], ordered.new_ones(1, dtype=torch.bool)))

    def __len__(self) -> int:
        if self.groups is None:
            return len(self.scores)
        return int(self.groups.max()) + 1 if len(self.groups) else 0

    def __call__(self, drawn: Int64[Tensor, "samples groups"]) -> Float64[Tensor, " samples"]:
        """The average precision of each resample."""
        times = torch.zeros(len(drawn), len(self), dtype=torch.float64)
        times.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
        groups = torch.arange(len(self)) if self.groups is None else self.groups
        at_once = max(1, _ROWS_AT_ONCE // max(1, len(groups)))
        parts = range(0, len(times), at_once)
        return torch.cat([self.of(times[first : first + at_once, groups]) for first in parts])

    def of(self, weights: Float64[Tensor, "samples N"]) -> Float64[Tensor, " samples"]:
        """Average precision where each item stands for so many."""
        weights = weights[:, self._order]
        positives = (weights * self.labels[self._order]).cumsum(dim=1)
        seen = weights.cumsum(dim=1)
        positives, seen = positives[:, self._last_of_ties], seen[:, self._last_of_ties]
        gained = positives.diff(dim=1, prepend=positives.new_zeros(len(positives), 1))
        precision = positives / seen.clamp(min=1e-300)
        total = positives[:, -1]
        return torch.where(total > 0, (gained * precision).sum(dim=1) / total, torch.nan)


def group_numbers(names: Sequence[str]) -> Int64[Tensor, " N"]:
    """The groups of items as numbers from 0, in the order of their names."""
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    return torch.tensor([numbers[name] for name in names], dtype=torch.int64)
