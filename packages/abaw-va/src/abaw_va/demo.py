"""The demo: learn valence and arousal of drawn faces and voices, and show what was learnt.

What it teaches is the paper's point: emotion is read frame by frame from what is seen and heard
together, along time. It claims only what it measures, on people that the network has never seen.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from abaw_va import synthetic
from abaw_va.config import DemoConfig, Perception, Smoothing, TrainConfig
from abaw_va.data.layout import TARGETS, Labels, features_path, targets_path, write_targets
from abaw_va.data.videos import VideoSet, split_videos
from abaw_va.evaluate import MeanConcordance, evaluate, table_of
from abaw_va.features.light import LogMel, Pixels
from abaw_va.learner import train
from abaw_va.model.network import VaModel
from abaw_va.perception import Perceiver
from abaw_va.predict import VideoPrediction, predict
from abaw_va.results import Trace
from shared_core.commands import say
from shared_core.config import parse
from shared_core.data.audio import Audio
from shared_core.data.faces import Face, crop
from shared_core.data.features import write_features
from shared_core.data.loader import generator
from shared_core.data.tables import write_csv
from shared_core.metrics import Interval, Measure, bootstrap, bootstrap_difference
from shared_core.reporting.demo import clear, over_seeds, write_demo
from shared_core.reporting.figures import Bar, Svg, intervals, traces
from shared_core.reporting.page import Page
from shared_core.testing.media import write_media

PEOPLE = {"train": 20, "val": 5, "test": 10}
"""How many people teach the network, choose among its checkpoints, and judge it."""

SECONDS = 12.0
FACE = Face(box=(0.13, 0.13, 0.87, 0.87))
"""Where every drawn face is; cut out with its margin, that is the whole picture."""

Traces = Mapping[str, Mapping[str, Trace]]
"""By target, then by video."""


@dataclass(frozen=True)
class Learnt:
    """One seed's network and what it predicts for the people it has not seen."""

    model: VaModel
    traces: Traces
    smoothing: Smoothing


def command(config: DemoConfig) -> None:
    """`abaw-va demo`."""
    begun = time.monotonic()
    clear(config.out, "abaw-va")
    say(f"1/4  drawing {sum(PEOPLE.values())} people, {SECONDS:.0f} s each")
    data = config.out / "data"
    write_root(data, config.seed)
    seeds = [config.seed + offset for offset in range(3 if config.full else 1)]
    learnt = []
    for number, seed in enumerate(seeds, 1):
        say(f"2/4  training a transformer on face and voice (seed {seed}, {number}/{len(seeds)})")
        learnt.append(_learn(config, data, seed))
    say("3/4  judging it on people it has not seen, beside its baselines")
    rivals = {"this network": learnt[0].traces, **baselines(data, learnt[0])}
    scores = {name: _score(of, config.seed) for name, of in rivals.items()}
    gain = _gain(rivals, "ridge regression on each frame", config.seed)
    say("4/4  predicting a video file from its pictures and its sound")
    shown, truth = _predict_a_file(config, learnt[0].model, learnt[0].smoothing)
    means = [_score(one.traces, config.seed)["mean"].value for one in learnt]
    spread = over_seeds(means) if config.full else None
    _report(config, scores, gain, spread, shown, truth, time.monotonic() - begun)


def write_root(root: Path, seed: int) -> None:
    """Draw people and write their features and labels as a data root; a person is in one split."""
    number = 0
    for split, count in PEOPLE.items():
        targets: dict[str, Labels] = {}
        rows: dict[str, dict[str, np.ndarray]] = {"pixels": {}, "logmel": {}}
        for _ in range(count):
            clip, name = synthetic.clip(seed, number, SECONDS), f"person{number:02d}"
            valid = np.ones(len(clip.labels), dtype=bool)
            targets[name] = Labels(len(valid), clip.labels, valid, original=name)
            crops = np.stack([crop(frame, FACE, Pixels.size) for frame in clip.frames])
            rows["pixels"][name] = Pixels()(torch.from_numpy(crops).movedim(-1, 1)).numpy()
            sound = Audio(samples=clip.sound, rate=synthetic.SOUND_RATE, start_s=0.0)
            times_s = np.arange(len(valid)) / synthetic.FRAME_RATE
            rows["logmel"][name] = LogMel()(sound, times_s).numpy()
            number += 1
        write_targets(targets_path(root, split), targets)
        for feature, videos in rows.items():
            write_features(features_path(root, split, feature), videos)


def _learn(config: DemoConfig, data: Path, seed: int) -> Learnt:
    line = ["--config", "demo", "--data", str(data)]
    settings = parse(TrainConfig, line, program="abaw-va demo", presets="abaw_va")
    run = config.out / "run" / f"seed-{seed}"
    settings = replace(settings, run=run, seed=seed, device=config.device)
    train(settings)
    model = VaModel.from_pretrained(run)
    found = evaluate([model], [_unseen(data, model)], settings.smoothing)
    return Learnt(model, found.traces, settings.smoothing)


def _unseen(data: Path, model: VaModel) -> VideoSet:
    return VideoSet(data, split_videos(data, "test"), model.config.features)


def baselines(data: Path, learnt: Learnt) -> dict[str, Traces]:
    """What a network must beat: ridge regression on single frames, a constant, and chance.

    Chance is this network's own prediction, of another person: it moves as it should, at the wrong
    time.
    """
    features = learnt.model.config.features
    rows, labels = _frames_of(VideoSet(data, split_videos(data, "train"), features))
    mean, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    standard = (rows - mean) / scale
    gram = standard.T @ standard + len(rows) * 0.1 * np.eye(rows.shape[1])
    weights = np.linalg.solve(gram, standard.T @ (labels - labels.mean(axis=0)))

    def ridge(video: np.ndarray) -> np.ndarray:
        return np.asarray((video - mean) / scale @ weights + labels.mean(axis=0))

    unseen = _unseen(data, learnt.model)
    by_ridge: dict[str, dict[str, Trace]] = {target: {} for target in TARGETS}
    for index, video in enumerate(unseen.videos):
        values = ridge(unseen.read(index, 0, video.length))
        for column, target in enumerate(TARGETS):
            label = learnt.traces[target][video.id]
            by_ridge[target][video.id] = replace(label, prediction=values[:, column])
    return {
        "ridge regression on each frame": by_ridge,
        "a constant": {
            target: {
                name: _constant(trace, float(labels[:, column].mean()))
                for name, trace in learnt.traces[target].items()
            }
            for column, target in enumerate(TARGETS)
        },
        "chance": {target: _shifted(of) for target, of in learnt.traces.items()},
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


def _score(of: Traces, seed: int) -> dict[str, Measure]:
    table = _smoothed_table(of)
    parts = {"mean": table, **{t: table[:, [column]] for column, t in enumerate(TARGETS)}}
    found = {}
    for name, values in parts.items():
        score = MeanConcordance(values)
        interval = bootstrap(score, generator=generator(seed))
        found[name] = Measure(value=score.value()).with_interval(interval)
    return found


def _gain(rivals: Mapping[str, Traces], rival: str, seed: int) -> Interval:
    """Interval of this network's mean CCC minus a baseline's, paired over people."""
    ours, theirs = (MeanConcordance(_smoothed_table(rivals[n])) for n in ("this network", rival))
    return bootstrap_difference(ours, theirs, generator=generator(seed))


def _predict_a_file(
    config: DemoConfig, model: VaModel, smoothing: Smoothing
) -> tuple[VideoPrediction, np.ndarray]:
    """Write one more person as a video file, and predict it as a user would."""
    clip = synthetic.clip(config.seed, sum(PEOPLE.values()), SECONDS)
    video = config.out / "clip.mkv"
    write_media(
        video, clip.frames, fps=synthetic.FRAME_RATE, sound=[(0.0, clip.sound)],
        rate=synthetic.SOUND_RATE,
    )  # fmt: skip
    boxes = config.out / "clip.csv"
    names = ("x0", "y0", "x1", "y1")
    row = dict(zip(names, FACE.box, strict=True))
    write_csv(boxes, ("frame", *names), ({"frame": k, **row} for k in range(len(clip.frames))))
    perceive = Perceiver(Perception(boxes=boxes), model.config.features, "cpu")
    return predict([model], video, perceive=perceive, smoothing=smoothing), clip.labels


def _report(
    config: DemoConfig,
    scores: Mapping[str, Mapping[str, Measure]],
    gain: Interval,
    spread: Measure | None,
    shown: VideoPrediction,
    truth: np.ndarray,
    seconds: float,
) -> None:
    claim = _claim(scores, gain)
    figure = _interval_figure(scores)
    page = Page("abaw-va", "Valence and arousal of people the network has never seen")
    page.section("What was learnt").note(claim).figure(figure).table(
        ["", "valence", "arousal", "mean"],
        [[name, *(str(of[k]) for k in (*TARGETS, "mean"))] for name, of in scores.items()],
        caption="CCC of smoothed predictions on 10 people, with 95 % intervals over people.",
    )
    if spread is not None:
        page.section("Over seeds").text(f"Mean CCC over 3 seeds: {spread} (Student's t).")
    section = page.section("A video file")
    for column, target in enumerate(TARGETS):
        curves = {"predicted": shown.values[:, column], "true": truth[:, column]}
        section.figure(traces(shown.times_s, curves, title=target, y=target), wide=True)
    page.section("How").text(
        f"{PEOPLE['train']} drawn people for training, {PEOPLE['val']} to choose the checkpoint, "
        f"{PEOPLE['test']} others for judging, {SECONDS:.0f} s each. Pictures become 256 grey values "
        "of the face, sound 64 log-mel bands; a small transformer reads both along time and is "
        f"trained on the CCC of whole batches. Seed {config.seed}; {seconds:.0f} s in all. Drawn "
        "faces are far easier than films: these figures say nothing about real videos."
    )
    page.write(config.out / "report.html")
    write_demo(
        config.out,
        title="abaw-va",
        shows=claim,
        measures={f"CCC, {name}": of["mean"] for name, of in scores.items()},
        baselines=[f"CCC, {name}" for name in scores if name != "this network"],
        seconds=seconds,
    )
    say(claim)
    say(f"{seconds:.0f} s; open {config.out / 'report.html'}")


def _claim(scores: Mapping[str, Mapping[str, Measure]], gain: Interval) -> str:
    ours, chance = scores["this network"]["mean"], scores["chance"]["mean"]
    told = f"Mean CCC {ours} on unseen people; a constant has 0, chance {chance}. "
    if gain.reason is not None:
        return told + f"No interval for the gain over ridge regression: {gain.reason}."
    difference = f"[{gain.low:.3f}, {gain.high:.3f}]"
    if gain.low > 0:
        return told + f"It beats ridge regression on single frames by {difference}."
    return told + f"Against ridge regression on single frames it is undecided: {difference}."


def _interval_figure(scores: Mapping[str, Mapping[str, Measure]]) -> Svg:
    bars = [
        Bar(name=name, value=m.value, low=m.low, high=m.high, baseline=name != "this network")
        for name, of in scores.items()
        for m in [of["mean"]]
    ]
    return intervals(bars, x="mean CCC of valence and arousal", chance=0.0)
