"""How the network and its baselines compare, and what may be said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from abaw_va.data.layout import TARGETS
from abaw_va.data.videos import VideoSet
from abaw_va.evaluate import MeanConcordance, table_of
from abaw_va.results import Trace
from shared_core.data.loader import generator
from shared_core.metrics import Interval, Measure, bootstrap, bootstrap_difference
from shared_core.reporting.demo_file import Comparison
from shared_core.reporting.page import brief

OURS, RIDGE = "this network", "ridge regression on each frame"

Traces = Mapping[str, Mapping[str, Trace]]
"""By target, then by video."""

Scores = Mapping[str, Mapping[str, Measure]]
"""By predictor; then the CCC of each target, and their mean."""


def baselines(training: VideoSet, unseen: VideoSet, ours: Traces) -> dict[str, Traces]:
    """What a network must beat: ridge regression on single frames, a constant, and chance.

    Chance is this network's own prediction, of another person: it moves as it should, at the wrong
    time.

    Args:
        training: people to learn from.
        unseen: people to be judged on.
        ours: what this network predicts for them.
    """
    rows, labels = _frames_of(training)
    mean, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    standard = (rows - mean) / scale
    gram = standard.T @ standard + len(rows) * 0.1 * np.eye(rows.shape[1])
    weights = np.linalg.solve(gram, standard.T @ (labels - labels.mean(axis=0)))

    def ridge(video: np.ndarray) -> np.ndarray:
        return np.asarray((video - mean) / scale @ weights + labels.mean(axis=0))

    by_ridge: dict[str, dict[str, Trace]] = {target: {} for target in TARGETS}
    for index, video in enumerate(unseen.videos):
        values = ridge(unseen.read(index, 0, video.length))
        for column, target in enumerate(TARGETS):
            label = ours[target][video.id]
            by_ridge[target][video.id] = replace(label, prediction=values[:, column])
    return {
        RIDGE: by_ridge,
        "a constant": {
            target: {
                name: _constant(trace, float(labels[:, column].mean()))
                for name, trace in ours[target].items()
            }
            for column, target in enumerate(TARGETS)
        },
        "chance": {target: _shifted(of) for target, of in ours.items()},
    }


def _constant(trace: Trace, value: float) -> Trace:
    """Not smoothed: the rounding of a moving average would move it."""
    return replace(trace, prediction=np.full(len(trace.prediction), value), window=0)


def _frames_of(videos: VideoSet) -> tuple[np.ndarray, np.ndarray]:
    spans = [(index, 0, video.length) for index, video in enumerate(videos.videos)]
    rows = np.concatenate([videos.read(*span) for span in spans]).astype(np.float64)
    return rows, np.concatenate([videos.labels(*span)[0] for span in spans]).astype(np.float64)


def _shifted(of: Mapping[str, Trace]) -> dict[str, Trace]:
    names = list(of)
    others = names[1:] + names[:1]
    return {
        name: replace(of[name], prediction=of[other].prediction)
        for name, other in zip(names, others, strict=True)
    }


def _smoothed_table(of: Traces) -> Float64[np.ndarray, "videos 2 6"]:
    """Moments of smoothed predictions: what everyone, baselines too, is judged by."""
    return table_of(of, TARGETS)[:, 1]


def score(of: Traces, seed: int) -> dict[str, Measure]:
    """The CCC of each target and their mean, with 95 % intervals over people."""
    table = _smoothed_table(of)
    parts = {"mean": table, **{t: table[:, [column]] for column, t in enumerate(TARGETS)}}
    found = {}
    for name, values in parts.items():
        mean = MeanConcordance(values)
        interval = bootstrap(mean, generator=generator(seed))
        found[name] = Measure(value=mean.value()).with_interval(interval)
    return found


def gain(rivals: Mapping[str, Traces], seed: int) -> Interval:
    """Interval of this network's mean CCC minus that of ridge regression, paired over people."""
    ours, theirs = (MeanConcordance(_smoothed_table(rivals[name])) for name in (OURS, RIDGE))
    return bootstrap_difference(ours, theirs, generator=generator(seed))


def claim(scores: Scores, gained: Interval) -> str:
    """What may be said: beside a constant and chance, then beside ridge regression."""
    ours, chance = scores[OURS]["mean"], scores["chance"]["mean"]
    told = f"Mean CCC {brief(ours)} on unseen people; a constant has 0, chance {brief(chance)}. "
    if gained.reason is not None:
        return told + f"No interval for the gain over ridge regression: {gained.reason}."
    difference = f"[{gained.low:.3f}, {gained.high:.3f}]"
    if gained.low > 0:
        return told + f"It beats ridge regression on single frames by {difference}."
    return told + f"Against ridge regression on single frames it is undecided: {difference}."


def compared(scores: Scores) -> Comparison:
    """What was measured, for the index of all demos."""
    return Comparison(
        measure="mean CCC of valence and arousal",
        found={name: of["mean"] for name, of in scores.items()},
        baselines=[name for name in scores if name != OURS],
        chance=0.0,
    )
