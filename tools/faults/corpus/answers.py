"""Text as no model should write it, but may: fuzzed completions, and a megabyte made to be slow."""

from __future__ import annotations

import random

_PIECES = (
    "<think>", "</think>", "<answer>", "</answer>", "<answer>Score: 3.50</answer>", "Score:", "3.46",
    "9.99", "nan", "1e999", "-1", "5", "/5", "out of 5", " ", "\n", "\0", "\u202e", "\ud800", "٣.٤٦",
    "²", "½", "x", "{", "}", '{"type": "blur"}', "```json", "```", "[[", "NaN", "<", ">", "&", "\\",
    "__import__('os').system('touch CANARY')", "{{7*7}}", "%s", "$(touch CANARY)",
)  # fmt: skip


def completions(count: int, seed: int) -> list[str]:
    """Random texts of tags, numbers, JSON and code, 0 to 60 pieces long."""
    draw = random.Random(seed)
    return ["".join(draw.choices(_PIECES, k=draw.randrange(61))) for _ in range(count)]


def slow_texts(length: int) -> dict[str, str]:
    """Texts of `length` characters on which a careless pattern takes quadratic time or worse."""
    patterns = {
        "open tags": "<think>",
        "close tags": "</think>",
        "answers not closed": "<answer>",
        "spaces after a close": "</think>" + " " * 4000,
        "spaces in an answer": "<answer>Score:" + " " * 4000,
        "answers without end": "</think> <answer> Score: 3.46 ",
        "whole answers": "<think>x</think><answer>Score: 3.46</answer>",
        "spaces": " ",
        "line breaks": "\n",
        "digits": "1",
        "digits and points": "3.",
        "numbers": "3.5 ",
        "braces": "{",
        "brackets": "[",
        "quotes": '"',
        "backslashes": "\\",
        "fences": "```json\n",
        "NULs": "\0",
        "letters": "a",
        "wide letters": "\U0001f600",
    }
    texts = {name: (part * (length // len(part) + 1))[:length] for name, part in patterns.items()}
    inside = "<think>x</think><answer>"
    return texts | {
        f"{name} in an answer": f"{inside}{text[: length - 40]}</answer>"
        for name, text in texts.items()
        if name in ("braces", "brackets", "quotes", "backslashes", "digits", "spaces")
    }
