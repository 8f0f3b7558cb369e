"""What the demo does, from the first drawn picture to its report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from refine_iqa.config import DemoConfig, Reward, TrainConfig
from refine_iqa.data.rows import read_rows
from refine_iqa.demo.answers import Answers, answers_of
from refine_iqa.demo.claims import (
    Found,
    claim,
    claim_of_scores,
    compared,
)
from refine_iqa.demo.page import TASK, learning, page_of, strip
from refine_iqa.synthetic import Kind, write_table
from shared_core.checkpoints.store import Store
from shared_core.commands import say
from shared_core.config import parse
from shared_core.launch.devices import chosen_device
from shared_core.reporting.demo import clear, machine, publish, write_picture
from shared_core.reporting.demo_file import Demo, Picture, Trained
from shared_core.serving.server import serve

TRAIN, VAL, TEST = 128, 32, 96
"""Pictures to learn from, to choose the step on, and never seen."""

WARM_UP = 150
"""Updates of the warm-up."""

SHOWN = 6
"""Scenes in the report."""

SEEDS = 3
"""Models of each distortion that `--full` tunes."""

QUESTIONS = {
    "think.txt": "{question} Think, then answer.",
    "no_think.txt": "{question} Answer.",
}
"""Short templates: to a tiny model a byte is a token."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is learnt.

    Attributes:
        kind: distortion of the pictures.
        updates: of reinforcement; none: as the preset says.
        rewards: of the run; none: those of the stage.
    """

    kind: Kind
    updates: int | None = None
    rewards: tuple[Reward, ...] = ()


SHORT = Trial(kind="exposure")
LONG = tuple(
    Trial(kind=kind, updates=600, rewards=("format", "answer_soft"))
    for kind in ("exposure", "blur", "noise")
)


def command(config: DemoConfig) -> None:
    """`refine-iqa demo`."""
    if config.serve:
        from refine_iqa.serve import PAGE

        serve(PAGE, config)
    begun = time.monotonic()
    clear(config.out, "refine-iqa")
    trials = (SHORT, *LONG) if config.full else (SHORT,)
    seeds = [config.seed + offset for offset in range(SEEDS if config.full else 1)]
    if config.full:
        say(f"{len(trials)} trials, {SEEDS} models each: this takes an hour or more on two cores")
    found: dict[Trial, list[Found]] = {}
    for trial in trials:
        found[trial] = [_tuned(config, trial, seed) for seed in seeds]
    claims = [claim(found[SHORT])]
    claims += [claim_of_scores(of, trial.kind) for trial, of in found.items() if trial != SHORT]
    seconds = time.monotonic() - begun
    pictures = _pictures(config, found[SHORT][0], seeds[0])
    page = page_of(
        {_name(trial): of for trial, of in found.items()},
        claims,
        runs={_name(trial): _run(config, trial, seeds[0]) for trial in trials},
        pictures=pictures[0],
        seconds=seconds,
        config=config,
    )
    first = found[SHORT][0]
    demo = Demo(
        title="refine-iqa",
        task=TASK,
        claims=claims,
        trained=_trained(first),
        comparisons=compared(first),
        pictures=pictures,
        machine=machine(chosen_device(config.device)),
        seconds=seconds,
    )
    publish(config.out, page, demo)


def _trained(found: Found) -> Trained:
    return Trained(
        model="a random Qwen2.5-VL of two layers, taught the form of an answer by a few updates, then "
        "reinforced",
        parameters=found.last.parameters,
        data="drawn scenes of 56 by 56 pixels, spoilt by one distortion whose strength fixes their score",
        counts={
            "scenes to learn from": TRAIN,
            "to choose the step on": VAL,
            "never seen, to be judged on": TEST,
        },
    )


def _pictures(config: DemoConfig, found: Found, seed: int) -> list[Picture]:
    """Some scenes that were never seen, and how the form was learnt."""
    scenes = sorted(_folder(config, SHORT, seed, "test").glob("*.png"))[:SHOWN]
    scores = ", ".join(f"{float(mos):.2f}" for mos in found.last.mos[:SHOWN])
    return [
        write_picture(
            config.out,
            "scenes",
            strip(scenes),
            alt=f"{len(scenes)} drawn scenes, some of them darkened",
            caption=f"Never seen in training. MOS by construction, from the left: {scores}.",
        ),
        write_picture(
            config.out,
            "learning",
            learning(_run(config, SHORT, seed)),
            alt="A curve of the format reward over the updates of the reinforcement",
            caption="How often answers have the form that is asked for, while it is reinforced.",
        ),
    ]


def _name(trial: Trial) -> str:
    return trial.kind if trial == SHORT else f"{trial.kind}, scores"


def _run(config: DemoConfig, trial: Trial, seed: int) -> Path:
    return config.out / "run" / f"{_name(trial).replace(', ', '-')}-{seed}"


def _folder(config: DemoConfig, trial: Trial, seed: int, part: str) -> Path:
    return config.out / "data" / f"{trial.kind}-{seed}" / part


def _tuned(config: DemoConfig, trial: Trial, seed: int) -> Found:
    """Teach one model, and judge it before and after."""
    # transformers takes seconds to import: the first line is said before.
    say(f"1/4  drawing {TRAIN + VAL + TEST} pictures of known quality ({trial.kind}, seed {seed})")
    from refine_iqa.model.tiny import build
    from refine_iqa.synthetic.warmup import TAGS, warm_up

    tables = _tables(config, trial, seed)
    run = _run(config, trial, seed)
    start = build(run.with_name(f"{run.name}-start"), added_tokens=TAGS, seed=seed, max_pixels=3136)
    settings = _settings(config, trial, seed, start, tables)
    say(
        f"2/4  teaching a model of 117 thousand weights the form of an answer, by {WARM_UP} updates"
    )
    warm_up(start, tables["train"], updates=WARM_UP, media=settings, seed=seed)
    say("3/4  reinforcing what has the right form")
    from refine_iqa.learner import train

    train(settings)
    say(f"4/4  asking it about {TEST} pictures that it has never seen")
    return _judge(config, settings, start, tables)


def _tables(config: DemoConfig, trial: Trial, seed: int) -> dict[str, Path]:
    return {
        part: write_table(
            _folder(config, trial, seed, part),
            count=count,
            seed=3 * seed + number,
            kinds=(trial.kind,),
        )
        for number, (part, count) in enumerate({"train": TRAIN, "val": VAL, "test": TEST}.items())
    }


def _settings(
    config: DemoConfig, trial: Trial, seed: int, start: Path, tables: Mapping[str, Path]
) -> TrainConfig:
    for name, text in QUESTIONS.items():
        (config.out / name).write_text(text, encoding="utf-8")
    line = ["--config", "demo", "--model", str(start), "--data", str(tables["train"])]
    preset = parse(TrainConfig, line, program="refine-iqa demo", presets="refine_iqa")
    return replace(
        preset,
        run=_run(config, trial, seed),
        eval_data=tables["val"],
        think_template=config.out / "think.txt",
        no_think_template=config.out / "no_think.txt",
        rewards=trial.rewards,
        max_steps=trial.updates or preset.max_steps,
        seed=seed,
        device=config.device,
    )


def _judge(
    config: DemoConfig, settings: TrainConfig, start: Path, tables: Mapping[str, Path]
) -> Found:
    last = Store(settings.run / "checkpoints").latest()
    models = {
        "before": start,
        "last": last.folder / f"checkpoint-{last.step}" if last else settings.run,
        "best": settings.run,
    }
    answers: dict[str, Answers] = {
        name: answers_of(
            model,
            tables["test"],
            settings,
            longest=settings.max_completion_length,
            seed=settings.seed,
            device=config.device,
        )
        for name, model in models.items()
    }
    mos = [row.solution for row in read_rows(tables["train"])]
    constant = fmean(value for value in mos if isinstance(value, float))
    return Found(**answers, constant=constant)
