"""How predictions are judged: CCC over all frames of all videos, with intervals over videos (spec 5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from abaw_va.config import Smoothing
from abaw_va.data.layout import TARGETS
from abaw_va.data.videos import VideoSet
from abaw_va.inference import infer
from abaw_va.model.network import VaModel
from abaw_va.results import Trace, mean_of, moments
from shared_core.data.loader import generator
from shared_core.metrics import Measure, Moments, bootstrap

VERSIONS = ("", "smoothed_")
"""Predictions as they are, and smoothed and clipped; prefixes of the measures' names."""

Table = Float64[Tensor, "videos versions targets 6"]
"""Moments of prediction and label: of each video, for each version and target."""


def predict_videos(
    model: VaModel, videos: VideoSet, smoothing: Smoothing, which: Sequence[int] | None = None
) -> Iterator[tuple[int, dict[str, Trace]]]:
    """Raw predictions of videos with their labels: the number of a video, and a trace per target."""
    for index, prediction in infer(model, videos, which):
        labels = videos.videos[index].labels
        values, valid = videos.labels(index, 0, labels.length)
        known = np.where(valid[:, None], values, np.nan).astype(np.float64)
        yield (
            index,
            {
                target: Trace(
                    prediction[:, column],
                    None if labels.values is None else known[:, TARGETS.index(target)],
                    smoothing.window(target, labels.frames_per_second),
                )
                for column, target in enumerate(model.config.target_names)
            },
        )


def moments_table(
    model: VaModel, videos: VideoSet, smoothing: Smoothing, which: Sequence[int] | None = None
) -> Table:
    """Moments of each video, zeros for videos that are not in `which`.

    The sum of such tables over disjoint shares of the videos is the table of all of them, so that
    processes can share the work and the result is the same bit for bit.
    """
    targets = model.config.target_names
    table = torch.zeros(len(videos), len(VERSIONS), len(targets), 6, dtype=torch.float64)
    for index, traces in predict_videos(model, videos, smoothing, which):
        table[index] = _moments_row([traces[target] for target in targets])
    return table


def _moments_row(traces: Sequence[Trace]) -> Float64[Tensor, "versions targets 6"]:
    """Moments of one video, a trace per target."""
    versions = (traces, [trace.smoothed() for trace in traces])
    return torch.stack([torch.stack([moments(t).values for t in version]) for version in versions])


@dataclass(frozen=True)
class MeanConcordance:
    """CCC over the frames of the drawn videos, averaged over targets; what the bootstrap draws.

    Attributes:
        values: moments of each video.
    """

    values: Float64[Tensor, "videos targets 6"]
    noun: str = "videos"

    def __len__(self) -> int:
        return len(self.values)

    def __call__(self, drawn: Int64[Tensor, "samples videos"]) -> Float64[Tensor, " samples"]:
        """The score of each resample."""
        of_targets = self.values[drawn].movedim(2, 1)
        return Moments(of_targets).merge().concordance().mean(dim=-1)

    def reason(self) -> str | None:
        """Why the score is undefined on all videos together; None where it is defined."""
        pooled = [Moments(self.values[:, column]).merge() for column in range(self.values.shape[1])]
        reasons = [reason for pairs in pooled if (reason := pairs.why_no_concordance())]
        return reasons[0] if reasons else None


def measures(
    table: Table, targets: Sequence[str], *, seed: int = 0, undefined_as_zero: bool = False
) -> dict[str, Measure]:
    """All measures of an evaluation by name.

    `ccc_<target>`, `pcc_<target>`, `rmse_<target>`, the mean of the CCCs as `ccc`, and all of them
    with the prefix `smoothed_` for smoothed and clipped predictions. CCC and PCC are in [-1, 1]; RMSE
    is in the units of the labels, which span 2.

    Args:
        table: moments of each video, from `moments_table`.
        targets: names of its columns.
        seed: key of the bootstrap.
        undefined_as_zero: report an undefined CCC as 0, as the authors' code does.
    """
    found = {}
    for version, prefix in enumerate(VERSIONS):
        values = table[:, version]
        for column, target in enumerate(targets):
            pairs = Moments(values[:, column]).merge()
            found[f"{prefix}ccc_{target}"] = _concordance(
                MeanConcordance(values[:, [column]]), seed, undefined_as_zero
            )
            found[f"{prefix}pcc_{target}"] = Measure(
                value=float(pairs.correlation()), reason=pairs.why_no_correlation()
            )
            found[f"{prefix}rmse_{target}"] = Measure(
                value=float(pairs.mean_squared_error().sqrt()),
                reason=None if pairs.n > 0 else "no annotated frame",
                higher_is_better=False,
            )
        found[f"{prefix}ccc"] = _concordance(MeanConcordance(values), seed, undefined_as_zero)
    return found


def _concordance(score: MeanConcordance, seed: int, undefined_as_zero: bool) -> Measure:
    if reason := score.reason():
        if undefined_as_zero:
            return Measure(value=0.0, reason=f"undefined, reported as 0: {reason}")
        return Measure(value=float("nan"), reason=reason)
    everything = torch.arange(len(score))[None]
    interval = bootstrap(score, generator=generator(seed))
    return Measure(value=float(score(everything))).with_interval(interval)


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        measures: by name, see `measures`; empty without labels.
        traces: raw predictions by target and video.
        table: moments of each labelled video; None without labels.
    """

    measures: Mapping[str, Measure]
    traces: Mapping[str, Mapping[str, Trace]]
    table: Table | None


def evaluate(
    models: Sequence[VaModel], videos: VideoSet, smoothing: Smoothing, *, seed: int = 0
) -> Evaluation:
    """Judge the mean prediction of one or several networks on videos.

    Args:
        models: networks in evaluation mode that read the features of `videos` and predict the same
            targets.
        videos: the videos, with labels or without.
        smoothing: moving average of the predictions.
        seed: key of the bootstrap.

    Raises:
        NonFiniteError: a network predicts a value that is not finite.
        DataError: a feature value is not finite.
    """
    targets = models[0].config.target_names
    names = [video.id for video in videos.videos]
    sets: list[dict[int, dict[str, Trace]]] = [
        dict(predict_videos(model, videos, smoothing)) for model in models
    ]
    traces = {
        target: mean_of([{names[i]: of[i][target] for i in sorted(of)} for of in sets])
        for target in targets
    }
    labelled = [name for name in names if traces[targets[0]][name].label is not None]
    if not labelled:
        return Evaluation({}, traces, None)
    table = torch.stack(
        [_moments_row([traces[target][name] for target in targets]) for name in labelled]
    )
    as_zero = models[0].config.compat.undefined_ccc
    return Evaluation(
        measures(table, targets, seed=seed, undefined_as_zero=as_zero), traces, table
    )
