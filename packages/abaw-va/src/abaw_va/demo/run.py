"""What the demo does, from the first drawn face to its report."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from abaw_va import synthetic
from abaw_va.config import DemoConfig, Perception, Smoothing, TrainConfig
from abaw_va.data.layout import Labels, features_path, targets_path, write_targets
from abaw_va.data.videos import VideoSet, split_videos
from abaw_va.demo.claims import OURS, Traces, baselines, claim, compared, gain, score
from abaw_va.demo.page import TASK, page_of, pictures
from abaw_va.evaluate import evaluate
from abaw_va.features.light import LogMel, Pixels
from abaw_va.learner import train
from abaw_va.model.network import VaModel
from abaw_va.perception import Perceiver
from abaw_va.predict import VideoPrediction, predict
from shared_core.commands import say
from shared_core.config import parse
from shared_core.data.audio import Audio
from shared_core.data.faces import Face, crop
from shared_core.data.features import write_features
from shared_core.data.tables import write_csv
from shared_core.launch.devices import chosen_device
from shared_core.reporting.demo import clear, machine, over_seeds, parameters_of, publish
from shared_core.reporting.demo_file import Demo, Trained
from shared_core.serving.server import serve
from shared_core.testing.media import write_media

PEOPLE = {"train": 20, "val": 5, "test": 10}
"""How many people teach the network, choose among its checkpoints, and judge it."""

SECONDS = 12.0
FACE = Face(box=(0.13, 0.13, 0.87, 0.87))
"""Where every drawn face is; cut out with its margin, that is the whole picture."""


@dataclass(frozen=True)
class Learnt:
    """One seed's network and what it predicts for the people it has not seen."""

    model: VaModel
    traces: Traces
    smoothing: Smoothing


def command(config: DemoConfig) -> None:
    """`abaw-va demo`."""
    if config.serve:
        from abaw_va.serve import PAGE

        serve(PAGE, config)
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
    first = learnt[0]
    say("3/4  judging it on people it has not seen, beside its baselines")
    training, unseen = (_people(data, split, first.model) for split in ("train", "test"))
    rivals = {OURS: first.traces, **baselines(training, unseen, first.traces)}
    scores = {name: score(of, config.seed) for name, of in rivals.items()}
    told = claim(scores, gain(rivals, config.seed))
    say("4/4  predicting a video file from its pictures and its sound")
    shown, truth = _predict_a_file(config, first.model, first.smoothing)
    means = [score(one.traces, config.seed)["mean"].value for one in learnt]
    spread = over_seeds(means) if config.full else None
    seconds = time.monotonic() - begun
    demo = Demo(
        title="abaw-va",
        task=TASK,
        claims=[told],
        trained=_trained(first.model),
        comparisons=[compared(scores)],
        pictures=pictures(config.out, shown, truth),
        machine=machine(chosen_device(config.device)),
        seconds=seconds,
    )
    page = page_of(scores, told, spread, shown, truth, _how(config.seed, seconds))
    publish(config.out, page, demo)


def _trained(model: VaModel) -> Trained:
    return Trained(
        model="a small transformer that reads face and voice along time",
        parameters=parameters_of(model),
        data="drawn faces and voices that move with valence and arousal, "
        f"{SECONDS:.0f} s of each person",
        counts={
            "people to learn from": PEOPLE["train"],
            "to choose the checkpoint": PEOPLE["val"],
            "never seen, to be judged on": PEOPLE["test"],
        },
    )


def _how(seed: int, seconds: float) -> str:
    return (
        f"{PEOPLE['train']} drawn people for training, {PEOPLE['val']} to choose the checkpoint, "
        f"{PEOPLE['test']} others for judging, {SECONDS:.0f} s each. Pictures become 256 grey values "
        "of the face, sound 64 log-mel bands; a small transformer reads both along time and is "
        f"trained on the CCC of whole batches. Seed {seed}; {seconds:.0f} s in all."
    )


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
    found = evaluate([model], [_people(data, "test", model)], settings.smoothing)
    return Learnt(model, found.traces, settings.smoothing)


def _people(data: Path, split: str, model: VaModel) -> VideoSet:
    return VideoSet(data, split_videos(data, split), model.config.features)


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
