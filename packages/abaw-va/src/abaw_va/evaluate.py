"""How predictions are judged: CCC over all frames of all videos, with intervals over videos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from abaw_va.config import EvaluateConfig, Smoothing
from abaw_va.data.layout import TARGETS, targets_path
from abaw_va.data.videos import Video, VideoSet, fold_videos, split_videos
from abaw_va.inference import infer
from abaw_va.model.network import VaModel
from abaw_va.perception import load_models
from abaw_va.results import Trace, mean_of, moments, write_results
from shared_core.commands import say
from shared_core.data.loader import generator
from shared_core.data.tables import write_json
from shared_core.errors import DataError, UsageError
from shared_core.launch.devices import chosen_device
from shared_core.metrics import Measure, Moments, bootstrap
from shared_core.reporting.figures import Bar, intervals
from shared_core.reporting.figures import traces as time_traces
from shared_core.reporting.page import Page

VERSIONS = ("", "smoothed_")
"""Predictions as they are, and smoothed and clipped; prefixes of the measures' names."""

BLOCK_FRAMES = 8192
"""Frames of the videos that a process works on at a time; enough to fill its batches."""

PADDED_BATCH = 16
"""Videos in one of the authors' batches, whose predictions depend on one another."""

SHOWN_VIDEOS = 12
"""Videos whose curves a report shows."""

Table = Float64[np.ndarray, "videos versions targets 6"]
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
    model: VaModel, videos: VideoSet, smoothing: Smoothing, *, rank: int = 0, world: int = 1
) -> Table:
    """Moments of each video, zeros for those that are left to other processes.

    What a video is predicted as owes its last bits to the videos it shares a batch with. So the
    work is dealt in blocks that do not depend on how many share it: the sum of the tables of all
    processes is, bit for bit, the table that one makes alone.

    Args:
        model: the network, in evaluation mode.
        videos: the videos.
        smoothing: moving average of the predictions.
        rank: this process.
        world: how many processes share the work.
    """
    targets = model.config.target_names
    table = np.zeros((len(videos), len(VERSIONS), len(targets), 6))
    for block in _blocks(model, videos.lengths)[rank::world]:
        for index, traces in predict_videos(model, videos, smoothing, block):
            table[index] = _moments_row([traces[target] for target in targets])
    return table


def _blocks(model: VaModel, lengths: Int64[np.ndarray, " videos"]) -> list[list[int]]:
    """Neighbouring videos that are worked on together."""
    if model.config.compat.padding:
        block = np.arange(len(lengths)) // PADDED_BATCH
    else:
        block = np.cumsum(lengths) // BLOCK_FRAMES
    return [np.flatnonzero(block == number).tolist() for number in np.unique(block)]


def table_of(traces: Mapping[str, Mapping[str, Trace]], targets: Sequence[str]) -> Table:
    """Moments of each labelled video, from traces by target and video."""
    return np.stack(
        [
            _moments_row([traces[target][video] for target in targets])
            for video, trace in traces[targets[0]].items()
            if trace.label is not None
        ]
    )


def _moments_row(traces: Sequence[Trace]) -> Float64[np.ndarray, "versions targets 6"]:
    """Moments of one video, a trace per target."""
    versions = (traces, [trace.smoothed() for trace in traces])
    return np.array([[moments(trace).values for trace in version] for version in versions])


@dataclass(frozen=True)
class MeanConcordance:
    """CCC over the frames of the drawn videos, averaged over targets; what the bootstrap draws.

    Attributes:
        values: moments of each video.
    """

    values: Float64[np.ndarray, "videos targets 6"]
    noun: str = "videos"

    def __len__(self) -> int:
        return len(self.values)

    def __call__(self, drawn: Int64[Tensor, "samples videos"]) -> Float64[Tensor, " samples"]:
        """The score of each resample."""
        of_targets = self.values[drawn.numpy()].swapaxes(1, 2)
        return torch.from_numpy(Moments(of_targets).merge().concordance().mean(axis=-1))

    def value(self) -> float:
        """The score of all videos together."""
        return float(self(torch.arange(len(self))[None]))

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
                value=float(pairs.root_mean_squared_error()),
                reason=None if pairs.values[0] > 0 else "no annotated frame",
                higher_is_better=False,
            )
        found[f"{prefix}ccc"] = _concordance(MeanConcordance(values), seed, undefined_as_zero)
    return found


def _concordance(score: MeanConcordance, seed: int, undefined_as_zero: bool) -> Measure:
    if reason := score.reason():
        if undefined_as_zero:
            return Measure(value=0.0, reason=f"undefined, reported as 0: {reason}")
        return Measure(value=float("nan"), reason=reason)
    interval = bootstrap(score, generator=generator(seed))
    return Measure(value=score.value()).with_interval(interval)


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
    models: Sequence[VaModel], videos: Sequence[VideoSet], smoothing: Smoothing, *, seed: int = 0
) -> Evaluation:
    """Judge the mean prediction of one or several networks on videos.

    Args:
        models: networks in evaluation mode that predict the same targets.
        videos: the same videos for each network, with the features that it reads.
        smoothing: moving average of the predictions.
        seed: key of the bootstrap.

    Raises:
        UsageError: the networks predict different targets.
        NonFiniteError: a network predicts a value that is not finite.
        DataError: a feature value is not finite.
    """
    targets: tuple[str, ...] = models[0].config.target_names
    if any(model.config.target_names != targets for model in models):
        predicted = "; ".join(", ".join(model.config.target_names) for model in models)
        raise UsageError(f"networks that are averaged must predict the same targets: {predicted}.")
    names = [video.id for video in videos[0].videos]
    sets: list[dict[int, dict[str, Trace]]] = [
        dict(predict_videos(model, of_model, smoothing))
        for model, of_model in zip(models, videos, strict=True)
    ]
    traces = {
        target: mean_of([{names[i]: of[i][target] for i in sorted(of)} for of in sets])
        for target in targets
    }
    if all(trace.label is None for trace in traces[targets[0]].values()):
        return Evaluation({}, traces, None)
    table = table_of(traces, targets)
    as_zero = models[0].config.compat.undefined_ccc
    return Evaluation(measures(table, targets, seed=seed, undefined_as_zero=as_zero), traces, table)


def open_videos(model: VaModel, root: Path, videos: Sequence[Video]) -> VideoSet:
    """Videos of a data root with the features that a network reads.

    Raises:
        DataError: a file is missing or damaged, or the features are not as wide as the network's.
    """
    config = model.config
    found = VideoSet(
        root, videos, config.features, normalise=config.normalise, method=config.norm_method
    )
    if found.width != config.input_width:
        widths = ", ".join(f"{f} {w}" for f, w in zip(config.features, found.widths, strict=True))
        raise DataError(
            root,
            f"{found.width} ({widths})",
            expected=f"features of {config.input_width} columns in all, as the network was trained on",
            remedy="Extract them with the weights that made the training features.",
        )
    return found


def command(config: EvaluateConfig) -> None:
    """`abaw-va evaluate`: measures, result files and a report."""
    models = load_models(config.checkpoint, chosen_device(config.device))
    splits = {
        "val": split_videos(config.data, "val")
        if config.fold is None
        else fold_videos(config.data, config.fold)[1]
    }
    if config.test and targets_path(config.data, "test").is_file():
        splits["test"] = split_videos(config.data, "test")
    evaluations = {}
    for split, videos in splits.items():
        opened = [open_videos(model, config.data, videos) for model in models]
        evaluations[split] = evaluate(models, opened, config.smoothing, seed=config.seed)
        for target, traces in evaluations[split].traces.items():
            write_results(config.out, split, target, traces)
    judged = evaluations["val"].measures
    write_json(config.out / "evaluation.json", {name: m.to_json() for name, m in judged.items()})
    for name, measure in judged.items():
        say(f"{name:<22} {measure}")
    rates = {video.id: video.labels.frames_per_second for video in splits["val"]}
    path = _page(config, evaluations["val"], rates).write(config.out / "report.html")
    say(f"written to {config.out}; open {path}")


def _page(config: EvaluateConfig, found: Evaluation, rates: Mapping[str, float]) -> Page:
    page = Page("abaw-va evaluate", f"{', '.join(config.checkpoint)} on {config.data}")
    bars = [
        Bar(name=name, value=m.value, low=m.low, high=m.high)
        for name, m in found.measures.items()
        if "ccc" in name
    ]
    rows = [[name, str(measure)] for name, measure in found.measures.items()]
    page.section("Measures").figure(intervals(bars, x="CCC", chance=0.0)).table(
        ["measure", "value, with its 95 % interval over videos"],
        rows,
        caption="smoothed_: after the moving average, clipped to [-1, 1].",
    )
    section = page.section("Videos")
    for video in list(next(iter(found.traces.values())))[:SHOWN_VIDEOS]:
        curves = {}
        for target, traces in found.traces.items():
            smoothed = traces[video].smoothed()
            curves[target] = smoothed.prediction
            if smoothed.label is not None:
                curves[f"{target}, labelled"] = smoothed.label
        times_s = np.arange(len(next(iter(curves.values())))) / rates[video]
        section.figure(time_traces(times_s, curves, title=video), wide=True)
    return page
