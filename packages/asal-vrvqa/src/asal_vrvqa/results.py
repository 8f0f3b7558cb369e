"""What is measured on scores: agreement with the labels, and what a stream of tasks left behind."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from scipy.stats import rankdata
from torch import Tensor

from asal_vrvqa.data.labels import Clip
from asal_vrvqa.data.splits import Part
from asal_vrvqa.method.continual import transfer, upstream_transfer
from shared_core.data.loader import generator
from shared_core.metrics import Interval, ItemScore, Measure, bootstrap, krcc, plcc, rmse, srcc
from shared_core.metrics.intervals import percentile_interval
from shared_core.metrics.ranking import group_numbers

NOUN = "sources"
"""What is independent: the clips of one video are not."""

GROUPS: Mapping[str, Callable[[Clip], bool]] = {
    "7_A": lambda clip: clip.condition == "7_A",
    "7_B": lambda clip: clip.condition == "7_B",
    "7": lambda clip: clip.seconds == 7,
    "15_A": lambda clip: clip.condition == "15_A",
    "15_B": lambda clip: clip.condition == "15_B",
    "15": lambda clip: clip.seconds == 15,
    "Overall": lambda clip: True,  # noqa: ARG005
}
"""The authors' groups of clips, by viewing time and start."""

FIGURES = ("average", "forgetting", "backward", "forward")
"""Of a stream; see `method.continual`."""

_SAMPLES = 300


def relative_l2(prediction: Tensor, target: Tensor) -> Tensor:
    """RL2 = 100 mean(((p - t) / (max t - min t))^2), in percent; infinite for a constant target."""
    p, t = prediction.double(), target.double()
    span = t.max() - t.min()
    return 100 * torch.mean(((p - t) / span) ** 2) if span > 0 else t.new_tensor(math.inf)


def _kinds(logistic_fit: bool) -> dict[str, tuple[Callable[[Tensor, Tensor], Tensor], bool]]:
    """Metrics by name, and whether higher is better."""
    kinds: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], bool]] = {
        "srcc": (srcc, True),
        "plcc": (plcc, True),
        "krcc": (krcc, True),
        "rmse": (rmse, False),
        "rl2": (relative_l2, False),
    }
    if logistic_fit:
        kinds["plcc_fit"] = (lambda x, y: plcc(x, y, fit=4), True)
        kinds["rmse_fit"] = (lambda x, y: rmse(x, y, fit=4), False)
    return kinds


def measures(
    prediction: Float64[np.ndarray, " n"],
    clips: Sequence[Clip],
    seed: int = 0,
    *,
    logistic_fit: bool = False,
    intervals: bool = True,
) -> dict[str, Measure]:
    """SRCC, PLCC, KRCC, RMSE and relative L2 of clips, with 95 % intervals over source videos.

    Args:
        prediction: a score a clip; NaN where the clip was left out.
        clips: with their labels.
        seed: key of the bootstrap.
        logistic_fit: also PLCC and RMSE after the four-parameter logistic, as much of the field
            reports them.
        intervals: False leaves them out, which is a hundred times faster.

    Raises:
        ValueError: no clip is left.
    """
    judged = np.isfinite(prediction)
    if not judged.any():
        raise ValueError("there is no clip to judge")
    kept = [clip for clip, there in zip(clips, judged.tolist(), strict=True) if there]
    p = torch.from_numpy(prediction[judged])
    t = torch.tensor([clip.score for clip in kept], dtype=torch.float64)
    groups = group_numbers([clip.source for clip in kept])
    found = {}
    for name, (metric, higher) in _kinds(logistic_fit).items():
        value = float(metric(p, t))
        if not math.isfinite(value):
            reason = "too few clips, or a constant prediction or label"
            found[name] = Measure(value=math.nan, reason=reason, higher_is_better=higher)
            continue
        measure = Measure(value=value, higher_is_better=higher)
        if intervals and not name.endswith("_fit"):  # a fit for each resample would take minutes
            score = ItemScore(p, t, metric, noun=NOUN, groups=groups)
            drawn = bootstrap(score, generator=generator(seed), samples=_SAMPLES)
            measure = measure.with_interval(drawn)
        found[name] = measure
    return found


@dataclass(frozen=True)
class Judged:
    """Predictions for all test clips of a stream: before it, and after each of its stages.

    Attributes:
        stages: names of the stages.
        tests: test clips, a part a category.
        predictions: [1 + stages, clips]; the first row is of the network before any learning. NaN where
            a stage has not been learnt yet, or a clip was left out.
    """

    stages: tuple[str, ...]
    tests: tuple[Part, ...]
    predictions: Float64[np.ndarray, "rows clips"]

    @property
    def clips(self) -> list[Clip]:
        """All test clips."""
        return [clip for part in self.tests for clip in part.clips]

    @property
    def is_stream(self) -> bool:
        """Whether the stages are the tasks that it is judged on, in their order."""
        return len(self.stages) > 1 and self.stages == tuple(part.name for part in self.tests)

    def part(self, number: int) -> slice:
        """Where the clips of a part lie."""
        begin = sum(len(part.clips) for part in self.tests[:number])
        return slice(begin, begin + len(self.tests[number].clips))

    def matrix(self) -> Float64[np.ndarray, "rows parts"]:
        """SRCC of each row on each part."""
        return np.array(
            [
                [_srcc(row[self.part(n)], part.clips) for n, part in enumerate(self.tests)]
                for row in self.predictions
            ]
        )

    def figures(self, seed: int = 0) -> dict[str, Measure]:
        """Average, forgetting, backward and forward transfer, on SRCC, with intervals over sources.

        Each resample draws the source videos of each test set anew.
        """
        matrix = self.matrix()
        value = transfer(matrix[1:], matrix[0])
        drawn = [transfer(m[1:], m[0]) for m in self._resampled(seed)]
        groups = len({clip.source for clip in self.clips})
        found = {}
        for name in FIGURES:
            higher = name != "forgetting"
            one = float(getattr(value, name))
            if math.isnan(one):
                reason = "a score that it needs is undefined"
                found[name] = Measure(value=one, reason=reason, higher_is_better=higher)
                continue
            over = torch.tensor([float(getattr(t, name)) for t in drawn], dtype=torch.float64)
            interval = percentile_interval(over, groups)
            if (fewest := min(len({c.source for c in part.clips}) for part in self.tests)) < 2:
                interval = Interval.undefined(groups, f"a test set of {fewest} source")
            found[name] = Measure(value=one, higher_is_better=higher).with_interval(interval)
        return found

    def gain(self, other: Judged, name: str, seed: int = 0) -> Measure:
        """How much better a figure is than another run's on the same tests, above 0.

        The interval is paired: both see the same resamples of source videos.

        Raises:
            ValueError: the runs were judged on other clips.
        """
        if [c.name for c in self.clips] != [c.name for c in other.clips]:
            raise ValueError("the runs were judged on different clips")
        sign = -1 if name == "forgetting" else 1
        pairs = zip(self._resampled(seed), other._resampled(seed), strict=True)
        drawn = [
            sign * (getattr(transfer(a[1:], a[0]), name) - getattr(transfer(b[1:], b[0]), name))
            for a, b in pairs
        ]
        ours, theirs = self.matrix(), other.matrix()
        value = sign * (
            getattr(transfer(ours[1:], ours[0]), name)
            - getattr(transfer(theirs[1:], theirs[0]), name)
        )
        if math.isnan(value):
            return Measure(value=value, reason="a score that it needs is undefined")
        groups = len({clip.source for clip in self.clips})
        return Measure(value=float(value)).with_interval(
            percentile_interval(torch.tensor(drawn, dtype=torch.float64), groups)
        )

    def _resampled(self, seed: int) -> list[Float64[np.ndarray, "rows parts"]]:
        draw = np.random.default_rng(generator(seed).initial_seed())
        columns = []
        for number, part in enumerate(self.tests):
            rows = self.predictions[:, self.part(number)]
            labels = np.array([clip.score for clip in part.clips])
            sources = group_numbers([clip.source for clip in part.clips]).numpy()
            members = [np.flatnonzero(sources == source) for source in range(sources.max() + 1)]
            columns.append(
                [
                    _srcc_rows(rows[:, chosen], labels[chosen])
                    for _ in range(_SAMPLES)
                    for chosen in [
                        np.concatenate(
                            [members[i] for i in draw.integers(len(members), size=len(members))]
                        )
                    ]
                ]
            )
        return [np.stack(of_sample, axis=1) for of_sample in zip(*columns, strict=True)]

    def upstream(self) -> dict[str, dict[str, dict[str, float]]]:
        """The authors' backward and forward transfer and forgetting, by measure and group of clips.

        They are taken on the clips of all tasks so far together, and each row ends with the next task,
        judged before it was learnt.
        """
        found: dict[str, dict[str, dict[str, float]]] = {}
        count = len(self.stages)
        for measure in ("SRCC", "PLCC", "L2", "RL2"):
            of_group = {}
            for group in GROUPS:
                rows = [
                    [self._pooled(i + 1, j, measure, group) for j in range(min(i + 2, count))]
                    for i in range(count)
                ]
                before = [self._pooled(0, j, measure, group) for j in range(count)]
                backward, forward, forgetting = upstream_transfer(rows, before)
                of_group[group] = {
                    "backward": backward, "forward": forward, "forgetting": forgetting
                }  # fmt: skip
            found[measure] = of_group
        return found

    def _pooled(self, row: int, last: int, measure: str, group: str) -> float:
        """A measure on the clips of a group in the parts up to `last` together."""
        clips = [clip for part in self.tests[: last + 1] for clip in part.clips]
        values = self.predictions[row, : len(clips)]
        chosen = [
            i for i, clip in enumerate(clips) if GROUPS[group](clip) and np.isfinite(values[i])
        ]
        if not chosen:
            return math.nan
        p = torch.from_numpy(values[chosen])
        t = torch.tensor([clips[i].score for i in chosen], dtype=torch.float64)
        return float(_UPSTREAM[measure](p, t))

    def to_json(self, seed: int = 0) -> dict[str, Any]:
        """Everything of a stream for its results file."""
        matrix = self.matrix()
        content: dict[str, Any] = {
            "stages": list(self.stages),
            "tests": [part.name for part in self.tests],
            "srcc_before": matrix[0].tolist(),
            "srcc": matrix[1:].tolist(),
            "after": {
                stage: {
                    name: {kind: measure.to_json() for kind, measure in of_part.items()}
                    for name, of_part in self.measures_after(n, intervals=False).items()
                }
                for n, stage in self.learnt()
            },
        }
        if self.is_stream and len(self.learnt()) == len(self.stages):
            content["figures"] = {n: m.to_json() for n, m in self.figures(seed).items()}
            content["upstream"] = self.upstream()
        return content

    def learnt(self) -> list[tuple[int, str]]:
        """Row and name of the stages that have been learnt so far."""
        rows = enumerate(self.stages, 1)
        return [(n, stage) for n, stage in rows if np.isfinite(self.predictions[n]).any()]

    def measures_after(
        self, row: int, seed: int = 0, *, logistic_fit: bool = False, intervals: bool = True
    ) -> dict[str, dict[str, Measure]]:
        """All `measures` of a row, on each part and on all together; undefined where no clip is left."""
        parts = {part.name: (self.part(n), part.clips) for n, part in enumerate(self.tests)}
        found = {}
        for name, (where, clips) in {**parts, "pooled": (slice(None), self.clips)}.items():
            values = self.predictions[row][where]
            if np.isfinite(values).any():
                found[name] = measures(
                    values, clips, seed, logistic_fit=logistic_fit, intervals=intervals
                )
                continue
            found[name] = {
                kind: Measure(value=math.nan, reason="no clip is left", higher_is_better=higher)
                for kind, (_, higher) in _kinds(logistic_fit).items()
            }
        return found


def _mse(prediction: Tensor, target: Tensor) -> Tensor:
    return torch.mean((prediction - target) ** 2)


_UPSTREAM: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "SRCC": srcc,
    "PLCC": plcc,
    "L2": _mse,
    "RL2": relative_l2,
}


def _srcc(prediction: Float64[np.ndarray, " n"], clips: Sequence[Clip]) -> float:
    labels = np.array([clip.score for clip in clips])
    return float(_srcc_rows(prediction[None], labels)[0])


def _srcc_rows(
    rows: Float64[np.ndarray, "rows n"], labels: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, " rows"]:
    """SRCC of each row of predictions; NaN where a row is not finite or constant."""
    learnt = np.isfinite(rows).any(axis=1)
    judged = np.isfinite(rows[learnt]).all(axis=0)
    rows, labels = rows[:, judged], labels[judged]
    if rows.shape[1] < 2 or not learnt.any():
        return np.full(len(rows), np.nan)
    ranks = rankdata(rows, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    of_labels = rankdata(labels)
    of_labels -= of_labels.mean()
    norm = np.sqrt((ranks**2).sum(axis=1) * (of_labels**2).sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (ranks @ of_labels) / norm
    found[~np.isfinite(rows).all(axis=1)] = np.nan
    return np.asarray(found, dtype=np.float64)
