"""What the model is told: questions, the two templates, and the messages around pictures and frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refine_iqa.config import MediaSettings
from shared_core.errors import ConfigError

SLOT = "{question}"
"""Where a template takes the question."""

QUESTION_IMAGE = (
    "How good is the visual quality of this image, from 1.00 (bad) to 5.00 (excellent)? "
    "Consider sharpness, noise, compression artefacts, exposure, contrast and colour."
)
"""Asked about an image whose row has no question."""

QUESTION_VIDEO = (
    "How good is the visual quality of this video, from 1.00 (bad) to 5.00 (excellent)? Its frames are "
    "shown in their order. Consider sharpness, noise, compression artefacts, exposure, "
    "colour, and how steady and smooth the motion is."
)
"""Asked about a video whose row has no question."""

_FORM = "<answer>Score: X.YZ</answer>, where X.YZ is a number from 1.00 to 5.00 with exactly two decimals"

THINK_TEMPLATE = (
    f"{SLOT}\n"
    "First reason about what you see inside <think> and </think>. Then give your score in the form "
    f"{_FORM}."
)
"""Asks for reasoning, then the score."""

NO_THINK_TEMPLATE = f"{SLOT}\nGive only your score, in the form {_FORM}."
"""Asks for the score alone."""

PERCEPTION_TEMPLATE = (
    f"{SLOT}\n"
    "First reason about what you see inside <think> and </think>. Then give your answer as JSON inside "
    "<answer> and </answer>."
)
"""Asks for reasoning, then an answer about a distortion, whose fields the question names."""

ANSWER_OPENING = "<answer>Score: "
"""What stands before the digits of a score."""


def read_template(path: Path, field: str) -> str:
    """A template from a UTF-8 text file; `field` is the setting that names it, for messages.

    Raises:
        ConfigError: the file cannot be read, or does not hold `{question}` exactly once.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(field, str(path), f"a UTF-8 text file ({error})") from error
    if text.count(SLOT) != 1:
        raise ConfigError(
            field, str(path), f"a text with {SLOT} once, not {text.count(SLOT)} times"
        )
    return text


@dataclass(frozen=True)
class Templates:
    """How the model is told to answer a question about quality: with reasoning, and without."""

    think: str
    no_think: str

    @classmethod
    def of(cls, settings: MediaSettings) -> Templates:
        """Those of a command's settings, or ours.

        Raises:
            ConfigError: a template file cannot be read, or has no slot for the question.
        """
        think, no_think = settings.think_template, settings.no_think_template
        return cls(
            read_template(think, "think_template") if think else THINK_TEMPLATE,
            read_template(no_think, "no_think_template") if no_think else NO_THINK_TEMPLATE,
        )


def fill(template: str, question: str) -> str:
    """A template with its question; other braces in either stay as they are."""
    return template.replace(SLOT, question)


def messages(
    text: str, *, pictures: int = 1, times_s: Sequence[float] = ()
) -> list[dict[str, Any]]:
    """A conversation of one user turn: places for pictures, then the text.

    Args:
        text: the filled template.
        pictures: number of images; not read where there are times.
        times_s: when each frame of a video is shown, in seconds: every frame follows its time ("2.0 s").
    """
    content: list[dict[str, str]] = []
    for time_s in times_s:
        content += [{"type": "text", "text": f"{time_s:.1f} s"}, {"type": "image"}]
    if not times_s:
        content += [{"type": "image"} for _ in range(pictures)]
    return [{"role": "user", "content": [*content, {"type": "text", "text": text}]}]
