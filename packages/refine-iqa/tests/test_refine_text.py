"""Completions: what counts as the format, which score counts, and that no text takes long to read."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refine_iqa.rewards.scoring import answer_reward, format_reward
from refine_iqa.rewards.text import (
    answer_json,
    has_format,
    has_json_format,
    parse_score,
    score_span,
    strict_score,
    think_of,
)

SLOW_P = re.compile(r"<think>.+?</think>\s*<answer>\s*Score:\s*\d\.\d\d\s*</answer>", re.DOTALL)
SLOW_TAG = re.compile(r"<answer>\s*Score:\s*(\d\.\d\d)\s*</answer>")
PIECES = ("<think>", "</think>", "<answer>", "</answer>", "Score:", "3.46", "1.00", " ", "\n", "x")
PIECES += (
    "<answer>Score: 2.50</answer>",
    "</think><answer>Score: 4.00</answer>",
    "٣.٤٦",
    "<",
    "think>",
)
TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


def block(think, score):
    return f"<think>{think}</think><answer>Score: {score}</answer>"


def rewards(text, mos):
    return format_reward(text), answer_reward(text, mos)


@settings(max_examples=1500, deadline=None)
@given(TEXTS)
def test_the_format_is_that_of_the_pattern_as_one_expression(text):
    assert has_format(text) == bool(SLOW_P.search(text))


@settings(max_examples=1500, deadline=None)
@given(TEXTS)
def test_the_strict_score_is_the_last_tag_of_a_text_that_the_pattern_opens(text):
    scores = SLOW_TAG.findall(text)
    assert strict_score(text) == (float(scores[-1]) if SLOW_P.match(text) else None)
    spans = [found.span(1) for found in SLOW_TAG.finditer(text)]
    assert score_span(text) == (spans[-1] if spans else None)


@pytest.mark.parametrize(("score", "right"), [("3.96", 1), ("3.97", 0), ("2.96", 1), ("2.95", 0)])
def test_acceptance_01_the_threshold_belongs_to_the_right_scores_on_both_sides(score, right):
    assert answer_reward(block("x", score), 3.46) == right


def test_the_threshold_can_be_chosen():
    assert answer_reward(block("x", "3.80"), 3.46, threshold=0.35) == 1
    assert answer_reward(block("x", "3.82"), 3.46, threshold=0.35) == 0


@pytest.mark.parametrize("score", ["3.5", "3.460", "13.46", "-3.46"])
def test_acceptance_02_only_one_digit_a_point_and_two_digits_are_a_score(score):
    assert rewards(block("x", score), 3.46) == (0, 0)


@pytest.mark.parametrize("word", ["Score :", "score:", "Score"])
def test_acceptance_02_the_word_before_the_score_is_exact(word):
    assert rewards(f"<think>x</think><answer>{word} 3.46</answer>", 3.46) == (0, 0)


def test_acceptance_03_what_comes_before_costs_the_answer_and_what_follows_nothing():
    assert rewards(" " + block("x", "3.46"), 3.46) == (1, 0)
    assert rewards("Well: " + block("x", "3.46"), 3.46) == (1, 0)
    assert rewards(block("x", "3.46") + " That is all.", 3.46) == (1, 1)


def test_acceptance_04_of_two_blocks_the_last_score_counts():
    assert rewards(block("x", "1.00") + block("x", "3.46"), 3.46) == (1, 1)
    assert rewards(block("x", "3.46") + block("x", "1.00"), 3.46) == (1, 0)


def test_acceptance_05_an_empty_thought_is_none_and_a_space_is_one():
    assert rewards(block("", "3.46"), 3.46) == (0, 0)
    assert rewards(block(" ", "3.46"), 3.46) == (1, 1)


def test_any_decimal_digits_and_any_value_are_a_score():
    assert strict_score(block("x", "٣.٤٦")) == 3.46
    assert strict_score(block("x", "0.00")) == 0
    assert strict_score(block("x", "9.99")) == 9.99


@pytest.mark.parametrize("text", ["", "<think>", "</answer>", "3.4", "\0", "<answer>" * 3])
def test_a_text_without_a_score_has_none(text):
    assert not has_format(text)
    assert strict_score(text) is None
    assert score_span(text) is None
    assert answer_json(text) is None
    assert not has_json_format(text)


@pytest.mark.parametrize(
    ("text", "score", "level"),
    [
        (block("1 or 2", "3.46"), 3.46, "strict"),
        (" " + block("x", "3.46"), 3.46, "tag"),
        ("<answer>Score: 4</answer>", 4, "tag"),
        ("<answer>3.460</answer> of 5", 3.46, "tag"),
        ("<answer>Score: 4.2/5</answer>", 4.2, "tag"),
        ("<answer>2</answer><answer>3</answer>", 3, "tag"),
        ("<answer>2</answer>, I mean <answer>good</answer>", 2, "number"),
        (block("x", "9.99") + " or rather 3.", 3, "number"),
        ("First 2, then 3.5.", 3.5, "number"),
        ("I say 4.2 out of 5", 4.2, "number"),
        ("4.2 / 5.0", 4.2, "number"),
        ("5", 5, "number"),
    ],
)  # fmt: skip
def test_a_score_is_found_strictly_then_in_the_answer_then_anywhere(text, score, level):
    assert parse_score(text) == (score, level)


@pytest.mark.parametrize(
    "text", ["", "no", "13.46", "-3.46", "0.5", "5.01", "3.5.1", "GPT-4", "1st", "3,5", "7", "v2"]
)
def test_what_is_no_score_is_not_taken_for_one(text):
    assert parse_score(text) == (None, None)


@pytest.mark.parametrize(
    ("text", "thought"),
    [
        (block(" sharp\nand clean ", "3.46"), "sharp\nand clean"),
        ("<think>cut sh", "cut sh"),
        ("<think>no end<answer>Score: 3.46</answer>", "no end"),
        ("<think>a</think><think>b</think>", "a"),
        ("<think></think>", ""),
        ("nothing", None),
    ],
)
def test_the_thinking_is_what_stands_between_its_tags(text, thought):
    assert think_of(text) == thought


def answer(content):
    return f"<think>x</think>\n<answer>{content}</answer>"


def test_the_answer_is_the_last_whole_tags_json_object():
    value = {"type": "banding", "box": [1, 2, 3, 4]}
    text = json.dumps(value)
    assert answer_json(answer(text)) == value
    assert answer_json(answer(f"\n```json\n{text}\n```\n")) == value
    assert answer_json(answer("{}") + answer(text) + "<answer>{") == value
    assert has_json_format(answer(text))


@pytest.mark.parametrize(
    "content",
    ["", "{", "[1]", "3.46", '{"a": NaN}', '{"a": Infinity}', "[" * 2000, '{"a": "' + "x" * 5000 + '"}'],
)  # fmt: skip
def test_anything_else_is_no_json_answer(content):
    assert answer_json(answer(content)) is None
    assert not has_json_format(answer(content))


@pytest.mark.parametrize(
    "text",
    ["<answer>{}</answer>", "<think></think><answer>{}</answer>", "<think>x</think> so <answer>{}</answer>",
     "x</think><answer>{}</answer>", "</think><answer>{}</answer><think>x"],
)  # fmt: skip
def test_a_json_answer_without_a_thought_right_before_it_lacks_the_format(text):
    assert not has_json_format(text)


REPEATED = ("<think>", "</think>", "<answer>", " ", "\n", "<think></think>", "</think> <answer> ")
REPEATED += (
    "</think><answer>Score:",
    block("x", "3.46"),
    "<answer>Score: 3.46",
    "{",
    "[",
    "5",
    "</answer>",
)


@pytest.mark.parametrize("unit", REPEATED)
@pytest.mark.parametrize("opening", ["", "<think>x", "<think>x</think><answer>Score:"])
def test_a_megabyte_of_anything_takes_less_than_50_ms(unit, opening):
    text = opening + unit * (1_000_000 // len(unit))

    def shortest(read):
        times = []
        for _ in range(3):
            start = time.process_time()
            read(text)
            times.append(time.process_time() - start)
        return min(times)

    for read in (has_format, strict_score, score_span, answer_json, has_json_format, parse_score):
        assert shortest(read) < 0.05, read.__name__
