"""Boxes in the numbers that a model says: pixels of the picture it sees, or thousandths of its sides."""

from __future__ import annotations

from typing import Any, Literal, cast

from refine_iqa.config import BoxConvention
from refine_iqa.data.rows import Row
from refine_iqa.data.solutions import Perceived
from refine_iqa.perception.questions import to_convention

Said = Literal["pixels", "thousandths"]

_WORDING: dict[Said, str] = {
    "pixels": "Edges are counted in pixels of the picture as you see it.",
    "thousandths": "Edges are counted in thousandths of the picture's width and height.",
}
_WITH_A_BOX = ("grounding", "joint")


def boxes_said(model_type: str, asked: BoxConvention = "auto") -> Said:
    """How a model says boxes: as asked, or as its family was trained to."""
    if asked != "auto":
        return asked
    return "thousandths" if model_type == "qwen3_vl" else "pixels"


def question_of(row: Row, said: Said) -> str:
    """A row's question; where its answer has a box, with the numbers that are meant."""
    return f"{row.question} {_WORDING[said]}" if row.task in _WITH_A_BOX else row.question


def perceived(row: Row, seen: tuple[int, int], said: Said) -> Perceived:
    """What is to be perceived, its box as the model says boxes.

    Args:
        row: of a perception task.
        seen: width and height of the picture that the model sees.
        said: the numbers of boxes.
    """
    solution = cast("Perceived", row.solution)
    box: Any = solution["box"]
    if box is not None and row.size is not None:
        box = to_convention(box, row.size, seen, said)
    return {**solution, "box": box}
