"""How networks and baselines of the demo compare, and what may be said of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from gaze_da.data.items import GazeDataset
from gaze_da.data.samples import Sample
from gaze_da.evaluate import Predictor, measures_of, score_tables
from gaze_da.protocols import COLUMNS, Table
from shared_core.data.loader import generator
from shared_core.metrics import MeanScore, Measure, bootstrap_difference
from shared_core.metrics.ranking import group_numbers
from shared_core.reporting.demo import over_seeds
from shared_core.reporting.demo_file import Comparison
from shared_core.reporting.page import brief

PLAIN, ADAPTED = "source only", "adapted"
"""How networks are trained."""

NETWORK, CENTRE, MEAN_MAP, CHANCE = (
    "this network", "centre prior", "mean of the training maps", "chance"
)  # fmt: skip
BASELINES = (CENTRE, MEAN_MAP, CHANCE)

SHOWN: Mapping[str, str] = {"auc": "AUC", "avg_dist": "distance"}
"""GazeFollow's AUC, and the distance of the peak from the mean annotator, as titles have them."""


@dataclass(frozen=True)
class Judgement:
    """How well several predictors do on the same people.

    Attributes:
        samples: the people.
        tables: scores of each person, by predictor.
        seed: key of the bootstrap.
    """

    samples: Sequence[Sample]
    tables: Mapping[str, Table]
    seed: int

    def measures(self, name: str) -> dict[str, Measure]:
        """A predictor's measures, with 95 % intervals over pictures."""
        return measures_of(self.tables[name], "gazefollow", self.samples, self.seed)

    def gain(self, ours: str, theirs: str, column: str) -> Measure:
        """How much better one is than the other, above 0, with its interval paired over pictures."""
        better, worse = (ours, theirs) if column == "auc" else (theirs, ours)
        scores = self._score(better, column), self._score(worse, column)
        found = Measure(value=scores[0].value() - scores[1].value())
        return found.with_interval(bootstrap_difference(*scores, generator=generator(self.seed)))

    def _score(self, name: str, column: str) -> MeanScore:
        values = torch.from_numpy(self.tables[name][:, COLUMNS.index(column)].copy())
        return MeanScore(values, group_numbers([s.group for s in self.samples]), "pictures")


def judge(unseen: GazeDataset, rivals: Mapping[str, Predictor], seed: int) -> Judgement:
    """Score several predictors on the same people, by GazeFollow's protocol."""
    tables = {
        name: score_tables(predictor, unseen, ("gazefollow",))["gazefollow"]
        for name, predictor in rivals.items()
    }
    return Judgement(unseen.samples, tables, seed)


def claim_of_learning(on_source: Judgement) -> str:
    """What may be said of learning, beside a prior that looks at nothing."""
    ours, centre = on_source.measures(NETWORK), on_source.measures(CENTRE)
    told = (
        f"On unseen pictures of the style it was taught, AUC {brief(ours['auc'])} and distance "
        f"{brief(ours['avg_dist'])} of the picture; always the centre: {brief(centre['auc'])} and "
        f"{brief(centre['avg_dist'])}."
    )
    gains = [on_source.gain(NETWORK, CENTRE, column) for column in SHOWN]
    if all(_low(gain) > 0 for gain in gains) and _are_apart(ours, centre):
        return f"{told} Better by {brief(gains[0])} in AUC and {brief(gains[1])} in distance."
    return f"{told} That it is better than the centre was not shown."


def claim_of_adaptation(on_target: Sequence[Judgement]) -> str:
    """What may be said of adaptation: that it helps only where the interval over seeds is above 0.

    Args:
        on_target: of each seed.
    """
    first = on_target[0]
    sides = " and ".join(
        f"{brief(first.measures(way)['avg_dist'])} {way}" for way in (PLAIN, ADAPTED)
    )
    told = f"On the other style, distance {sides}"
    if len(on_target) < 2:
        return (
            f"{told}: shorter by {brief(first.gain(ADAPTED, PLAIN, 'avg_dist'))} for this pair of networks; "
            "whether adaptation helps, the option --full asks."
        )
    over = gains_over_seeds(on_target)["avg_dist"]
    told += f" with the first of {len(on_target)} seeds; over all of them shorter by {brief(over)}"
    return f"{told}: adaptation {'helps here' if _low(over) > 0 else 'was not shown to help'}."


def gains_over_seeds(on_target: Sequence[Judgement]) -> dict[str, Measure]:
    """How much better adaptation makes each measure: mean over seeds, interval by Student's t."""
    return {
        column: over_seeds([of.gain(ADAPTED, PLAIN, column).value for of in on_target])
        for column in SHOWN
    }


def _low(measure: Measure) -> float:
    return math.nan if measure.low is None else measure.low


def _high(measure: Measure) -> float:
    return math.nan if measure.high is None else measure.high


def _are_apart(ours: Mapping[str, Measure], theirs: Mapping[str, Measure]) -> bool:
    """Whether ours is better in both measures, and no intervals overlap."""
    further = _high(ours["avg_dist"]) < _low(theirs["avg_dist"])
    return further and _low(ours["auc"]) > _high(theirs["auc"])


def comparison(judged: Judgement, column: str, where: str = "") -> Comparison:
    """One measure of all predictors.

    Args:
        judged: on one style.
        column: the measure, of `SHOWN`.
        where: added to its title.
    """
    found = {name: judged.measures(name)[column] for name in judged.tables}
    return Comparison(
        measure=f"{SHOWN[column]}{where}",
        found=found,
        baselines=[name for name in found if name in BASELINES],
        chance=0.5 if column == "auc" else None,
    )


def compared(source: Judgement, target: Sequence[Judgement]) -> list[Comparison]:
    """What was measured, for the index of all demos: each measure on the style taught and the other."""
    found = [
        comparison(judged, column, where)
        for column in SHOWN
        for where, judged in (("", source), (" on the other style", target[0]))
    ]
    if len(target) > 1:
        for column, gain in gains_over_seeds(target).items():
            title = f"gain in {SHOWN[column]} by adaptation, over {len(target)} seeds"
            found.append(Comparison(measure=title, found={ADAPTED: gain}, baselines=[], chance=0.0))
    return found
