"""Questions about distortions, their choices and names, and boxes as models say them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refine_iqa.data.pictures import smart_size
from refine_iqa.perception.database import AREAS, SHORTEST_SIDE, drawn_box, generator
from refine_iqa.perception.distortions import FAMILIES
from refine_iqa.perception.questions import canonical, choices, iou, question, to_convention

SIDES = st.integers(SHORTEST_SIDE, 4000)


def ask(task, family="banding", *, multiple_choice=True, seed=0):
    draw = np.random.default_rng(seed)
    return question(task, family, multiple_choice=multiple_choice, draw=draw)


@pytest.mark.parametrize("task", ["type", "severity", "grounding", "joint"])
def test_a_question_names_the_fields_of_its_answer_and_no_others(task):
    fields = (
        {"type", "severity", "box"} if task == "joint" else {"grounding": {"box"}}.get(task, {task})
    )
    asked = ask(task)
    assert {name for name in ("type", "severity", "box") if f'"{name}"' in asked} == fields
    assert "{" not in asked


@pytest.mark.parametrize("task", ["type", "joint"])
def test_four_distortions_are_offered_or_none(task):
    offered = [name for name in FAMILIES if name in ask(task)]
    assert len(offered) == 4
    assert "banding" in offered
    assert not [name for name in FAMILIES if name in ask(task, multiple_choice=False)]


def test_the_right_choice_stands_anywhere_and_every_other_beside_it():
    places, others = Counter(), Counter()
    for seed in range(400):
        offered = choices("banding", np.random.default_rng(seed))
        assert len(set(offered)) == 4
        places[offered.index("banding")] += 1
        others.update(offered)
    assert min(places.values()) > 60
    assert set(others) == set(FAMILIES)
    assert max(others[name] for name in FAMILIES if name != "banding") < 200


@pytest.mark.parametrize(
    ("said", "name"),
    [("JPEG", "jpeg compression"), ("salt-and-pepper noise", "impulse noise"), ("Darken", "underexposure"),
     ("out of  focus", "defocus blur"), ("Lens flare", "lens flare"), ("", "")],
)  # fmt: skip
def test_names_are_compared_by_what_they_mean(said, name):
    assert canonical(said) == name


BOXES = st.tuples(*[st.integers(0, 12)] * 4)


def pixels(box):
    x1, y1, x2, y2 = box
    return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}


@given(BOXES, BOXES)
def test_iou_is_that_of_the_pixels(first, second):
    common, either = pixels(first) & pixels(second), pixels(first) | pixels(second)
    expected = len(common) / len(either) if pixels(first) and pixels(second) else 0
    assert iou(first, second) == pytest.approx(expected, abs=1e-12)


@given(SIDES, SIDES, st.integers(0, 2**32))
def test_acceptance_23_a_box_is_inside_its_picture_and_equals_itself(width, height, seed):
    box = x1, y1, x2, y2 = drawn_box(width, height, np.random.default_rng(seed))
    assert 0 <= x1 < x2 <= width
    assert 0 <= y1 < y2 <= height
    assert AREAS[0] <= (x2 - x1) * (y2 - y1) / (width * height) <= AREAS[1]
    assert iou(box, box) == 1


def test_boxes_take_every_share_of_the_picture_and_every_place():
    draw = np.random.default_rng(0)
    boxes = np.array([drawn_box(512, 384, draw) for _ in range(500)])
    shares = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / (512 * 384)
    assert np.quantile(shares, [0.1, 0.5, 0.9]) == pytest.approx([0.095, 0.275, 0.455], abs=0.03)
    assert boxes[:, :2].min() < 5
    assert boxes[:, 2].max() > 507
    assert boxes[:, 3].max() > 379


def test_a_box_is_said_in_pixels_of_the_resized_picture_or_in_thousandths():
    box, size = (192, 128, 576, 512), (768, 512)
    assert to_convention(box, size, (384, 256), "pixels") == (96, 64, 288, 256)
    assert to_convention(box, size, (384, 256), "thousandths") == (250, 250, 750, 1000)


@given(SIDES, SIDES, st.integers(0, 2**32), st.sampled_from(["pixels", "thousandths"]))
def test_a_said_box_is_inside_what_it_is_said_of_and_near_the_true_one(
    width, height, seed, convention
):
    box = drawn_box(width, height, np.random.default_rng(seed))
    resized = smart_size(height, width, factor=28, min_pixels=3136, max_pixels=151_200)[::-1]
    limits = resized if convention == "pixels" else (1000, 1000)
    said = to_convention(box, (width, height), resized, convention)
    back = to_convention(said, limits, (width, height), "pixels")
    assert 0 <= said[0] < said[2] <= limits[0]
    assert 0 <= said[1] < said[3] <= limits[1]
    # Half a step of rounding at either end, there and back.
    slack = [
        side / (2 * limit) + 0.51
        for side, limit in zip((width, height) * 2, limits * 2, strict=True)
    ]
    assert np.all(np.abs(np.subtract(back, box)) <= slack)


def test_generators_depend_on_their_whole_key():
    first = generator(0, "a.png", 1).integers(2**60)
    assert first == generator(0, "a.png", 1).integers(2**60)
    others = [(1, "a.png", 1), (0, "b.png", 1), (0, "a.png", 2)]
    assert first not in {generator(*key).integers(2**60) for key in others}
