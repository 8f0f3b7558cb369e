"""What the demo does, from the first drawn scene to its report."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from adaglimpse import synthetic
from adaglimpse.config import BackboneSize, DemoConfig, Policy, Task, TrainConfig
from adaglimpse.data.items import ImageDataset
from adaglimpse.data.layouts import read_images
from adaglimpse.demo.claims import Found, claim, compared
from adaglimpse.demo.page import TASK, page_of
from adaglimpse.drawing import grid_picture
from adaglimpse.evaluate import evaluate
from adaglimpse.model.network import GlimpseModel
from adaglimpse.predict import predict
from adaglimpse.predict.writing import story_of
from shared_core.commands import say
from shared_core.config import parse
from shared_core.launch.devices import chosen_device
from shared_core.reporting.demo import clear, machine, parameters_of, publish, write_picture
from shared_core.reporting.demo_file import Demo, Picture, Trained
from shared_core.serving.server import serve
from shared_core.training.apart import train_apart

TRAIN, VAL = 2880, 500
"""Scenes to learn from, and scenes never seen."""

POLICIES: tuple[Policy, ...] = ("learnt", "random", "grid", "centre", "full")

SEEDS = 3
"""Networks of each trial that `--full` makes."""

JOBS = 2
"""Runs at the same time: one a CPU core."""

PRETRAINING_GLIMPSES = 8
"""Random glimpses of a scene by which the backbone learns; more than the policy has, to see more of it."""

Kind = synthetic.Kind


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A task to be learnt.

    Attributes:
        task: of the network.
        kind: of the scenes: `near` marks stand on the ground, `zoom` ones are tiny and anywhere.
        size: of the backbone.
        passes: over the scenes, for the backbone.
        plays: episodes of the policy, in passes over the scenes.
    """

    task: Task
    kind: Kind = "near"
    size: BackboneSize = "tiny"
    passes: int
    plays: int = 1

    @property
    def name(self) -> str:
        """Of its folders, and in the report."""
        return f"{self.task}-{self.kind}-{self.size}"


SHORT = (
    Trial(task="classification", passes=12),
    Trial(task="reconstruction", passes=6, plays=2),
)
LONG = (
    Trial(task="classification", kind="zoom", passes=40, plays=4),
    Trial(task="classification", size="small", passes=4, plays=1),
)


def command(config: DemoConfig) -> None:
    """`adaglimpse demo`."""
    if config.serve:
        from adaglimpse.serve import PAGE

        serve(PAGE, config)
    begun = time.monotonic()
    clear(config.out, "adaglimpse")
    trials = SHORT + LONG if config.full else SHORT
    if config.full:
        say(f"{len(trials)} trials, {SEEDS} networks each: this takes an hour or more on two cores")
    say(f"1/3  drawing {TRAIN + VAL} scenes, each with one small thing that tells its class")
    for kind in dict.fromkeys(trial.kind for trial in trials):
        _draw(config, kind)
    seeds = [config.seed + offset for offset in range(SEEDS if config.full else 1)]
    say("2/3  teaching backbones by random glimpses, then policies where to look")
    with ThreadPoolExecutor(JOBS) as pool:
        orders = [(trial, seed) for trial in trials for seed in seeds]
        runs = list(pool.map(lambda order: _learn(config, *order), orders))
    say("3/3  looking at scenes that were never seen")
    found: dict[str, list[Found]] = {}
    for (trial, seed), run in zip(orders, runs, strict=True):
        found.setdefault(trial.name, []).append(_judge(config, trial, run, seed))
    claims = {name: claim(of) for name, of in found.items()}
    seconds = time.monotonic() - begun
    shown = {trial.name: runs[orders.index((trial, seeds[0]))] for trial in trials}
    stories = _stories(config, trials, shown)
    demo = Demo(
        title="adaglimpse",
        task=TASK,
        claims=list(claims.values()),
        trained=_trained(shown[SHORT[0].name]),
        comparisons=[compared(found[trial.name][0]) for trial in SHORT],
        pictures=[stories[trial.name] for trial in SHORT],
        machine=machine(chosen_device(config.device)),
        seconds=seconds,
    )
    say(f"Chance is {1 / len(synthetic.MARKS):.3f} for classification.")
    publish(config.out, page_of(found, claims, stories, seconds, config), demo)


def _trained(run: Path) -> Trained:
    return Trained(
        model="for each task a small transformer that knows parts of a scene, and a policy that chooses "
        "the next part",
        parameters=parameters_of(GlimpseModel.from_pretrained(run)),
        data="drawn scenes of 64 by 64 pixels, each with one small thing that tells its class",
        counts={
            "scenes to learn from": TRAIN,
            "never seen, to be judged on": VAL,
            "classes": len(synthetic.MARKS),
        },
    )


def _scenes(config: DemoConfig, kind: Kind) -> Path:
    return config.out / "data" / kind


def _draw(config: DemoConfig, kind: Kind) -> None:
    synthetic.write_dataset(
        _scenes(config, kind),
        "classification",
        train=TRAIN,
        val=VAL,
        seed=config.seed,
        kind=kind,
    )


def settings(config: DemoConfig, trial: Trial, seed: int) -> TrainConfig:
    """Of the run that teaches the policy; the backbone comes from the run beside it."""
    line = ["--config", "demo", "--data-dir", str(_scenes(config, trial.kind))]
    preset = parse(TrainConfig, line, program="adaglimpse demo", presets="adaglimpse")
    run = config.out / "run" / f"{trial.name}-{seed}"
    return replace(
        preset,
        task=trial.task,
        backbone_size=trial.size,
        # levels of grey are some hundred times the changes of a probability
        rl_alpha_init=preset.rl_alpha_init * (10 if trial.task == "reconstruction" else 1),
        epochs=trial.plays,
        evaluate_every=_never(trial.plays, preset.batch_size),
        save_replay=False,  # a demo that is stopped begins anew
        seed=seed,
        device=config.device,
        pretrained_mae_path=run.with_name(f"{run.name}-backbone"),
        run=run,
    )


def _never(passes: int, batch_size: int) -> int:
    """Updates of a whole run: it is judged at its end alone."""
    return passes * (TRAIN // batch_size)


def _learn(config: DemoConfig, trial: Trial, seed: int) -> Path:
    """Teach the backbone, then the policy; returns the run's folder."""
    policy = settings(config, trial, seed)
    batch_size = 2 * policy.batch_size
    backbone = replace(
        policy,
        pretraining=True,
        pretrained_mae_path=None,
        run=policy.run.with_name(f"{policy.run.name}-backbone"),
        num_glimpses=PRETRAINING_GLIMPSES,
        batch_size=batch_size,
        epochs=trial.passes,
        evaluate_every=_never(trial.passes, batch_size),
        backbone_lr=policy.backbone_lr if trial.size == "tiny" else policy.backbone_lr / 5,
    )
    say(f"{trial.name}, seed {seed}: {policy.run}")
    train_apart("adaglimpse", backbone)
    train_apart("adaglimpse", policy)
    return policy.run


def _judge(config: DemoConfig, trial: Trial, run: Path, seed: int) -> Found:
    model = GlimpseModel.from_pretrained(run, device=chosen_device(config.device))
    dataset = _unseen(config, trial, model)
    return evaluate(model, dataset, POLICIES, batch_size=100, seed=seed)


def _unseen(config: DemoConfig, trial: Trial, model: GlimpseModel) -> ImageDataset:
    plan = settings(config, trial, config.seed)
    images = read_images(plan, trial.task, "val")
    return ImageDataset(images.samples, task=trial.task, size=model.config.image_size)


def _stories(
    config: DemoConfig, trials: Sequence[Trial], runs: Mapping[str, Path]
) -> dict[str, Picture]:
    """For each trial, the glimpses of one scene as a picture."""
    found = {}
    for trial in trials:
        model = GlimpseModel.from_pretrained(runs[trial.name], device=chosen_device(config.device))
        scene = _unseen(config, trial, model).samples[0].image
        buffer = io.BytesIO()
        grid_picture(story_of(predict(model, [scene])[0])).save(buffer, "PNG")
        found[trial.name] = write_picture(
            config.out,
            trial.name,
            buffer.getvalue(),
            alt=f"A scene, and what was seen and said of it after each glimpse ({trial.name})",
            caption="One scene: where the policy looked (the latest glimpse in red), what it saw, and "
            "what the network said.",
        )
    return found
