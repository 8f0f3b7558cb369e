"""What the demo does, from the first drawn picture to its report."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gaze_da import synthetic
from gaze_da.config import DemoConfig, TrainConfig
from gaze_da.data.items import GazeBatch
from gaze_da.data.samples import Sample, Split, read_annotations
from gaze_da.demo.claims import (
    ADAPTED,
    CENTRE,
    CHANCE,
    MEAN_MAP,
    NETWORK,
    PLAIN,
    Judgement,
    claim_of_adaptation,
    claim_of_learning,
    compared,
    judge,
)
from gaze_da.demo.page import TASK, page_of
from gaze_da.evaluate import Network, Predictor, Prior, centre_prior, open_split
from gaze_da.learner import train
from gaze_da.method.targets import heat_map
from gaze_da.model.network import GazeModel
from gaze_da.overlay import drawn
from gaze_da.predict import predict
from gaze_da.synthetic import Style
from shared_core.commands import say
from shared_core.config import parse
from shared_core.data.loader import generator
from shared_core.launch.devices import chosen_device
from shared_core.reporting.demo import clear, machine, parameters_of, publish, write_picture
from shared_core.reporting.demo_file import Demo, Picture, Trained
from shared_core.serving.server import serve

PICTURES: Mapping[Split, int] = {"train": 320, "test": 100}
"""Of each style: those to learn from, and those to be judged on."""

SEEDS = 5
"""Networks of each kind that `--full` trains."""

SOURCE: Style = "flat"
TARGET: Style = "grainy"

WAYS: Mapping[str, tuple[str, ...]] = {PLAIN: (), ADAPTED: ("--head-da", "--rgb-depth-da")}
"""How networks are trained, with the options for it."""

Models = Mapping[str, GazeModel]
"""By the way they were trained."""


@dataclass(frozen=True)
class Chance:
    """A heat map of noise for each person.

    Attributes:
        cells: of each side.
        seed: key of the noise, with the number of the person.
    """

    cells: int
    seed: int

    def __call__(self, batch: GazeBatch) -> tuple[Tensor, Tensor]:
        """Heat maps and in/out logits."""
        maps = [
            torch.rand(self.cells, self.cells, generator=generator(self.seed, number))
            for number in batch.index.tolist()
        ]
        return torch.stack(maps), torch.zeros(len(maps))


def command(config: DemoConfig) -> None:
    """`gaze-da demo`."""
    if config.serve:
        from gaze_da.serve import PAGE

        serve(PAGE, config)
    begun = time.monotonic()
    clear(config.out, "gaze-da")
    say(f"1/4  drawing {sum(PICTURES.values())} pictures in each of two styles")
    for style in (SOURCE, TARGET):
        synthetic.write_domain(config.out / style, style, PICTURES, config.seed)
    seeds = [config.seed + offset for offset in range(SEEDS if config.full else 1)]
    learnt = [_learn(config, seed, f"{n}/{len(seeds)}") for n, seed in enumerate(seeds, 1)]
    say("3/4  judging the networks on pictures they have not seen")
    source = _judged_on_source(config, learnt[0][PLAIN])
    target = [_judged_on_target(config, models) for models in learnt]
    say("4/4  predicting a picture from its file")
    overlays = [
        _predict_a_file(config, style, way, learnt[0][way])
        for style, way in ((SOURCE, PLAIN), (TARGET, PLAIN), (TARGET, ADAPTED))
    ]
    seconds = time.monotonic() - begun
    demo = Demo(
        title="gaze-da",
        task=TASK,
        claims=[claim_of_learning(source), claim_of_adaptation(target)],
        trained=_trained(learnt[0][PLAIN]),
        comparisons=compared(source, target),
        pictures=overlays[:2],
        machine=machine(chosen_device(config.device)),
        seconds=seconds,
    )
    how = _how(config.seed, seconds)
    publish(config.out, page_of(source, target, overlays, config.out, how), demo)


def _trained(model: GazeModel) -> Trained:
    return Trained(
        model="a small network that reads a picture, its depth and a head, and one like it that is "
        "adapted to the other style",
        parameters=parameters_of(model),
        data="drawn people who look at drawn things, in two styles, the second without labels",
        counts={
            "pictures of each style to learn from": PICTURES["train"],
            "of each style, never seen, to be judged on": PICTURES["test"],
        },
    )


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


def _judged_on_source(config: DemoConfig, model: GazeModel) -> Judgement:
    cells = model.config.network.output_size
    training = read_annotations("gazefollow", config.out / SOURCE, "train").samples
    rivals: dict[str, Predictor] = {
        NETWORK: Network(model.for_evaluation()),
        CENTRE: centre_prior(cells),
        MEAN_MAP: mean_prior(training, cells),
        CHANCE: Chance(cells, config.seed),
    }
    return judge(open_split(model, "gazefollow", config.out / SOURCE, "test"), rivals, config.seed)


def _judged_on_target(config: DemoConfig, models: Models) -> Judgement:
    rivals: dict[str, Predictor] = {
        way: Network(model.for_evaluation()) for way, model in models.items()
    }
    rivals[CENTRE] = centre_prior(models[PLAIN].config.network.output_size)
    unseen = open_split(models[PLAIN], "gazefollow", config.out / TARGET, "test")
    return judge(unseen, rivals, config.seed)


def mean_prior(samples: Sequence[Sample], cells: int) -> Prior:
    """The mean of the heat maps of those who look inside: where targets are, whoever looks."""
    maps = [
        heat_map([(x * cells, y * cells)], cells) for sample in samples for x, y in sample.gazes
    ]
    return Prior(torch.from_numpy(np.mean(maps, axis=0)).float())


def _predict_a_file(config: DemoConfig, style: Style, way: str, model: GazeModel) -> Picture:
    """Draw one more picture, and predict it from its files as a user would."""
    draw = np.random.default_rng(config.seed)
    scene = synthetic.compose(draw)
    picture, depth = (config.out / f"{style}-{what}.png" for what in ("picture", "depth"))
    for path, pixels in zip((picture, depth), synthetic.render(scene, style, draw), strict=True):
        Image.fromarray(pixels).save(path)
    heads = [person.head_px for person in scene.people]
    people = predict(model, picture, heads, units="pixels", depth=depth)
    with Image.open(picture) as small:
        large = small.resize((4 * small.width, 4 * small.height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    Image.fromarray(drawn(np.asarray(large), people)).save(buffer, "PNG")
    return write_picture(
        config.out,
        f"{style}-{way.replace(' ', '-')}",
        buffer.getvalue(),
        alt=f"A drawn picture in which lines lead from {len(people)} heads to where they look, as "
        f"predicted ({style}, {way})",
        caption=f"Where each head looks, as predicted: the {style} style, {way}.",
    )


def _how(seed: int, seconds: float) -> str:
    return (
        f"{PICTURES['train']} pictures of each style to learn from and {PICTURES['test']} others to "
        "be judged on, written as GazeFollow is published and read as it is. A network of a quarter "
        "of the paper's width, one block a stage and pictures of 64 pixels is trained from random "
        "weights on the flat style; a second one sees the grainy pictures too, but not their labels, "
        "and is adapted by both of the paper's means: an adversary on head features, and the mutual "
        f"reconstruction of picture and depth. Seed {seed}; {seconds:.0f} s in all."
    )
