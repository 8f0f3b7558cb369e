"""What may be said of the strategies that the demo has compared."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from asal_vrvqa.compare import Contender
from asal_vrvqa.runs import StreamRun
from shared_core.metrics import Measure
from shared_core.reporting.demo import over_seeds
from shared_core.reporting.demo_file import Comparison
from shared_core.reporting.page import brief

FINETUNE, REPLAY, ASAL = "finetune", "er", "asal"
STRATEGIES = (FINETUNE, REPLAY, ASAL)

NAMES = {FINETUNE: "finetuning", REPLAY: "replay (ER)", ASAL: "ASAL"}

UNTAUGHT = "untaught network"
"""The baseline: what the network scored before any learning."""


def low(measure: Measure) -> float:
    """Lower end of an interval; NaN where there is none."""
    return math.nan if measure.low is None else measure.low


def untaught(run: StreamRun) -> float:
    """Mean SRCC over the tasks before any learning."""
    return float(np.mean(run.judged.matrix()[0]))


def gain(ours: Contender, theirs: Contender, name: str) -> Measure:
    """How much better one strategy's figure is than another's, above 0.

    Over seeds where there are several, else paired over source videos.
    """
    pairs = list(zip(ours.runs, theirs.runs, strict=True))
    each = [a.judged.gain(b.judged, name, a.config.seed) for a, b in pairs]
    return each[0] if len(each) == 1 else over_seeds([measure.value for measure in each])


def claim_of_forgetting(finetune: Contender) -> str:
    """Whether finetuning forgets."""
    forgotten = finetune.figures()["forgetting"]
    told = f"Finetuning, task after task, loses {brief(forgotten)} of SRCC on the tasks before the last"
    if low(forgotten) > 0:
        return f"{told}: it forgets."
    return f"{told}: that it forgets was not shown."


def claim_of_replay(contenders: Sequence[Contender]) -> str:
    """What a memory changes, for each strategy that has one."""
    by_name = {of.name: of for of in contenders}
    told = []
    for name in (REPLAY, ASAL):
        less = gain(by_name[name], by_name[FINETUNE], "forgetting")
        more = gain(by_name[name], by_name[FINETUNE], "average")
        shown = [
            text
            for text, measure in (("forgets less", less), ("knows more at the end", more))
            if low(measure) > 0
        ]
        what = " and ".join(shown) if shown else "was not shown to change it"
        if shown == ["forgets less"]:  # what was never well learnt is not forgotten either
            what += ", but was not shown to know more at the end"
        told.append(
            f"{NAMES[name][0].upper()}{NAMES[name][1:]} against finetuning: average SRCC better by "
            f"{brief(more)}, forgetting less by {brief(less)}: it {what}."
        )
    return " ".join(told)


def claim_of_asal(contenders: Sequence[Contender]) -> str:
    """Whether ASAL is better than plain replay: only over seeds."""
    by_name = {of.name: of for of in contenders}
    if len(contenders[0].runs) < 3:
        return "Whether ASAL is better than plain replay, the option --full asks."
    more = gain(by_name[ASAL], by_name[REPLAY], "average")
    verdict = "is better here" if low(more) > 0 else "was not shown to be better"
    return (
        f"ASAL against plain replay, over {len(contenders[0].runs)} seeds: average SRCC better by "
        f"{brief(more)}: it {verdict}."
    )


def claim_of_sphere(sphere: Sequence[float], plain: Sequence[float]) -> str:
    """Whether the backbone on the sphere is better than the plain one: only over seeds.

    Args:
        sphere: SRCC of joint training with each seed.
        plain: the same with the plain backbone.
    """
    difference = over_seeds([a - b for a, b in zip(sphere, plain, strict=True)])
    verdict = "is better here" if low(difference) > 0 else "was not shown to be better"
    return (
        f"All tasks learnt together on the sphere, SRCC {np.mean(sphere):.3f}; on the flat frame "
        f"{np.mean(plain):.3f}: better by {brief(difference)} over {len(sphere)} seeds: the sphere {verdict}."
    )


def compared(contenders: Sequence[Contender]) -> list[Comparison]:
    """What was measured, for the index of all demos: ASAL first, then what it is compared with."""
    by_name = {of.name: of.figures() for of in contenders}
    ordered = {NAMES[name]: by_name[name] for name in (ASAL, REPLAY, FINETUNE)}
    value = float(np.mean([untaught(run) for run in contenders[0].runs]))
    nothing = Measure(value=value, reason="no interval: one network a seed")
    return [
        Comparison(
            measure="forgetting, in SRCC",
            found={name: of["forgetting"] for name, of in ordered.items()},
            baselines=[NAMES[FINETUNE]],
        ),
        Comparison(
            measure="average SRCC",
            found={**{name: of["average"] for name, of in ordered.items()}, UNTAUGHT: nothing},
            baselines=[NAMES[FINETUNE], UNTAUGHT],
            chance=0.0,
        ),
    ]
