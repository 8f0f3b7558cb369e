"""Questions about a distortion, what counts as which answer, and boxes.

A question names the fields of the JSON object that answers it: `type`, `severity`, `box`. It does not say in
which numbers a box is given, for that depends on the model (`to_convention`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from refine_iqa.config import PerceptionTask
from refine_iqa.perception.distortions import FAMILIES

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2, ends exclusive."""

NUM_CHOICES = 4
"""Distortions that a multiple-choice question names, the right one among them."""

_SCALE = "from 1 (hardly visible) to 5 (very strong)"
_EDGES = "its edges as [x1, y1, x2, y2]"
_QUESTIONS: Mapping[PerceptionTask, str] = {
    "type": "Which distortion{choices} does this picture have? "
    'Answer with the field "type", its name.',
    "severity": f"This picture has a distortion. How severe is it, {_SCALE}? "
    'Answer with the field "severity", a whole number.',
    "grounding": "One region of this picture is distorted. Where is it? "
    f'Answer with the field "box", {_EDGES}.',
    "joint": "Which distortion{choices} does this picture have, where is it, and how severe is it, "
    f'{_SCALE}? Answer with the fields "type", its name, "severity", a whole number, and "box", '
    f"{_EDGES}, or null where the whole picture is distorted.",
}

_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "gaussian blur": ("gaussian blurring", "gaussian smoothing"),
    "motion blur": ("motion blurring", "directional blur", "camera shake"),
    "defocus blur": ("defocus", "out of focus", "out of focus blur", "lens blur", "disc blur"),
    "gaussian noise": ("white noise", "white gaussian noise", "additive gaussian noise"),
    "impulse noise": ("salt and pepper noise", "salt and pepper", "salt & pepper noise"),
    "jpeg compression": ("jpeg", "jpeg artifacts", "jpeg artefacts", "jpeg compression artifacts"),
    "pixelation": ("pixelate", "pixelated", "pixelization", "mosaic", "pixellation"),
    "overexposure": ("overexposed", "over exposure", "brighten", "brightening", "too bright"),
    "underexposure": ("underexposed", "under exposure", "darken", "darkening", "too dark"),
    "contrast loss": (
        "low contrast",
        "contrast reduction",
        "reduced contrast",
        "contrast decrease",
    ),
    "saturation shift": ("saturation change", "color saturation", "oversaturation", "desaturation"),
    "banding": (
        "color banding",
        "colour banding",
        "posterization",
        "posterisation",
        "quantization",
    ),
}
_CANONICAL = {other: name for name, others in _SYNONYMS.items() for other in others}


def question(
    task: PerceptionTask, family: str, *, multiple_choice: bool, draw: np.random.Generator
) -> str:
    """What is asked about a distorted picture.

    Args:
        task: what is to be told.
        family: the right one, of `FAMILIES`.
        multiple_choice: name four families to choose from, where the type is asked for.
        draw: chooses the other three, and their order.
    """
    named = f" ({', '.join(choices(family, draw))})" if multiple_choice else ""
    return _QUESTIONS[task].replace("{choices}", named)


def choices(family: str, draw: np.random.Generator) -> list[str]:
    """A family and three others, in drawn order."""
    others = [name for name in FAMILIES if name != family]
    chosen = [family, *draw.choice(others, NUM_CHOICES - 1, replace=False).tolist()]
    return [chosen[place] for place in draw.permutation(NUM_CHOICES)]


def canonical(name: str) -> str:
    """The name under which a distortion is compared: small letters, single spaces, no synonyms.

    A distortion that is none of `FAMILIES` keeps its own name, so that other data may have others.
    """
    plain = " ".join(re.sub(r"[\s_-]+", " ", name).casefold().split()).rstrip(".")
    return _CANONICAL.get(plain, plain)


def iou(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of two boxes, 0..1; 0 where one has no area."""
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second) if _has_area(box)]
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if len(areas) < 2 or width <= 0 or height <= 0:
        return 0.0
    return width * height / (sum(areas) - width * height)


def to_convention(
    box: Sequence[float],
    size: tuple[int, int],
    resized: tuple[int, int],
    convention: Literal["pixels", "thousandths"],
) -> tuple[int, int, int, int]:
    """A box as a model says it, in whole numbers.

    Args:
        box: in pixels of the picture as it is stored.
        size: width and height of that picture.
        resized: width and height of the picture that the model sees.
        convention: pixels of the resized picture (Qwen2.5-VL), or thousandths of its sides (Qwen3-VL).
    """
    width, height = resized if convention == "pixels" else (1000, 1000)
    across, down = width / size[0], height / size[1]
    x1, y1, x2, y2 = box
    return round(x1 * across), round(y1 * down), round(x2 * across), round(y2 * down)


def _has_area(box: Sequence[float]) -> bool:
    return box[0] < box[2] and box[1] < box[3]
