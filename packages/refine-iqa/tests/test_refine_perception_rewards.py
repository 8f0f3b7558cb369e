"""Rewards of answers about distortions: types by any name, severities, boxes, and all together."""

from __future__ import annotations

import json

import pytest

from refine_iqa.perception.distortions import FAMILIES
from refine_iqa.rewards.perception import (
    grounding_reward,
    joint_reward,
    json_format_reward,
    severity_reward,
    type_reward,
)
from refine_iqa.rewards.registry import PERCEPTION, TASKS, build

TRUTH = {"type": "gaussian blur", "severity": 3, "box": (10, 20, 110, 70)}


def answer(**fields):
    return f"<think>x</think><answer>{json.dumps(fields)}</answer>"


@pytest.mark.parametrize(
    "said", ["gaussian blur", "Gaussian Blur", "gaussian_blur", " GAUSSIAN-blur. ", "gaussian blurring"]
)  # fmt: skip
def test_a_type_counts_by_any_of_its_names(said):
    assert type_reward(answer(type=said), TRUTH) == 1


@pytest.mark.parametrize("said", ["motion blur", "blur", "", 3, None, ["gaussian blur"]])
def test_another_type_counts_nothing(said):
    assert type_reward(answer(type=said), TRUTH) == 0


def test_types_of_other_data_keep_their_names():
    truth = {"type": "Lens_Flare", "severity": 1, "box": None}
    assert type_reward(answer(type="lens flare"), truth) == 1
    assert type_reward(answer(type="flare"), truth) == 0


def test_every_family_is_its_own_name_and_no_other():
    for name in FAMILIES:
        for other in FAMILIES:
            assert type_reward(answer(type=name), {"type": other}) == (name == other)


@pytest.mark.parametrize(
    ("said", "reward"),
    [(3, 1), (2, 0.75), (4, 0.75), ("4", 0.75), (5, 0.5), (1, 0.5), (3.5, 0.875), (8, 0), (-40, 0)],
)
def test_acceptance_24_a_severity_off_by_one_earns_three_quarters(said, reward):
    assert severity_reward(answer(severity=said), TRUTH) == reward


@pytest.mark.parametrize("said", [None, True, "three", [3], {"x": 3}])
def test_what_is_no_number_is_no_severity(said):
    assert severity_reward(answer(severity=said), TRUTH) == 0


@pytest.mark.parametrize("text", ["1e999", "-1e999", "1" * 400])
def test_numbers_beyond_all_bounds_earn_nothing(text):
    assert severity_reward(f'<answer>{{"severity": {text}}}</answer>', TRUTH) == 0
    assert grounding_reward(f'<answer>{{"box": [0, 0, {text}, 5]}}</answer>', TRUTH) == 0


def covered(box, size=160):
    """The pixels of a box, by counting."""
    x1, y1, x2, y2 = box
    return {(x, y) for x in range(size) for y in range(size) if x1 <= x < x2 and y1 <= y < y2}


@pytest.mark.parametrize(
    "said", [(10, 20, 110, 70), (0, 0, 60, 60), (50, 30, 60, 40), (5, 5, 150, 150)]
)
def test_grounding_is_the_share_of_common_pixels(said):
    common, either = covered(said) & covered(TRUTH["box"]), covered(said) | covered(TRUTH["box"])
    expected = pytest.approx(len(common) / len(either), abs=1e-12)
    assert grounding_reward(answer(box=said), TRUTH) == expected
    assert grounding_reward(answer(bbox_2d=said), TRUTH) == expected


@pytest.mark.parametrize(
    "said",
    [
        (110, 20, 120, 70),
        (200, 200, 300, 300),
        (10, 70, 110, 71),
    ],  # the first and last touch the box
)
def test_acceptance_24_a_disjoint_box_earns_nothing(said):
    assert grounding_reward(answer(box=said), TRUTH) == 0


@pytest.mark.parametrize(
    "said",
    [None, [], [1, 2, 3], [1, 2, 3, "x"], [30, 30, 30, 60], [110, 70, 10, 20], [1, 2, 3, None], "box", 7],
)  # fmt: skip
def test_what_is_no_box_earns_nothing(said):
    assert grounding_reward(answer(box=said), TRUTH) == 0


def test_a_joint_answer_earns_the_sum_and_severity_only_with_the_type():
    right = {"type": "gaussian blur", "severity": 2, "box": [10, 20, 60, 70]}
    assert joint_reward(answer(**right), TRUTH) == pytest.approx(1 + 0.75 + 0.5)
    wrong = answer(**right | {"type": "banding"})
    assert joint_reward(wrong, TRUTH) == pytest.approx(0.5)
    assert joint_reward(wrong, TRUTH, severity_needs_type=False) == pytest.approx(0.75 + 0.5)


def test_a_picture_distorted_everywhere_has_no_box_to_say():
    truth = TRUTH | {"box": None}
    known = {"type": "gaussian blur", "severity": 3}
    assert joint_reward(answer(**known, box=None), truth) == 3
    assert joint_reward(answer(**known, box=[0, 0, 10, 10]), truth) == 2
    assert joint_reward(answer(**known), truth) == 2


@pytest.mark.parametrize(
    "text", ["", "gaussian blur", "<answer>{", "<answer>[3]</answer>", "<answer>" * 9]
)
def test_what_cannot_be_read_earns_nothing(text):
    assert json_format_reward(text) == 0
    for reward in (type_reward, severity_reward, grounding_reward, joint_reward):
        assert reward(text, TRUTH) == 0


def test_acceptance_24_rows_of_other_tasks_have_no_reward():
    text = answer(type="gaussian blur", severity=3, box=TRUTH["box"])
    solutions = [3.0 if task == "scoring" else TRUTH for task in TASKS]
    for name, value in zip(PERCEPTION, (1, 1, 1, 3), strict=True):
        (reward,) = build([name])
        values = reward([text] * len(TASKS), list(TASKS), solutions)
        assert values == [value if task == name else None for task in TASKS]
        assert reward.failures == 0


def test_a_solution_may_be_json_text():
    (joint,) = build(["joint"])
    text = answer(type="gaussian blur", severity=3, box=TRUTH["box"])
    assert joint([text], ["joint"], [json.dumps(TRUTH)]) == [3]
