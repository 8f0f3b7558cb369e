"""Prompts: what is asked, in which form, and in which order pictures, times and text come."""

from __future__ import annotations

import re

import pytest

from refine_iqa.data.prompts import (
    ANSWER_OPENING,
    NO_THINK_TEMPLATE,
    PERCEPTION_TEMPLATE,
    QUESTION_IMAGE,
    QUESTION_VIDEO,
    THINK_TEMPLATE,
    fill,
    messages,
    read_template,
)
from shared_core.errors import ConfigError


@pytest.mark.parametrize("template", [THINK_TEMPLATE, NO_THINK_TEMPLATE, PERCEPTION_TEMPLATE])
def test_each_template_takes_the_question_once(template):
    assert template.count("{question}") == 1
    assert fill(template, "Why {so}?").startswith("Why {so}?\n")


def test_a_score_is_asked_for_in_two_decimals_and_in_its_tags():
    for template in (THINK_TEMPLATE, NO_THINK_TEMPLATE):
        assert "exactly two decimals" in template
        assert ANSWER_OPENING + "X.YZ</answer>" in template
    assert "<think>" in THINK_TEMPLATE
    assert "<think>" not in NO_THINK_TEMPLATE


def test_an_image_is_not_called_a_video():
    for text in (QUESTION_IMAGE, THINK_TEMPLATE, NO_THINK_TEMPLATE, PERCEPTION_TEMPLATE):
        assert not re.search("video|audio", text, re.IGNORECASE)
    assert "video" in QUESTION_VIDEO
    assert "audio" not in QUESTION_VIDEO


def test_the_question_about_a_video_fits_both_ways_of_showing_it():
    """The model's own video input has no times between the frames, and some models none at all."""
    assert "in their order" in QUESTION_VIDEO
    assert not re.search(r"\btimes?\b|images", QUESTION_VIDEO)


def test_images_come_before_the_text():
    (turn,) = messages("How?", pictures=2)
    assert turn == {
        "role": "user",
        "content": [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "How?"}],
    }
    assert turn["content"][0] is not turn["content"][1]


def test_each_frame_follows_its_time():
    (turn,) = messages("How?", times_s=(0.0, 1.25))
    assert turn["content"] == [
        {"type": "text", "text": "0.0 s"},
        {"type": "image"},
        {"type": "text", "text": "1.2 s"},
        {"type": "image"},
        {"type": "text", "text": "How?"},
    ]


def test_a_template_of_ones_own_is_read(tmp_path):
    path = tmp_path / "ask.txt"
    path.write_text("\nSag mir: {question} Schön.\n", encoding="utf-8")
    assert fill(read_template(path, "think_template"), "Wie?") == "Sag mir: Wie? Schön."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no slot", "once, not 0 times"),
        (b"{question} {question}", "once, not 2 times"),
        (b"\xff{question}", "UTF-8"),
        (None, "No such file"),
    ],
)
def test_a_template_that_cannot_be_used_names_its_setting(tmp_path, content, message):
    path = tmp_path / "ask.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"no_think_template: .*{message}"):
        read_template(path, "no_think_template")
