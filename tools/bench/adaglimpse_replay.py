"""adaglimpse's replay buffer: its memory, and drawing from it, against copies of what it holds."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import torch
from torch import Tensor

from adaglimpse.config import GlimpseModelConfig
from adaglimpse.replay import Replay, Rewards
from tools.bench.straightforward import adaglimpse as straightforward
from tools.bench.timing import Row, interleaved

GLIMPSES = 12
CAPACITY = 10_000
MOST_GIGABYTES = 2.0
DRAWN = 128
FILLED, FILLED_PLAINLY = 3600, 640
"""Transitions of the buffers that are sampled: 170 and 380 MB, more than a cache holds."""

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # options of glibc's mallopt


def measure() -> list[Row]:
    """Bytes of a full buffer, and the time of a draw."""
    room = Replay(CAPACITY, _model(), "meta").bytes
    name = f"a buffer of {CAPACITY:,} transitions, {GLIMPSES} glimpses, base"
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_keep_memory) as alone:
        sampling = alone.submit(_sampling).result()
    return [Row.within(name, room / 1e9, MOST_GIGABYTES, unit="GB"), *sampling]


def _keep_memory() -> None:
    """Let this process keep what it frees, as torch does on a GPU.

    Else the rows would time the kernel, which gives the same megabytes again and again.
    """
    torch.set_num_threads(1)
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):  # glibc's
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def _sampling() -> list[Row]:
    replay = _filled()
    plain = straightforward.buffer(FILLED_PLAINLY, DRAWN)
    for _ in range(FILLED_PLAINLY // DRAWN):
        plain.extend(replay.sample(DRAWN, _draw(), Rewards()).as_tensordict())
    # Each pair takes turns by itself: what runs after the others finds its rows out of the cache.
    stored = interleaved(
        {
            "ours": lambda: replay.gather(*replay.draw(DRAWN, _draw())),
            "reference": _raw_copy(replay),
        },
        runs=11,
        calls=20,
    )
    ready = interleaved(
        {
            "ours": lambda: replay.sample(DRAWN, _draw(), Rewards()),
            "reference": plain.sample,
        },
        runs=15,
        calls=4,
    )
    name = f"{DRAWN} transitions of the buffer"
    rows, padded = f"{name}, against a raw copy of their rows", f"{name}, padded and in float32"
    return [
        Row.at_most(rows, stored["ours"].median, stored["reference"].median, times=1.5),
        replace(
            Row.at_most(padded, ready["ours"].median, ready["reference"].median, times=1.75),
            note="torchrl's buffer, which holds both states of each in float32",
        ),
    ]


def _model() -> GlimpseModelConfig:
    return GlimpseModelConfig(num_glimpses=GLIMPSES)


def _filled() -> Replay:
    replay = Replay(FILLED, _model())
    for tensor in replay.kept.values():
        if tensor.is_floating_point():
            tensor.uniform_()
    replay.lengths.fill_(GLIMPSES)
    return replay


def _draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _raw_copy(replay: Replay) -> Callable[[], list[Tensor]]:
    """Copies the rows of the same transitions, whose places are known."""
    episode, step = replay.draw(DRAWN, _draw())
    rows = torch.cat(
        [_rows(replay, *of) for of in zip(episode.tolist(), step.tolist(), strict=True)]
    )
    glimpse, state = episode * replay.glimpses + step, episode * (replay.glimpses + 1) + step
    index = {
        "patches": episode,
        "boxes": episode,
        "latents": rows,
        "importance": rows,
        "actions": glimpse,
        "scores": torch.cat((state, state + 1)),
        "done": glimpse,
    }
    whole = {name: replay.kept[name] for name in index}
    for name in ("actions", "scores", "done"):
        whole[name] = whole[name].flatten(0, 1)
    return lambda: [whole[name].index_select(0, at) for name, at in index.items()]


def _rows(replay: Replay, episode: int, step: int) -> Tensor:
    """Places of the latents before and after a glimpse: those of 1, 2, ... glimpses lie in this order."""
    ends = [replay.per_glimpse * count * (count + 1) // 2 for count in range(-1, step + 2)]
    return episode * replay.rows + torch.arange(ends[step], ends[step + 2])
