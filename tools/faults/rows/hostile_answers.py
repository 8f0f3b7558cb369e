"""What a language model may write, through everything of refine-iqa that reads it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from refine_iqa.rewards.scoring import (
    answer_reward,
    format_reward,
    range_reward,
    soft_answer_reward,
)
from refine_iqa.rewards.text import (
    answer_json,
    has_json_format,
    parse_score,
    score_span,
    strict_score,
    think_of,
)
from tools.faults.corpus.answers import completions, slow_texts
from tools.faults.row import Options, Row, Trials, expect
from tools.faults.subject import Subject
from tools.faults.table import Figure

NAME = "hostile-answer"
WANTED = "a score or none; 1 MB below 50 ms of CPU"
_FUZZED = 2000
_LENGTH = 10**6
_LONGEST_S = 0.05

_READERS: dict[str, Callable[[str], object]] = {
    "format_reward": format_reward,
    "strict_score": strict_score,
    "score_span": score_span,
    "parse_score": parse_score,
    "think_of": think_of,
    "answer_json": answer_json,
    "has_json_format": has_json_format,
    "answer_reward": lambda text: answer_reward(text, 3.0),
    "soft_answer_reward": lambda text: soft_answer_reward(text, 3.0),
    "range_reward": range_reward,
}


def run(subject: Subject, options: Options) -> Figure:
    """Fuzzed texts through every reader, then texts of a million characters made to be slow."""
    trials = Trials(NAME, subject, WANTED)
    canary = options.folder / "canary"
    for number, text in enumerate(completions(_FUZZED, options.seed)):
        asked = text.replace("CANARY", str(canary))
        with trials.trial(f"fuzzed {number}"):
            for name, read in _READERS.items():
                _in_range(name, read(asked))
            expect(not canary.exists(), "it was run")
    slowest, which = 0.0, ""
    for name, text in slow_texts(_LENGTH).items():
        for reader, read in _READERS.items():
            with trials.trial(f"{name}, {reader}"):
                seconds = min(_seconds(read, text) for _ in range(3))
                if seconds > slowest:
                    slowest, which = seconds, f"{reader} of {name}"
                expect(seconds < _LONGEST_S, f"{1000 * seconds:.0f} ms")
    told = f"{len(_READERS)} readers; slowest {1000 * slowest:.1f} ms of CPU: {which}"
    return replace(trials.figure(told), package="refine-iqa")


def _seconds(read: Callable[[str], object], text: str) -> float:
    begun = time.thread_time()
    read(text)
    return time.thread_time() - begun


def _in_range(reader: str, found: object) -> None:
    if reader.endswith("reward"):
        expect(isinstance(found, float) and 0 <= found <= 1, f"{reader} gave {found!r}")
    if reader == "parse_score":
        score = found[0] if isinstance(found, tuple) else None
        expect(score is None or 1 <= score <= 5, f"{reader} gave {found!r}")


ROWS = (Row(name=NAME, wanted=WANTED, run=run, per_package=False),)
