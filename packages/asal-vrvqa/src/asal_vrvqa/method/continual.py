"""What a stream of tasks leaves behind: average, forgetting, transfer.

R[i, j] is a score, higher is better, on the test set of task j after task i was learnt; r[j] that of
the network before any learning. Undefined scores are NaN, and what depends on them is NaN too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True)
class Transfer:
    """The figures of one stream.

    Attributes:
        average: mean of the last row: how well everything is known at the end.
        forgetting: mean, over all tasks but the last, of what was lost since the task was known best;
            lower is better, and below 0 where later tasks helped.
        backward: mean, over all tasks but the last, of the change since the task was learnt.
        forward: mean, over all tasks but the first, of what was known before the task, beyond what the
            network knew at the start.
    """

    average: float
    forgetting: float
    backward: float
    forward: float


def transfer(scores: Float64[np.ndarray, "N N"], before: Float64[np.ndarray, " N"]) -> Transfer:
    """Standard definitions, on each task's own test set.

    Average, backward and forward transfer: Lopez-Paz and Ranzato (2017). Forgetting: Chaudhry et al.
    (2018), the maximum taken over the stages from the task's own to the one before the last.

    Args:
        scores: R, higher is better.
        before: r.
    """
    count = len(scores)
    if count < 2:
        return Transfer(float(np.mean(scores[-1])), np.nan, np.nan, np.nan)
    last = scores[-1]
    past = range(count - 1)
    lost = [float(np.max(scores[i : count - 1, i])) - last[i] for i in past]
    changed = [last[i] - scores[i, i] for i in past]
    ahead = [scores[i - 1, i] - before[i] for i in range(1, count)]
    return Transfer(
        average=float(np.mean(last)),
        forgetting=float(np.mean(lost)),
        backward=float(np.mean(changed)),
        forward=float(np.mean(ahead)),
    )


def upstream_transfer(
    rows: Sequence[Sequence[float]], before: Sequence[float]
) -> tuple[float, float, float]:
    """Backward transfer, forward transfer and forgetting as the authors' code has them.

    Their maximum also runs over the last row and over the zeros that pad the rows, so that forgetting
    is never negative; and it is the same for measures of which lower is better.

    Args:
        rows: entries 1..i+1 in row i (the last one judged before it was learnt), all in the last row.
        before: of the network before any learning.
    """
    count = len(rows)
    padded = np.zeros((count, count))
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    last = padded[-1]
    with np.errstate(invalid="ignore"):  # infinity minus infinity is undefined, and said so by NaN
        backward = np.mean([last[i] - padded[i, i] for i in range(count - 1)])
        forward = np.mean([padded[i - 1, i] - before[i] for i in range(1, count)])
        forgetting = np.mean([padded[:, i].max() - last[i] for i in range(count - 1)])
    return float(backward), float(forward), float(forgetting)
