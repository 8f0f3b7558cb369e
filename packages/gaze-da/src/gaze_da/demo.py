"""The demo: learn where drawn people look, and carry it over to another style of drawing.

What it teaches is the paper's point: a network that has learnt in one domain loses much of it in
another, and pictures of the other domain that nobody has labelled may bring some of it back. It
claims only what it measures, on pictures that the networks have never seen.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gaze_da import synthetic
from gaze_da.config import DemoConfig, TrainConfig
from gaze_da.data.items import GazeBatch, GazeDataset
from gaze_da.data.samples import Sample, Split, read_annotations
from gaze_da.evaluate import (
    Network,
    Predictor,
    Prior,
    centre_prior,
    measures_of,
    open_split,
    score_tables,
)
from gaze_da.learner import train
from gaze_da.method.targets import heat_map
from gaze_da.model.network import GazeModel
from gaze_da.overlay import drawn
from gaze_da.predict import predict
from gaze_da.protocols import COLUMNS, Table
from gaze_da.synthetic import Style
from shared_core.commands import say
from shared_core.config import parse
from shared_core.data.loader import generator
from shared_core.metrics import Interval, MeanScore, Measure, bootstrap_difference
from shared_core.metrics.ranking import group_numbers
from shared_core.reporting.demo import clear, over_seeds, write_demo
from shared_core.reporting.figures import Bar, intervals
from shared_core.reporting.page import Page, Section

PICTURES: Mapping[Split, int] = {"train": 350, "test": 120}
"""Of each style: those to learn from, and those to be judged on."""

SEEDS = 5
"""Networks of each kind that `--full` trains."""

SOURCE: Style = "flat"
TARGET: Style = "grainy"

PLAIN, ADAPTED = "source only", "adapted"
WAYS: Mapping[str, tuple[str, ...]] = {PLAIN: (), ADAPTED: ("--head-da", "--rgb-depth-da")}
"""How networks are trained, with the options for it."""

NETWORK, CENTRE = "this network", "centre prior"
BASELINES = (CENTRE, "mean of the training maps", "chance")
SHOWN: Mapping[str, str] = {"auc": "AUC", "avg_dist": "distance"}
"""Measures of the report: GazeFollow's AUC, and the distance from the peak to the mean annotator."""

Models = Mapping[str, GazeModel]
"""By the way they were trained."""


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

    def mean(self, name: str, column: str) -> float:
        """A predictor's mean of one column of its table."""
        return self._score(name, column).value()

    def gain(self, ours: str, theirs: str, column: str) -> Interval:
        """Interval of how much better one is than the other, paired over pictures; above 0: better."""
        better, worse = (ours, theirs) if column == "auc" else (theirs, ours)
        scores = self._score(better, column), self._score(worse, column)
        return bootstrap_difference(*scores, generator=generator(self.seed))

    def _score(self, name: str, column: str) -> MeanScore:
        values = torch.from_numpy(self.tables[name][:, COLUMNS.index(column)].copy())
        return MeanScore(values, group_numbers([s.group for s in self.samples]), "pictures")


def command(config: DemoConfig) -> None:
    """`gaze-da demo`."""
    begun = time.monotonic()
    clear(config.out, "gaze-da")
    say(f"1/4  drawing {sum(PICTURES.values())} pictures in each of two styles")
    for style in (SOURCE, TARGET):
        synthetic.write_domain(config.out / style, style, PICTURES, config.seed)
    seeds = [config.seed + offset for offset in range(SEEDS if config.full else 1)]
    learnt = [_learn(config, seed, f"{n}/{len(seeds)}") for n, seed in enumerate(seeds, 1)]
    say("3/4  judging the networks on pictures they have not seen")
    results = _judge_all(config, learnt)
    say("4/4  predicting a picture from its file")
    shown = {style: _predict_a_file(config, style, learnt[0]) for style in (SOURCE, TARGET)}
    seconds = time.monotonic() - begun
    _page(config, results, shown, seconds).write(config.out / "report.html")
    write_demo(
        config.out,
        title="gaze-da",
        shows=f"{results.learning} {results.adaptation}",
        measures=_labelled(results),
        baselines=[f"{title}, {name}" for title in SHOWN.values() for name in BASELINES],
        seconds=seconds,
    )
    say(results.learning)
    say(results.adaptation)
    say(f"{seconds:.0f} s; open {config.out / 'report.html'}")


def _learn(config: DemoConfig, seed: int, number: str) -> Models:
    models = {}
    for way, options in WAYS.items():
        say(f"2/4  training a small network, {way} (seed {seed}, {number})")
        line = ["--config", "demo", "--source-dataset-dir", str(config.out / SOURCE), *options]
        if options:
            line += ["--target-dataset-dir", str(config.out / TARGET)]
        settings = parse(TrainConfig, line, program="gaze-da demo", presets="gaze_da")
        run = config.out / "run" / f"{way.replace(' ', '-')}-{seed}"
        train(replace(settings, run=run, seed=seed, device=config.device))
        models[way] = GazeModel.from_pretrained(run, device=chosen_device(config.device))
    return models


@dataclass(frozen=True)
class Results:
    """What was measured.

    Attributes:
        source: the first network without adaptation, and its baselines, on the style it was taught.
        target: networks without and with adaptation on the other style, for each seed.
    """

    source: Judgement
    target: Sequence[Judgement]

    @property
    def spreads(self) -> dict[str, Measure]:
        """How much better adaptation makes each measure, over seeds; nothing with a single one."""
        if len(self.target) < 2:
            return {}
        return {
            column: over_seeds([judged.advantage(ADAPTED, PLAIN, column) for judged in self.target])
            for column in SHOWN
        }

    @property
    def learning(self) -> str:
        """What may be said of learning, beside a prior that looks at nothing."""
        ours, centre = self.source.measures(NETWORK), self.source.measures(CENTRE)
        told = (
            f"On unseen pictures of the style it was taught, AUC {ours['auc']} and distance "
            f"{ours['avg_dist']} of the picture; always the centre has {centre['auc']} and "
            f"{centre['avg_dist']}."
        )
        gains = [self.source.gain(NETWORK, CENTRE, column) for column in SHOWN]
        if all(gain.reason is None and gain.low > 0 for gain in gains) and _is_apart(ours, centre):
            auc, distance = gains
            return (
                f"{told} It beats the centre by {_range(auc)} in AUC and by {_range(distance)} in "
                "distance; no intervals overlap."
            )
        return f"{told} That it beats the centre was not shown."

    @property
    def adaptation(self) -> str:
        """What may be said of adaptation: a claim only where the interval over seeds supports it."""
        first = self.target[0]
        sides = [f"{way} {first.measures(way)['avg_dist']}" for way in WAYS]
        told = f"On the other style the distance is, {sides[0]}, and {sides[1]}"
        if not self.spreads:
            gain = first.gain(ADAPTED, PLAIN, "avg_dist")
            return (
                f"{told} (shorter by {_range(gain)}, over pictures). That is one pair of networks: "
                "whether adaptation helps, --full asks."
            )
        spread = self.spreads["avg_dist"]
        over = f"{told} with the first of {len(self.target)} seeds; it is shorter by {spread} over all"
        if spread.low is not None and spread.low > 0:
            return f"{over}: adaptation helps here."
        return f"{over}: that adaptation helps was not shown."


def _is_apart(ours: Mapping[str, Measure], theirs: Mapping[str, Measure]) -> bool:
    """Whether the intervals of both measures are defined and do not overlap, on the good side."""
    ends = [m for of in (ours, theirs) for name in SHOWN for m in (of[name].low, of[name].high)]
    if None in ends:
        return False
    auc, distance = ours["auc"], ours["avg_dist"]
    return auc.low > theirs["auc"].high and distance.high < theirs["avg_dist"].low


def _range(interval: Interval) -> str:
    if interval.reason is not None:
        return f"an unknown amount ({interval.reason})"
    return f"[{interval.low:.3f}, {interval.high:.3f}]"
