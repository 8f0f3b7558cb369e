"""Which clips are trained on and tested on, and in what order the tasks come."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asal_vrvqa.config import TrainConfig
from asal_vrvqa.config.training import REST
from asal_vrvqa.data.labels import CONDITIONS, LABELS, Clip
from shared_core.errors import DataError, UsageError

AUTHORS_SEED = 1024
FEWEST_TRAIN, FEWEST_TEST = 2, 3
"""Clips of a part: a correlation of fewer is undefined."""


@dataclass(frozen=True)
class Part:
    """Some clips under a name: what a task learns, or is judged on."""

    name: str
    clips: tuple[Clip, ...]


@dataclass(frozen=True)
class Stream:
    """What is learnt, stage after stage, and what each stage is judged on.

    Attributes:
        stages: the tasks of a stream, or one part that is learnt at once.
        tests: test clips of each category, in the order of the stages where these are tasks.
        val: clips that choose the checkpoint; empty: the last weights are kept.
    """

    stages: tuple[Part, ...]
    tests: tuple[Part, ...]
    val: tuple[Clip, ...] = ()


def list_hash(clips: Sequence[Clip]) -> str:
    """First 12 hex digits of the sha256 of the names, a line each: it pins a list and its order."""
    return hashlib.sha256("\n".join(clip.name for clip in clips).encode()).hexdigest()[:12]


def clip_split(
    clips: Sequence[Clip], ratio: float, seed: int = AUTHORS_SEED
) -> tuple[list[Clip], list[Clip]]:
    """Deal clips: train in the order they are drawn, test in the order they have.

    As the authors: nearly every test clip then shows the source of a training clip.
    """
    drawn = _drawn(len(clips), ratio, seed)
    chosen = set(drawn)
    return [clips[i] for i in drawn], [c for i, c in enumerate(clips) if i not in chosen]


def source_split(
    clips: Sequence[Clip], ratio: float, seed: int = AUTHORS_SEED
) -> tuple[list[Clip], list[Clip]]:
    """Deal whole source videos: no source is in both; clips in the order they have."""
    sources = list(dict.fromkeys(clip.source for clip in clips))
    chosen = {sources[i] for i in _drawn(len(sources), ratio, seed)}
    return (
        [clip for clip in clips if clip.source in chosen],
        [clip for clip in clips if clip.source not in chosen],
    )


def _drawn(count: int, ratio: float, seed: int) -> list[int]:
    # The generator of the published lists: pandas draws with numpy's old one.
    state = np.random.RandomState(seed)
    drawn: list[int] = state.choice(count, round(ratio * count), replace=False).tolist()
    return drawn


def few_shot(train: Sequence[Clip], count: int, seed: int = AUTHORS_SEED) -> list[Clip]:
    """About `count` clips of a task: a quarter of each condition, rounded down, as far as there are.

    Args:
        train: the task's training clips, in the order they were drawn.
        count: how many are wanted; 50 gives 48, and 42 where there are no more.
        seed: of Python's generator, anew for each task.
    """
    draw = random.Random(seed)  # noqa: S311 - the generator of the published lists
    pool = list(train)
    taken: list[Clip] = []
    each = count // len(CONDITIONS)
    for condition in CONDITIONS:
        mine = [clip for clip in pool if clip.condition == condition]
        draw.shuffle(mine)
        if len(mine) >= each:
            chosen = mine[:each]
        else:
            others = [clip for clip in pool if clip.condition != condition]
            missing = count - len(mine)  # of all that are wanted, as the authors count
            chosen = list(mine)
            if len(others) >= missing:
                draw.shuffle(others)
                chosen += others[:missing]
        taken += chosen
        names = {clip.name for clip in chosen}
        pool = [clip for clip in pool if clip.name not in names]
    return taken


def stream_of(config: TrainConfig, clips: Sequence[Clip]) -> Stream:
    """The stages and tests that a run's settings ask for.

    Raises:
        DataError: a category has too few clips, or none.
        UsageError: no clips are left to choose the checkpoint by.
    """
    by_category = {
        name: [clip for clip in clips if clip.category == name] for name in (*config.tasks, REST)
    }
    if config.mode == "joint":
        train, test = _split(config, clips)
        _enough(config, "all categories", train, test)
        names = dict.fromkeys(clip.category for clip in test)
        tests = [Part(n or "all", tuple(c for c in test if c.category == n)) for n in names]
        return _single(config, train, tests)
    dealt = {name: _split(config, by_category[name]) for name in config.tasks}
    for name, (train, test) in dealt.items():
        _enough(config, f"category {name}", train, test)
    tests = [Part(name, tuple(test)) for name, (_, test) in dealt.items()]
    if config.mode == "base":
        rest = by_category[REST]
        _enough(config, f"category {REST}", rest, rest)
        return _single(config, rest, tests)
    chosen = {
        name: few_shot(train, config.few_shot) if config.few_shot else train
        for name, (train, _) in dealt.items()
    }
    if config.mode == "joint-wo-base" or config.learns_by == "joint":
        return _single(config, [clip for train in chosen.values() for clip in train], tests)
    stages = [Part(name, tuple(train)) for name, train in chosen.items()]
    return Stream(tuple(stages), tuple(tests))


def _split(config: TrainConfig, clips: Sequence[Clip]) -> tuple[list[Clip], list[Clip]]:
    split = source_split if config.split_unit == "source" else clip_split
    return split(clips, config.train_ratio, config.split_seed)


def _single(config: TrainConfig, train: Sequence[Clip], tests: Sequence[Part]) -> Stream:
    val: Sequence[Clip] = ()
    if config.compat.select_on_test:
        val = train if config.mode == "base" else [clip for part in tests for clip in part.clips]
    elif config.val_ratio:
        train, val = source_split(train, 1 - config.val_ratio, config.split_seed)
        if len(val) < FEWEST_TEST:
            raise UsageError(
                f"--val-ratio {config.val_ratio:g} leaves {len(val)} clips to choose the checkpoint "
                f"by; expected {FEWEST_TEST} or more."
            )
    return Stream((Part(config.mode, tuple(train)),), tuple(tests), tuple(val))


def _enough(config: TrainConfig, where: str, train: Sequence[Clip], test: Sequence[Clip]) -> None:
    if len(train) >= FEWEST_TRAIN and len(test) >= FEWEST_TEST:
        return
    raise DataError(
        Path(config.labels) / LABELS,
        f"{len(train)} and {len(test)}",
        where=where,
        expected=f"at least {FEWEST_TRAIN} clips to train and {FEWEST_TEST} to test on",
        remedy="Leave a category out with --tasks, or see that its videos are in the categories file.",
    )
