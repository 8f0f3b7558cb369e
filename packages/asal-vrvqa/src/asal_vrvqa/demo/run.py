"""What the demo does, from the first drawn panorama to its report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from asal_vrvqa import synthetic
from asal_vrvqa.compare import Contender, add_comparison, compare
from asal_vrvqa.config import TASKS, DemoConfig, TrainConfig
from asal_vrvqa.demo.claims import (
    ASAL,
    NAMES,
    STRATEGIES,
    UNTAUGHT,
    claim_of_asal,
    claim_of_forgetting,
    claim_of_replay,
    claim_of_sphere,
    compared,
    untaught,
)
from asal_vrvqa.learner import train
from asal_vrvqa.model.network import QualityModel
from asal_vrvqa.pages import add_matrix
from asal_vrvqa.predict import Prediction, plot_of, predict
from asal_vrvqa.runs import StreamRun, read_run
from shared_core.commands import say
from shared_core.config import parse
from shared_core.launch.devices import chosen_device
from shared_core.reporting.demo import clear, machine, parameters_of, publish, write_picture
from shared_core.reporting.demo_file import Demo, Picture, Trained
from shared_core.reporting.figures import Line, curves
from shared_core.reporting.page import Page
from shared_core.serving.server import serve

SOURCES = 24
"""Panoramas of each task, 14 of them to learn from; each is seen from two start directions."""

TASK = "What is left of earlier kinds of scene, on panoramas never seen"

SEEDS = 5
"""Runs of each strategy that `--full` makes."""

JOBS = 2
"""Runs at the same time: one a CPU core."""

SEVERITIES = (0.1, 0.9)
"""Of the two videos that are drawn to be scored."""


def command(config: DemoConfig) -> None:
    """`asal-vrvqa demo`."""
    if config.serve:
        from asal_vrvqa.serve import PAGE

        serve(PAGE, config)
    begun = time.monotonic()
    clear(config.out, "asal-vrvqa")
    say(
        f"1/3  drawing {SOURCES * len(TASKS)} panoramas of five kinds, each distorted in its own way"
    )
    settings = _settings(config)
    seeds = [config.seed + offset for offset in range(SEEDS if config.full else 1)]
    say(f"2/3  learning the stream by {', '.join(NAMES[name] for name in STRATEGIES)}")
    contenders = compare(settings, STRATEGIES, seeds, config.out / "run", JOBS)
    claims = [
        claim_of_forgetting(contenders[0]),
        claim_of_replay(contenders),
        claim_of_asal(contenders),
    ]
    if config.full:
        claims.append(_sphere_against_plain(settings, seeds, config.out / "run"))
    say("3/3  scoring two drawn videos")
    predictions = _score_videos(config, contenders)
    seconds = time.monotonic() - begun
    demo = Demo(
        title="asal-vrvqa",
        task=TASK,
        claims=claims,
        trained=_trained(_model(config, contenders), contenders[0].runs[0]),
        comparisons=compared(contenders),
        pictures=[_picture(config.out, contenders)],
        machine=machine(chosen_device(config.device)),
        seconds=seconds,
    )
    say(f"{UNTAUGHT}: average SRCC {untaught(contenders[0].runs[0]):.3f}; chance: 0")
    publish(config.out, _page(contenders, claims, predictions, seconds, config), demo)


def _trained(model: QualityModel, run: StreamRun) -> Trained:
    unseen = len({clip.source for clip in run.judged.tests[0].clips})
    return Trained(
        model="a small network on the sphere, once for each way to remember",
        parameters=parameters_of(model),
        data="drawn panoramas of five kinds that come one after another, each with its own distortion",
        counts={
            "kinds": len(TASKS),
            "panoramas of each kind to learn from": SOURCES - unseen,
            "of each kind, never seen, to be judged on": unseen,
        },
    )


def _picture(out: Path, contenders: Sequence[Contender]) -> Picture:
    """What is left of the first task, as the others come."""
    lines = [
        Line(name=NAMES[of.name], x=np.arange(len(TASKS) + 1), y=of.first_task(), marked=True)
        for of in contenders
    ]
    return write_picture(
        out,
        "first-task",
        curves(lines, x="kinds learnt", y=f"SRCC on the first, {TASKS[0]}"),
        alt=f"A curve for each strategy: SRCC on {TASKS[0]} while the kinds after it are learnt",
        caption=f"What is left of the first kind, {TASKS[0]}, while the others are learnt: SRCC on its "
        "panoramas that were never seen.",
    )


def _settings(config: DemoConfig) -> TrainConfig:
    data = config.out / "data"
    line = ["--config", "demo", "--labels", str(data / "labels"), "--frames", str(data / "frames")]
    settings = parse(TrainConfig, line, program="asal-vrvqa demo", presets="asal_vrvqa")
    synthetic.write_dataset(
        data,
        sources=dict.fromkeys(TASKS, SOURCES),
        height=settings.network.height,
        width=settings.network.width,
        seed=config.seed,
        times=(7,),
        frames_each=settings.network.frames + 1,  # the last one for training's jitter
    )
    return replace(settings, device=config.device)


def _sphere_against_plain(settings: TrainConfig, seeds: Sequence[int], out: Path) -> str:
    found: dict[str, list[float]] = {}
    for kind in ("sphere", "plain"):
        for seed in seeds:
            run = out / f"joint-{kind}-{seed}"
            say(f"all tasks together, {kind}, seed {seed}: {run}")
            network = replace(settings.network, backbone=kind)
            joint = replace(settings, mode="joint-wo-base", network=network, seed=seed, run=run)
            train(joint)
            after = read_run(run).judged.matrix()[-1]
            found.setdefault(kind, []).append(float(after.mean()))
    return claim_of_sphere(found["sphere"], found["plain"])


def _score_videos(config: DemoConfig, contenders: Sequence[Contender]) -> dict[str, Prediction]:
    """Draw a good and a bad video, and score both from their files as a user would."""
    model = _model(config, contenders)
    found = {}
    for severity in SEVERITIES:
        path = config.out / f"{TASKS[-1]}-severity-{severity:g}.mp4"
        synthetic.write_video(
            path,
            TASKS[-1],
            severity,
            height=model.config.network.height,
            width=model.config.network.width,
            seconds=7,
            rate=2,
            seed=config.seed + 1,
        )
        found[path.name] = predict(model, path, seconds=7, repeat_last=True)
    return found


def _model(config: DemoConfig, contenders: Sequence[Contender]) -> QualityModel:
    """The network that ASAL taught."""
    run = next(of for of in contenders if of.name == ASAL).runs[0]
    return QualityModel.from_pretrained(run.folder, device=chosen_device(config.device))


def _page(
    contenders: Sequence[Contender],
    claims: Sequence[str],
    predictions: dict[str, Prediction],
    seconds: float,
    config: DemoConfig,
) -> Page:
    page = Page("asal-vrvqa", TASK)
    section = page.section("What was learnt, and forgotten")
    for claim in claims:
        section.note(claim)
    add_comparison(section, contenders)
    for of in contenders:
        add_matrix(page.section(f"Task by task: {NAMES[of.name]}"), of.runs[0].judged, config.seed)
    section = page.section("Two videos")
    for name, found in predictions.items():
        section.text(
            f"{name}: {found.score:.2f} on the scale of the drawn severity, 1 to 5 (higher is better); "
            f"{found.note}."
        )
        section.figure(plot_of(found.to_json()))
    page.section("How").text(
        f"{SOURCES} panoramas of each of five kinds, of 64 by 128 pixels, written in the layout of "
        "VR-VQW and read as it is. CG is banded, Landscape blurred, Sports blocky, Shows noisy, and "
        "Cityscape has stitching seams, the more the nearer to some latitude; a clip's score falls with "
        "the severity where its viewer looks. The network has a quarter of the paper's width, two bands "
        "of latitude and three frames, and begins from random weights. Source videos are dealt to training "
        f"and test as wholes. Seed {config.seed}; {seconds:.0f} s in all."
    )
    page.section("What this does not show").text(
        "Drawn panoramas are no videos, their scores are no opinions, and one stream of five small tasks "
        "is no benchmark. Intervals over source videos do not hold the chance of another seed: with one "
        "seed, nothing is claimed about which of two memories is better."
    )
    return page
