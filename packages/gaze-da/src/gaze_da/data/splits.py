"""A validation split out of the training data: by picture, or by show, never by row."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gaze_da.data.samples import Sample
from shared_core.data.loader import generator
from shared_core.errors import UsageError


def split_validation(
    samples: Sequence[Sample], share: float, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """Training and validation samples; all people of a group are on one side.

    Groups are drawn until they hold the share of the samples: at least one, never all.

    Args:
        samples: all of them.
        share: of the samples for validation, between 0 and 1.
        seed: decides, together with the number of groups, which.

    Raises:
        UsageError: there is one group only.
    """
    groups = sorted({sample.group for sample in samples})
    if len(groups) < 2:
        raise UsageError(
            f"the training data holds {len(groups)} picture or show: there is nothing to choose a "
            "checkpoint by.\nUse more data."
        )
    sizes = dict.fromkeys(groups, 0)
    for sample in samples:
        sizes[sample.group] += 1
    held: set[str] = set()
    count = 0
    for index in torch.randperm(len(groups), generator=generator(seed, len(groups))).tolist():
        if held and (count >= share * len(samples) or len(held) == len(groups) - 1):
            break
        held.add(groups[index])
        count += sizes[groups[index]]
    train = [sample for sample in samples if sample.group not in held]
    return train, [sample for sample in samples if sample.group in held]
