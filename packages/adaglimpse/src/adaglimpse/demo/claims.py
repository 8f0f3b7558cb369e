"""What may be said of the ways to look that the demo has compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from adaglimpse import synthetic
from adaglimpse.config import Policy
from adaglimpse.evaluate import NAMES
from adaglimpse.results import LEADING, Judged
from shared_core.data.loader import generator
from shared_core.metrics import Measure, bootstrap_difference
from shared_core.reporting.demo import over_seeds
from shared_core.reporting.demo_file import Comparison
from shared_core.reporting.page import brief

FIXED: tuple[Policy, ...] = ("grid", "centre", "full")
"""Ways to look that do not depend on the scene."""

Found = Mapping[Policy, Judged]
"""How each way to look did on the same scenes."""


def leading(found: Found, name: Policy, seed: int = 0) -> Measure:
    """The task's measure of a way to look, with its interval over scenes."""
    judged = found[name]
    return judged.measures(judged.glimpses, seed)[LEADING[judged.task]]


def gain(found: Sequence[Found], name: Policy) -> Measure:
    """By how much the learnt policy is better than another, above 0.

    Paired over scenes for one seed, over seeds where there are several.
    """
    signs = [1.0 if leading(of, name).higher_is_better else -1.0 for of in found]
    values = [
        sign * (leading(of, "learnt").value - leading(of, name).value)
        for sign, of in zip(signs, found, strict=True)
    ]
    if len(found) > 1:
        return over_seeds(values)
    ours, theirs = found[0]["learnt"], found[0][name]
    last = ours.glimpses
    interval = bootstrap_difference(ours.score(last), theirs.score(last), generator=generator(0))
    low, high = sorted((signs[0] * interval.low, signs[0] * interval.high))
    return Measure(value=values[0], low=low, high=high)


def is_shown(measure: Measure) -> bool:
    """Whether a gain's interval lies above 0."""
    return measure.low is not None and not math.isnan(measure.low) and measure.low > 0


def claim(found: Sequence[Found]) -> str:
    """What is said of a task: against random glimpses, then against the best fixed way to look."""
    judged = found[0]["learnt"]
    what = "accuracy" if judged.task == "classification" else "RMSE"
    against = gain(found, "random")
    verdict = "it looks better than at random" if is_shown(against) else "no gain was shown"
    best = min(FIXED, key=lambda name: gain(found, name).value)
    fixed = gain(found, best)
    as_good = (
        f"It is better than every fixed way to look; the best of them, {NAMES[best]}, by {brief(fixed)}."
        if is_shown(fixed)
        else f"A fixed way to look is as good, as far as was shown: {NAMES[best]} "
        f"({brief(leading(found[0], best))}), better by {brief(fixed)}."
    )
    return (
        f"{judged.task.capitalize()} from {judged.glimpses} glimpses: {what} "
        f"{brief(leading(found[0], 'learnt'))} by the learnt policy, "
        f"{brief(leading(found[0], 'random'))} by random "
        f"glimpses: better by {brief(against)}, so that {verdict}. {as_good}"
    )


def compared(found: Found) -> Comparison:
    """What was measured of a task, for the index of all demos; the learnt policy comes first."""
    task = found["learnt"].task
    return Comparison(
        measure="RMSE, levels" if task == "reconstruction" else LEADING[task],
        found={NAMES[name]: leading(found, name) for name in found},
        baselines=[NAMES[name] for name in found if name != "learnt"],
        chance=None if task == "reconstruction" else round(1 / len(synthetic.MARKS), 3),
    )
