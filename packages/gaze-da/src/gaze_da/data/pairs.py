"""Items of two domains side by side, for adaptation: each source item has a target item beside it.

An index of a pair is `source * targets + target`, so that the loader deals pairs as it deals items:
over processes, workers and restarts alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from gaze_da.data.items import GazeBatch, GazeDataset, Item, collate
from shared_core.data.loader import PADDING, ItemKey, ShuffledPlan, generator

_TARGET = 1
"""Sets the draws of the target's order and changes apart from the source's."""


@dataclass(frozen=True)
class PairBatch:
    """Rows of both domains; the target's labels are never learnt from."""

    source: GazeBatch
    target: GazeBatch

    def __len__(self) -> int:
        """Number of source rows that count."""
        return len(self.source)

    def to(self, device: torch.device | str) -> PairBatch:
        """The same batch on a device."""
        return PairBatch(self.source.to(device), self.target.to(device))

    def pin_memory(self) -> PairBatch:
        """The same batch in page-locked memory."""
        return PairBatch(self.source.pin_memory(), self.target.pin_memory())

    def that_count(self) -> PairBatch:
        """Only the rows that are valid: the same ones in both domains."""
        return PairBatch(self.source.that_count(), self.target.that_count())


class Pairs:
    """Pairs of a source and a target item.

    Args:
        source: labelled items.
        target: items of the domain to adapt to.
    """

    def __init__(self, source: GazeDataset, target: GazeDataset) -> None:
        self.source = source
        self.target = target

    def __len__(self) -> int:
        """Number of source items."""
        return len(self.source)

    def __getitem__(self, key: ItemKey) -> tuple[Item, Item]:
        """A pair; index -1 gives rows that count nothing."""
        if key.index == PADDING:
            return self.source[key], self.target[key]
        source, target = divmod(key.index, len(self.target))
        # A target item may come up several times in an epoch: its draws are the pair's.
        of_target = self.target[_PairKey(key.seed, key.epoch, target, key.index)]
        return self.source[replace(key, index=source)], of_target


@dataclass(frozen=True, slots=True)
class _PairKey(ItemKey):
    pair: int

    def generator(self) -> torch.Generator:
        """Of what the target item draws in this pair."""
        return generator(self.seed, self.epoch, self.pair, _TARGET)


@dataclass(frozen=True)
class PairedPlan:
    """Every source item once an epoch, beside target items: all of them before any comes again.

    Args:
        sources: number of source items.
        targets: number of target items.
        batch_size: pairs of a global batch.
        seed: together with the epoch, it decides both orders.
        drop_last: leave out a last batch that is not full.
    """

    sources: int
    targets: int
    batch_size: int
    seed: int
    drop_last: bool = False

    def batches(self, epoch: int) -> Sequence[Sequence[int]]:
        """The global batches of this epoch, as indices of pairs."""
        plan = ShuffledPlan(self.sources, self.batch_size, self.seed, self.drop_last)
        passes = -(-self.sources // self.targets)
        order = torch.cat(
            [
                torch.randperm(self.targets, generator=generator(self.seed, epoch, number, _TARGET))
                for number in range(passes)
            ]
        )
        found, done = [], 0
        for batch in plan.batches(epoch):
            beside = order[done : done + len(batch)].tolist()
            found.append([s * self.targets + t for s, t in zip(batch, beside, strict=True)])
            done += len(batch)
        return found


def collate_pairs(pairs: Sequence[tuple[Item, Item]]) -> PairBatch:
    """Rows of both domains below one another."""
    sources, targets = zip(*pairs, strict=True)
    return PairBatch(collate(sources), collate(targets))
