"""What is known of a picture or video once it was scored."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refine_iqa.rewards.text import Level

COLUMNS = ("path", "score", "std", "think", "raw", "parsed", "level", "seconds", "error")
"""Of a table of predictions."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The score of one image or video.

    Attributes:
        path: the file; None for a picture in memory, and the first of several.
        score: 1 (bad) to 5 (excellent); NaN where the file could not be read.
        std: deviation of what the model believes (modes direct and levels, and an answer without a score),
            or of several answers' scores; None for a single answer.
        think: the reasoning; None without any.
        raw: what the model wrote; None where it wrote nothing. Of several answers, the one whose score is
            nearest to their mean.
        parsed: whether a score was found in what the model wrote; None where it wrote nothing.
        level: how it was found: "strict", "tag" or "number", see `rewards.text.parse_score`.
        seconds: wall clock: reading the file, and its share of its batch.
        error: why the file could not be read; None of any other.
    """

    path: Path | None = None
    score: float = math.nan
    std: float | None = None
    think: str | None = None
    raw: str | None = None
    parsed: bool | None = None
    level: Level | None = None
    seconds: float = 0.0
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Everything, for a line of a file."""
        return {name: getattr(self, name) for name in COLUMNS}
