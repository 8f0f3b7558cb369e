"""refine-iqa against straightforward code: frames, pictures of a group, rewards, scores.

What needs trl is in `refine_iqa_training`. Models are tiny ones, with random weights.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from refine_iqa.data.pictures import Picture
from refine_iqa.data.prompts import QUESTION_IMAGE, THINK_TEMPLATE, fill, messages
from refine_iqa.data.video import FrameOptions, frame_indices, resize_frames
from refine_iqa.model.loading import load_model
from refine_iqa.model.sharing import SharedPictures, share_vision, vision_tower
from refine_iqa.model.tiny import build
from refine_iqa.rewards.registry import NAMES, SCORING, Reward
from refine_iqa.rewards.registry import build as build_rewards
from refine_iqa.rewards.text import has_format
from refine_iqa.scoring import QualityScorer
from tools.bench.straightforward import refine_iqa as straightforward
from tools.bench.timing import Row, interleaved

FRAMES, RATE = (120, 540, 960), 30.0
ALLOWED_SECONDS = 0.2

GROUP = 8
PICTURE = (336, 448)

TOKENS = 64
"""Of a reasoned answer."""

LONG, SHORT = 1_000_000, 8_000
"""Characters of a completion; the short one is what a backtracking pattern can be given."""
ALLOWED_MS = 50
TRUTH = {"type": "gaussian blur", "severity": 3, "box": [0, 0, 8, 8]}


def measure() -> list[Row]:
    """Time and counts of each comparison."""
    with tempfile.TemporaryDirectory() as folder:
        model = build(Path(folder, "model"), width=64, max_pixels=PICTURE[0] * PICTURE[1])
        return [*_video(), *_group(model), _vision(model), _direct(model), *_rewards()]


def _picture(height: int, width: int) -> Picture:
    draws = np.random.default_rng(0)
    return Picture.of(
        Image.fromarray(draws.integers(0, 256, (height, width, 3), dtype=np.uint8), "RGB")
    )


# Pictures


def _video() -> list[Row]:
    """Decoded frames into those that are seen, in their size."""
    decoded = np.random.default_rng(0).integers(0, 256, (*FRAMES, 3), dtype=np.uint8)
    frames, options = list(decoded), FrameOptions()
    indices = frame_indices(len(frames), RATE, fps=options.fps).indices

    def ours() -> list[Image.Image]:
        return list(resize_frames([frames[index] for index in indices], options))

    seen = ours()

    def reference() -> list[Image.Image]:
        return straightforward.resized_then_sampled(frames, indices, seen[0].size)

    _same([np.asarray(one) for one in seen], [np.asarray(one) for one in reference()])
    times = interleaved({"ours": ours, "reference": reference}, runs=7)
    name = f"{len(seen)} of {len(frames)} frames of 540x960, decoded, made into pictures"
    limit = Row.within(f"{name}: one thread", times["ours"].median, ALLOWED_SECONDS)
    return [
        Row.faster(name, times["ours"], times["reference"], at_least=15, by_median=True),
        replace(limit, note="against what is allowed"),
    ]


def _group(model: Path) -> list[Row]:
    """The image processor, for the copies of a row; and with the batch that they are copied into."""
    usual = load_model(model).processor.image_processor
    copies = [_picture(*PICTURE)] * GROUP

    def ours(pictures: Sequence[Image.Image]) -> Tensor:
        shared = SharedPictures(usual)  # each group has pictures of its own: nothing is held
        made: Tensor = shared(pictures)["pixel_values"]
        return made

    def reference() -> list[Tensor]:
        return [made["pixel_values"] for made in straightforward.processed(usual, copies)]

    _same([ours(copies).numpy()], [torch.cat(reference()).numpy()])
    times = interleaved(
        {
            "ours": lambda: ours(copies[:1]),
            "reference": reference,
            "our batch": lambda: ours(copies),
            "its batch": lambda: torch.cat(reference()),
        },
        runs=25,
    )
    shared = SharedPictures(usual)
    for _ in range(2):  # trl asks twice at every step
        shared(copies)
    name = f"{GROUP} copies of a picture of {PICTURE[1]}x{PICTURE[0]}"
    alone = Row.faster(
        f"{name}: processing", times["ours"], times["reference"], at_least=5, by_median=True
    )
    return [
        replace(alone, note=f"{alone.note}; before the copies are made"),
        Row.faster(
            f"{name}: processing and copying into a batch",
            times["our batch"],
            times["its batch"],
            at_least=2.5,
            by_median=True,
        ),
        Row.within(f"{name}: processed in a step", shared.processed, 1, unit=""),
    ]


def _vision(folder: Path) -> Row:
    """The vision tower of a group, forward and backward."""
    processor = load_model(folder).processor.image_processor
    made = processor([_picture(*PICTURE)] * GROUP, return_tensors="pt")
    pixels, grids = made["pixel_values"], made["image_grid_thw"]

    def step(*, shared: bool) -> Callable[[], Tensor]:
        model = load_model(folder).model
        if shared:
            share_vision(model)
        tower = vision_tower(model)

        def run() -> Tensor:
            tower.zero_grad()
            features: Tensor = tower(pixels, grid_thw=grids).pooler_output
            torch.autograd.backward(features.square().sum())
            return features

        return run

    ours, reference = step(shared=True), step(shared=False)
    torch.testing.assert_close(ours(), reference(), rtol=1e-4, atol=1e-5)
    times = interleaved({"ours": ours, "reference": reference}, runs=5)
    name = f"vision tower on {GROUP} copies of a picture, forward and backward"
    return Row.faster(name, times["ours"], times["reference"], at_least=2, by_median=True)


# Scores


def _direct(folder: Path) -> Row:
    """A picture's direct score, against one that is written after reasoning."""
    scorer = QualityScorer.from_pretrained(folder, device="cpu")
    model, processor = load_model(folder)
    picture = _picture(112, 112)
    message = messages(fill(THINK_TEMPLATE, QUESTION_IMAGE))
    message[0]["content"][0]["image"] = picture
    times = interleaved(
        {
            "ours": lambda: scorer.predict([picture]),
            "reference": lambda: straightforward.reasoned_score(model, processor, message, TOKENS),
            "reasoned": lambda: scorer.predict([picture], mode="reasoned", max_new_tokens=TOKENS),
        },
        runs=7,
    )
    name = f"a direct score, against an answer of {TOKENS} tokens"
    row = Row.faster(name, times["ours"], times["reference"], at_least=7, by_median=True)
    return replace(
        row, note=f"{row.note}; our reasoned mode {1e3 * times['reasoned'].median:.0f} ms"
    )


# Rewards


def _rewards() -> list[Row]:
    """Texts that a policy may come to write, and that a backtracking pattern does not end with."""
    texts: dict[str, Callable[[int], str]] = {
        "<think>": lambda size: "<think>" * (size // 7),
        "</think>": lambda size: "<think>" + "</think>" * (size // 8),
        "<answer>": lambda size: "<think>x</think>" + "<answer>" * (size // 8),
        "white space": lambda size: (
            f"<think>x</think>{' ' * (size // 2)}<answer>{' ' * (size // 2)}</answer>"
        ),
        "every tag": lambda size: "<think></think> <answer>Score: " * (size // 31),
    }
    rows = [_slowest(what, text(LONG)) for what, text in texts.items()]
    text = texts["<think>"](SHORT)
    times = interleaved(
        {
            "ours": lambda: has_format(text),
            "reference": lambda: straightforward.FORMAT.search(text),
        },
        runs=5,
    )
    name = f"format of {SHORT} characters of <think>, against one pattern"
    return [
        *rows,
        Row.faster(name, times["ours"], times["reference"], at_least=100, by_median=True),
    ]


def _slowest(what: str, text: str) -> Row:
    """The reward function that takes longest, on a row of the task where it does."""
    taken = {
        f"{reward.__name__} of a row of {task}": _median_ms(reward, task, text)
        for reward in build_rewards(NAMES)
        for task in reward.tasks
    }
    slowest = max(taken, key=taken.__getitem__)
    name = f"the slowest reward function on 1 MB of {what}"
    return replace(Row.within(name, taken[slowest], ALLOWED_MS, unit="ms"), note=slowest)


def _median_ms(reward: Reward, task: str, text: str) -> float:
    solution = 3.5 if task == SCORING else TRUTH
    times = interleaved({"reward": lambda: reward([text], [task], [solution])}, runs=5)
    return 1e3 * times["reward"].median


def _same(ours: Sequence[np.ndarray], reference: Sequence[np.ndarray]) -> None:
    """Both sides of a comparison give the same numbers, or the comparison means nothing."""
    for mine, other in zip(ours, reference, strict=True):
        np.testing.assert_array_equal(mine, other)
