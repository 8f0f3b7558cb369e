"""The values of a row: scores on their scale, and what is to be perceived of a distortion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

LOWEST, HIGHEST = 1.0, 5.0
"""The scale of a MOS."""

Box = tuple[float, float, float, float]


class Unusable(Exception):  # noqa: N818 - becomes a DataError where the place is known
    """A value of a row that cannot be used.

    Args:
        found: what is there.
        expected: what should have been there.
    """

    def __init__(self, found: object, expected: str) -> None:
        super().__init__(f"expected {expected}, found {found}")
        self.found, self.expected = str(found), expected


class Perceived(TypedDict):
    """The solution of a perception row; None for what its task does not ask."""

    type: str | None
    """Distortion family."""
    severity: int | None
    """1 (faint) to 5 (strong)."""
    box: Box | None
    """x1, y1, x2, y2 in pixels of the picture as it is stored, ends exclusive."""


@dataclass(frozen=True)
class Scale:
    """A table's own scale of scores, mapped linearly to that of a MOS."""

    low: float = LOWEST
    high: float = HIGHEST

    @property
    def step(self) -> float:
        """Points of a MOS for one of this."""
        return (HIGHEST - LOWEST) / (self.high - self.low)


def scale_of(value: object) -> Scale:
    """The scale of a row that gives `[lowest, highest]`, or None for that of a MOS.

    Raises:
        Unusable: not two numbers, or the first is not the smaller one.
    """
    if value is None:
        return Scale()
    expected = "a scale of two numbers, [lowest, highest]"
    if not isinstance(value, list) or len(value) != 2:
        raise Unusable(_shown(value), expected)
    low, high = (_number(bound, expected) for bound in value)
    if not low < high:
        raise Unusable(value, expected)
    return Scale(low, high)


def mos_of(value: object, scale: Scale) -> float:
    """A score, a number or its text, as MOS: 1..5.

    Raises:
        Unusable: no finite number, or outside its scale.
    """
    expected = f"a score from {scale.low:g} to {scale.high:g} in 'solution'"
    score = _number(value, expected)
    if not scale.low <= score <= scale.high:
        raise Unusable(f"{score:g}", expected)
    if scale == Scale():
        return score  # as it is written, without the rounding of the map
    return LOWEST + (score - scale.low) * scale.step


def std_of(value: object, scale: Scale) -> float | None:
    """A standard deviation of opinions, in points of a MOS; None for none.

    Raises:
        Unusable: no finite number, or below 0.
    """
    if value is None:
        return None
    expected = "a standard deviation of 0 or more in 'std'"
    std = _number(value, expected)
    if std < 0:
        raise Unusable(f"{std:g}", expected)
    return std * scale.step


def size_of(value: object) -> tuple[int, int] | None:
    """Width and height in pixels; None for none.

    Raises:
        Unusable: not two whole numbers above 0.
    """
    if value is None:
        return None
    if isinstance(value, list) and len(value) == 2:
        width, height = value
        if type(width) is int and type(height) is int and width > 0 and height > 0:
            return width, height
    raise Unusable(_shown(value), "a size of two whole numbers, [width, height]")


def perceived_of(value: object, task: str, size: tuple[int, int] | None) -> Perceived:
    """The solution of a perception row, complete for its task.

    Args:
        value: an object with `type`, `severity` and `box`.
        task: type, severity, grounding or joint (type and severity, and a box where there is one).
        size: width and height of the picture that the box lies in.

    Raises:
        Unusable: what the task asks is not there, a severity other than 1 to 5, or a box without
            area or outside the picture.
    """
    if not isinstance(value, Mapping):
        raise Unusable(_shown(value), f"a solution of the task {task}: an object")
    kind = text_of(value, "type")
    severity, box = _severity(value.get("severity")), _box(value.get("box"), size)
    missing = {
        "type": kind is None and task in ("type", "joint"),
        "severity": severity is None and task in ("severity", "joint"),
        "box": box is None and task == "grounding",
    }
    for name, is_missing in missing.items():
        if is_missing:
            raise Unusable("none", f"{name!r} in the solution of the task {task}")
    return Perceived(type=kind, severity=severity, box=box)


def text_of(values: Mapping[str, object], name: str) -> str | None:
    """A text by its name; None where there is none.

    Raises:
        Unusable: it is empty, or no text.
    """
    value = values.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise Unusable(_shown(value), f"text in {name!r}, or none at all")
    return value


def _number(value: object, expected: str) -> float:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise Unusable(_shown(value), expected)


def _severity(value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= 5:
        raise Unusable(_shown(value), "a severity from 1 to 5")
    return value


def _box(value: object, size: tuple[int, int] | None) -> Box | None:
    if value is None:
        return None
    if size is None:
        raise Unusable("none", "a 'size' of the picture that the box lies in")
    expected = f"a box [x1, y1, x2, y2] inside {size[0]} x {size[1]} pixels"
    if not isinstance(value, list) or len(value) != 4:
        raise Unusable(_shown(value), expected)
    x1, y1, x2, y2 = (_number(edge, expected) for edge in value)
    if not (0 <= x1 < x2 <= size[0] and 0 <= y1 < y2 <= size[1]):
        raise Unusable(value, expected)
    return x1, y1, x2, y2


def _shown(value: object) -> str:
    return "none" if value is None else repr(value)[:80]
