"""How strongly the adversary pulls (Ganin and Lempitsky, 2015)."""

from __future__ import annotations

import math


def adversary_strength(
    batch: int, batches: int, epoch: int, epochs: int, *, upstream_rows: int | None = None
) -> float:
    """Factor of the reversed gradient: 2 / (1 + exp(-10 p)) - 1, from 0 to almost 1.

    p is the share of the training that is done: (batch + epoch batches) / (epochs batches).

    Args:
        batch: number of this batch in its epoch, from 0.
        batches: in an epoch.
        epoch: number of this epoch, from 0.
        epochs: in all.
        upstream_rows: rows of this batch, which the authors' code takes for its number: the strength
            then stays the same for a whole epoch.
    """
    number = batch if upstream_rows is None else upstream_rows
    share = (number + epoch * batches) / (epochs * batches)
    return 2 / (1 + math.exp(-10 * share)) - 1
