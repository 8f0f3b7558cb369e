"""The one-cycle schedule of rates and momenta, as a function of the place in the run."""

from __future__ import annotations

import math

_RISE = 0.01
"""Share of the run in which the rate would rise; it starts at its peak, so it is constant there."""
_FINAL = 1e-3
"""Last rate, as a share of the peak."""
_BETAS = (0.85, 0.95)
_BETA = 0.9
"""Without the cycle."""


def one_cycle(step: int, total: int, *, cycle_momentum: bool = True) -> tuple[float, float]:
    """Factor on the peak rate, and Adam's first beta, for a step of a run.

    Constant for the first hundredth of the run, then half a cosine down to a thousandth; beta falls
    from 0.95 to 0.85 in the first part, and rises to 0.95 again in the second. After the end both stay.

    Args:
        step: from 0.
        total: steps of the run; the end is reached at step total - 1.
        cycle_momentum: without it beta is 0.9 all the time.
    """
    low, high = _BETAS
    turn, end = _RISE * total - 1, total - 1
    if step <= turn:
        rate, beta = 1.0, _between(high, low, step / turn if turn else 1.0)
    else:
        part = min(1.0, (step - turn) / (end - turn))
        rate, beta = _between(1.0, _FINAL, part), _between(low, high, part)
    return rate, beta if cycle_momentum else _BETA


def _between(first: float, last: float, part: float) -> float:
    """Half a cosine from `first` to `last`."""
    return last + (first - last) / 2 * (1 + math.cos(math.pi * part))
