"""Rewards of completions that name a distortion, its severity and its box, as JSON in the answer tag.

    <answer>{"type": "gaussian blur", "severity": 3, "box": [12, 40, 96, 128]}</answer>

`truth` is a row's solution with the same names. What is missing, or cannot be read, earns 0; nothing else of
the completion's form counts here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from refine_iqa.perception.questions import Box, canonical, iou
from refine_iqa.rewards.text import answer_json, has_json_format

MOST_STEPS = 4
"""Between the least severity and the greatest."""

_BOX_NAMES = ("box", "bbox_2d")
"""The one that is asked for, and the one that Qwen's models were taught."""


def json_format_reward(completion: str) -> float:
    """1 where thinking is followed by an answer that holds a JSON object, else 0."""
    return float(has_json_format(completion))


def type_reward(completion: str, truth: Mapping[str, Any]) -> float:
    """1 where the named distortion is the right one, by any of its names, else 0."""
    return _type(answer_json(completion) or {}, truth)


def severity_reward(completion: str, truth: Mapping[str, Any]) -> float:
    """max(0, 1 - |s - s*| / 4): off by one step earns 0.75."""
    return _severity(answer_json(completion) or {}, truth)


def grounding_reward(completion: str, truth: Mapping[str, Any]) -> float:
    """Intersection over union with the true box, 0..1; a box without area earns 0."""
    return _grounding(answer_json(completion) or {}, truth)


def joint_reward(
    completion: str, truth: Mapping[str, Any], *, severity_needs_type: bool = True
) -> float:
    """Sum of the other three, 0..3.

    Where there is no true box, the picture is distorted everywhere, and the answer must say so: an explicit
    `"box": null` earns 1.

    Args:
        completion: what the model wrote.
        truth: the row's solution.
        severity_needs_type: severity earns only where the type is right.
    """
    answer = answer_json(completion) or {}
    kind = _type(answer, truth)
    severity = _severity(answer, truth) if kind or not severity_needs_type else 0.0
    return kind + severity + _grounding(answer, truth)


def _type(answer: Mapping[str, Any], truth: Mapping[str, Any]) -> float:
    said = answer.get("type")
    return float(isinstance(said, str) and canonical(said) == canonical(truth["type"]))


def _severity(answer: Mapping[str, Any], truth: Mapping[str, Any]) -> float:
    said = _number(answer.get("severity"))
    return 0.0 if said is None else max(0.0, 1 - abs(said - truth["severity"]) / MOST_STEPS)


def _grounding(answer: Mapping[str, Any], truth: Mapping[str, Any]) -> float:
    name = next((name for name in _BOX_NAMES if name in answer), None)
    if name is None:
        return 0.0
    if truth["box"] is None:
        return float(answer[name] is None)
    said = _box(answer[name])
    return 0.0 if said is None else iou(said, truth["box"])


def _box(value: object) -> Box | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    x1, y1, x2, y2 = (_number(edge) for edge in value)
    if x1 is None or y1 is None or x2 is None or y2 is None:
        return None
    return x1, y1, x2, y2


def _number(value: object) -> float | None:
    """A finite number, also as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
