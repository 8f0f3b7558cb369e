"""What stands in a completion: its format, its score, its thinking, its JSON answer.

The full pattern P of a scored completion is

    <think> one or more characters </think> <answer> Score: d.dd </answer>

with optional white space around the answer's parts. As one regular expression it takes quadratic time on
repeated tags. Here every step looks at each character a bounded number of times: with Q for P from its
`</think>` on, P occurs where some Q begins at least one character after the end of some `<think>`, and that
is so exactly if it holds for the first `<think>` and the last Q.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator
from typing import Any, Literal, NoReturn, TypeVar

from refine_iqa.data.solutions import HIGHEST, LOWEST

Level = Literal["strict", "tag", "number"]
"""How a score was found: in a completion as asked for, in its last answer tag, or anywhere."""

JSON_LIMIT = 4096
"""Characters of a JSON answer above which it is not read: an answer has a few dozen."""

TAIL = 4096
"""Characters at a text's end in which a bare number is looked for."""

_OPEN, _CLOSE = "<think>", "</think>"
_ANSWER, _END = "<answer>", "</answer>"
_TAG = re.compile(r"<answer>\s*+Score:\s*+(\d\.\d\d)\s*+</answer>")
_Q = re.compile(r"</think>\s*+" + _TAG.pattern)
_LOOSE_TAG = re.compile(r"<answer>\s*+(?:Score\s*+:?\s*+)?([1-5](?:\.\d++)?)(?![.,]?\w)")
_NUMBER = re.compile(r"(?<![\w.,/+-])[1-5](?:\.\d++)?(?![.,]?\w)")
_FENCE = re.compile(r"\A\s*+```(?:json)?|```\s*\Z")

T = TypeVar("T")


def has_format(text: str) -> bool:
    """Whether the full pattern P occurs anywhere."""
    return _is_thought_through(text, text.find(_OPEN))


def strict_score(text: str) -> float | None:
    """The score of the last answer tag, if P matches at the very start; text may follow.

    Digits are what Unicode takes for decimal digits, and 0.00 and 9.99 are scores too, as the authors'
    code has it.
    """
    if not text.startswith(_OPEN) or not _is_thought_through(text, 0):
        return None
    return float(_last_tag(text)[1])  # type: ignore[index]  # P ends with a tag


def score_span(text: str) -> tuple[int, int] | None:
    """Where the d.dd of the last answer tag stands, as offsets into the text; None without such a tag."""
    tag = _last_tag(text)
    return tag.span(1) if tag else None


def parse_score(text: str) -> tuple[float | None, Level | None]:
    """The score in 1..5 that a completion means, and how it was found; (None, None) without any.

    Tried in this order: `strict_score`; the number with which the last `<answer>` begins ("Score: 4",
    "3.5"); the last number of the text's last `TAIL` characters, "out of 5" and "/5" aside.
    """
    strict = strict_score(text)
    if strict is not None and LOWEST <= strict <= HIGHEST:
        return strict, "strict"
    tag = _LOOSE_TAG.match(text, max(0, text.rfind(_ANSWER)))
    if tag and float(tag[1]) <= HIGHEST:
        return float(tag[1]), "tag"
    found = _NUMBER.finditer(text, max(0, len(text) - TAIL))
    number = _last(float(one[0]) for one in found if _is_rating(one))
    return (None, None) if number is None else (number, "number")


def think_of(text: str) -> str | None:
    """The thinking, stripped: from the first `<think>` to its end tag, or the answer, or the text's end."""
    _, opening, rest = text.partition(_OPEN)
    if not opening:
        return None
    thought, closing, _ = rest.partition(_CLOSE)
    return (thought if closing else rest.partition(_ANSWER)[0]).strip()


def answer_json(text: str) -> dict[str, Any] | None:
    """The JSON object of the last whole answer tag, also from a ```json block; None where there is none.

    NaN and infinities, other JSON values and more than `JSON_LIMIT` characters are no answer.
    """
    start, end = _last_answer(text)
    if start < 0 or end - start > JSON_LIMIT:
        return None
    try:
        answer = json.loads(_FENCE.sub("", text[start:end]), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def has_json_format(text: str) -> bool:
    """Whether the last whole answer tag holds a JSON object, and right before it a thought ends."""
    start, _ = _last_answer(text)
    before = text[: max(0, start - len(_ANSWER))].rstrip()
    opening = text.find(_OPEN)
    return (
        start >= 0
        and before.endswith(_CLOSE)
        and 0 <= opening < len(before) - len(_CLOSE) - len(_OPEN)
        and answer_json(text) is not None
    )


def _is_thought_through(text: str, opening: int) -> bool:
    """Whether a Q follows the `<think>` at `opening`, with something in between."""
    last = _last(_Q.finditer(text)) if opening >= 0 else None
    return last is not None and last.start() > opening + len(_OPEN)


def _is_rating(number: re.Match[str]) -> bool:
    before = number.string[max(0, number.start() - 10) : number.start()].rstrip()
    return float(number[0]) <= HIGHEST and not before.endswith(("/", "out of"))


def _last_tag(text: str) -> re.Match[str] | None:
    return _last(_TAG.finditer(text))


def _last_answer(text: str) -> tuple[int, int]:
    """Where the content of the last whole answer tag starts and ends; starts at -1 without one."""
    end = text.rfind(_END)
    start = text.rfind(_ANSWER, 0, max(end, 0))
    return (start + len(_ANSWER), end) if start >= 0 else (-1, end)


def _last(items: Iterator[T]) -> T | None:
    kept = deque(items, maxlen=1)
    return kept[0] if kept else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
