"""Rewards of scores, and the registry as trl calls it."""

from __future__ import annotations

import logging
import math
import pickle

import numpy as np
import pytest
from scipy.stats import norm

from refine_iqa.rewards import registry
from refine_iqa.rewards.registry import build, covers
from refine_iqa.rewards.scoring import fidelities, range_reward, soft_answer_reward
from shared_core.testing.processes import run_ranks

NAMED = '<answer>{"type": "banding"}</answer>'
PERCEIVED = {"type": "banding", "severity": 2, "box": [0, 0, 8, 8]}


def scored(score):
    return f"<think>x</think><answer>Score: {score}</answer>"


def one(name, completion, task, solution, **changes):
    (reward,) = build([name], **changes)
    return reward(completions=[completion], task=[task], solution=[solution])[0]


def test_the_soft_answer_falls_with_the_error():
    assert soft_answer_reward(scored("3.46"), 3.46) == 1
    assert soft_answer_reward(scored("3.71"), 3.46) == pytest.approx(0.75)
    assert soft_answer_reward(scored("3.71"), 3.46, width=0.5) == pytest.approx(0.5)
    assert soft_answer_reward(scored("1.00"), 3.46) == 0
    gaussian = soft_answer_reward(scored("3.76"), 3.46, width=0.6, shape="gaussian")
    assert gaussian == pytest.approx(math.exp(-0.25))
    assert soft_answer_reward("3.46", 3.46) == 0


@pytest.mark.parametrize(("score", "inside"), [("1.00", 1), ("5.00", 1), ("0.99", 0), ("5.01", 0)])
def test_the_range_is_that_of_scores(score, inside):
    assert range_reward(scored(score)) == inside


def slow_fidelity(scores, mos, images, place):
    """VisualQuality-R1's reward, written out over lists of scores by image."""
    of = {image: [s for s, i in zip(scores, images, strict=True) if i == image] for image in images}
    truth = dict(zip(images, mos, strict=True))
    own, terms = images[place], []
    for other in of:
        if other == own:
            continue
        spread = np.sqrt(np.var(of[own]) + np.var(of[other]) + 1e-6)
        above = norm.cdf((scores[place] - np.mean(of[other])) / spread)
        right = 1.0 if truth[own] > truth[other] else 0.0 if truth[own] < truth[other] else 0.5
        terms.append(np.sqrt(right * above) + np.sqrt((1 - right) * (1 - above)))
    return np.mean(terms)


def test_the_rank_is_the_fidelity_over_all_other_images():
    draw = np.random.default_rng(0)
    images = ["a", "b", "c", "b", "a", "c", "a", "b", "c", "d"]
    truth = {"a": 1.5, "b": 4.0, "c": 4.0, "d": 2.0}
    scores = draw.uniform(1, 5, len(images)).tolist()
    mos = [truth[image] for image in images]
    expected = [slow_fidelity(scores, mos, images, place) for place in range(len(images))]
    assert fidelities(scores, mos, images) == pytest.approx(expected, abs=1e-9)


def test_the_right_order_earns_more_than_the_wrong_one():
    rewards = fidelities([4.0, 4.2, 2.0, 2.1], [4.5, 4.5, 1.5, 1.5], ["a", "a", "b", "b"])
    assert min(rewards) > 0.99
    assert max(fidelities([4.0, 4.2, 2.0, 2.1], [1.5, 1.5, 4.5, 4.5], ["a", "a", "b", "b"])) < 0.01


def test_a_completion_without_a_score_ranks_nothing_and_is_worth_nothing():
    with_one = fidelities([4.0, None, 2.0], [4.5, 4.5, 1.5], ["a", "a", "b"])
    assert with_one[1] == 0
    assert [with_one[0], with_one[2]] == fidelities([4.0, 2.0], [4.5, 1.5], ["a", "b"])


def test_without_another_image_there_is_no_rank():
    assert fidelities([4.0, 2.0], [3.0, 3.0], ["a", "a"]) == [None, None]
    assert fidelities([4.0, None], [3.0, 1.0], ["a", "b"]) == [None, 0.0]
    assert fidelities([], [], []) == []


def test_the_rank_tells_rows_apart_by_the_column_row():
    (rank,) = build(["rank"])
    scores, mos, places = [4.0, 2.0, None, 3.5, 3.0], [3.0, 3.0, 3.0, 2.0, 2.0], [0, 1, 1, 2, 2]
    completions = ["" if score is None else scored(f"{score:.2f}") for score in scores]
    tasks = ["scoring"] * 5
    expected = fidelities(scores, mos, places)
    assert rank(completions, tasks, mos, row=places, prompts=None) == expected
    assert expected != fidelities(scores, mos, range(5))
    # Without the column, the rows of one MOS count as one.
    assert rank(completions, tasks, mos) == fidelities(scores, mos, mos)
    others = rank(
        [*completions, scored("3.00")], [*tasks, "type"], [*mos, PERCEIVED], row=[*places, 3]
    )
    assert others == [*expected, None]


RANKED = {
    "completions": [scored("4.00"), scored("2.00"), "", scored("3.50"), "x", scored("3.00")],
    "task": ["scoring", "scoring", "scoring", "scoring", "type", "scoring"],
    "solution": [3.0, 3.0, 4.5, 2.0, PERCEIVED, 2.0],
    "row": [0, 0, 1, 2, 3, 2],
}


def ranked(cuts):
    """What a process makes of its part, from one of the places in the batch to the next."""
    from torch.distributed import get_rank

    (rank,) = build(["rank"])
    first, after = cuts[get_rank() : get_rank() + 2]
    return rank(**{name: values[first:after] for name, values in RANKED.items()})


@pytest.mark.parametrize("cuts", [[0, 2, 6], [0, 0, 6]])
def test_the_rank_does_not_depend_on_the_processes_that_share_a_batch(cuts):
    """One image on each process, or none on one: a completion is ranked among those of all."""
    (rank,) = build(["rank"])
    alone = rank(**RANKED)
    assert [reward is None for reward in alone] == [False] * 4 + [True, False]
    parts = run_ranks(ranked, arguments={"cuts": cuts})
    assert [len(part) for part in parts] == [cuts[1], 6 - cuts[1]]
    assert [reward for part in parts for reward in part] == alone


@pytest.mark.parametrize("name", registry.NAMES)
def test_a_reward_has_its_name_and_survives_pickling(name):
    (reward,) = build([name])
    assert reward.__name__ == name
    again = pickle.loads(pickle.dumps(reward))
    assert again(["x"], ["scoring"], [3.0]) == reward(["x"], ["scoring"], [3.0])


def test_rewards_come_in_the_order_asked_for():
    names = ["rank", "format", "joint", "answer"]
    assert [reward.__name__ for reward in build(names)] == names


@pytest.mark.parametrize("name", ["answer", "answer_soft", "range", "format"])
def test_texts_and_messages_are_judged_alike(name):
    text = scored("3.46")
    parts = [{"type": "image"}, {"type": "text", "text": text}]
    forms = [
        text,
        [{"role": "assistant", "content": text}],
        [{"role": "assistant", "content": parts}],
    ]
    (reward,) = build([name])
    assert reward(
        completions=forms, task=["scoring"] * 3, solution=[3.46] * 3, images=[[], [], []]
    ) == [1, 1, 1]


@pytest.mark.parametrize("task", registry.TASKS)
def test_each_task_is_judged_by_the_rewards_that_cover_it(task):
    expected = {
        "scoring": ("format", "answer", "answer_soft", "range", "rank"),
        "type": ("type",),
        "severity": ("severity",),
        "grounding": ("grounding",),
        "joint": ("joint",),
    }
    assert covers(task) == expected[task]


def test_a_task_that_nobody_knows_is_covered_by_nothing():
    assert covers("comparison") == ()


def test_settings_reach_the_rewards():
    assert one("answer", scored("3.46"), "scoring", 3.0) == 1
    assert one("answer", scored("3.46"), "scoring", 3.0, score_threshold=0.4) == 0
    assert one("answer_soft", scored("3.50"), "scoring", 3.0, soft_width=0.5) == 0
    gaussian = one(
        "answer_soft", scored("3.50"), "scoring", 3.0, soft_width=0.5, soft_shape="gaussian"
    )
    assert gaussian == pytest.approx(math.exp(-1))
    wrong = '<answer>{"type": "jpeg", "severity": 2}</answer>'
    assert one("joint", wrong, "joint", PERCEIVED) == 0
    assert one("joint", wrong, "joint", PERCEIVED, severity_needs_type=False) == 1


def test_the_mos_is_the_number_that_its_shortest_text_names():
    single = np.float32(3.46)
    assert float(single) != 3.46
    assert one("answer", scored("2.96"), "scoring", single, score_threshold=0.5) == 1
    assert one("answer", scored("3.96"), "scoring", "3.46") == 1


def test_the_format_of_perception_rows_is_a_json_answer():
    text = '<think>x</think><answer>{"type": "banding"}</answer>'
    assert one("format", text, "type", PERCEIVED) == 1
    assert one("format", text, "scoring", 3.0) == 0
    assert one("format", scored("3.46"), "type", PERCEIVED) == 0


@pytest.mark.parametrize(
    ("name", "task", "text", "truths", "rewards"),
    [
        ("answer", "scoring", scored("3.00"), [3.0, None, "bad", math.nan], [1, None, None, None]),
        ("rank", "scoring", scored("3.00"), [3.0, None, "bad", math.nan], [None] * 4),
        ("type", "type", NAMED, [PERCEIVED, None, "bad", {}], [1, None, None, None]),
    ],
)  # fmt: skip
def test_a_row_that_fails_has_no_reward_and_is_counted(name, task, text, truths, rewards, caplog):
    (reward,) = build([name])
    with caplog.at_level(logging.WARNING):
        assert reward([text] * 4, [task] * 4, truths, row=range(4)) == rewards
    assert reward.failures == 3
    assert [f"reward {name}" in record.getMessage() for record in caplog.records] == [True] * 3


def test_an_unknown_name_is_refused():
    with pytest.raises(KeyError, match="sharpness"):
        build(["sharpness"])
