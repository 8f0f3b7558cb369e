"""Advantages, labels and probabilities, against the paper's rule written out for each group."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from refine_iqa.method import (
    group_advantages,
    label_text,
    probability_difference,
    probability_of_tokens,
    refine_advantages,
)


def rule(rewards, rule_rewards):
    """One group, by hand; undefined rewards are left out."""
    known = [reward for reward in rewards if not math.isnan(reward)]
    if not known:
        return [0.0] * len(rewards)
    mean = sum(known) / len(known)
    std = math.sqrt(sum((r - mean) ** 2 for r in known) / max(len(known) - 1, 1))
    success = any(full >= 2 for full in rule_rewards)
    shift = 0.0 if success else 2e-5
    values = [(reward - mean - shift) / (std + 1e-4) for reward in rewards]
    values = [0.0 if math.isnan(value) else value for value in values]
    return [max(value, 0.0) for value in values] if success else values


def test_acceptance_09_advantages_of_the_paper():
    rule_rewards = torch.tensor([2.0, 1.0, 2.0, 0.0])
    pd = torch.tensor([0.01708, 0.01904, 0.02101, 0.01833])
    rewards = rule_rewards + pd * (rule_rewards / 2).floor()
    found = refine_advantages(rewards, rule_rewards >= 2, 4)
    torch.testing.assert_close(found, torch.tensor([0.78301, 0.0, 0.78708, 0.0]), atol=1e-5, rtol=0)
    none = torch.zeros(4, dtype=torch.bool)
    uniform = refine_advantages(torch.ones(4), none, 4)
    torch.testing.assert_close(uniform, torch.full((4,), -0.2), atol=1e-5, rtol=0)
    mixed = refine_advantages(torch.tensor([1.0, 1.0, 0.0, 0.0]), none, 4)
    torch.testing.assert_close(mixed.abs(), torch.full((4,), 0.866), atol=1e-3, rtol=0)
    assert mixed.sign().tolist() == [1, 1, -1, -1]
    plain = group_advantages(rule_rewards, 4)
    expected = torch.tensor([0.78327, -0.26109, 0.78327, -1.30545])
    torch.testing.assert_close(plain, expected, atol=1e-5, rtol=0)


@given(
    st.lists(
        st.lists(st.sampled_from([0.0, 1.0, 1.5, 2.0, 2.25, math.nan]), min_size=4, max_size=4),
        min_size=1,
        max_size=5,
    )
)
def test_each_group_has_an_advantage_of_its_own(groups):
    rewards = torch.tensor(groups, dtype=torch.float64).flatten()
    found = refine_advantages(rewards, rewards >= 2, 4)
    expected = [value for group in groups for value in rule(group, group)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_an_undefined_reward_changes_nothing_for_the_others():
    rewards = torch.tensor([2.0, 1.0, 0.0, math.nan])
    found = group_advantages(rewards, 4)
    torch.testing.assert_close(found[:3], group_advantages(rewards[:3], 3))
    assert found[3] == 0
    assert group_advantages(torch.full((4,), math.nan), 4).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("mos", "rounded", "cut"),
    [
        (5.0, "5.00", "5.00"),
        (3.5, "3.50", "3.50"),
        (4.400806947958697, "4.40", "4.40"),
        (4.405, "4.41", "4.40"),
        (4.125, "4.12", "4.12"),
        (4.408, "4.41", "4.40"),
        (3.999, "4.00", "3.99"),
    ],
)
def test_acceptance_11_the_label_has_two_decimals(mos, rounded, cut):
    assert label_text(mos) == rounded
    assert label_text(mos, "truncate") == cut


def test_acceptance_10_a_difference_is_never_negative():
    thinking, plain = torch.tensor([0.2, 0.7, 0.5]), torch.tensor([0.6, 0.3, 0.5])
    torch.testing.assert_close(
        probability_difference(thinking, plain), torch.tensor([0.0, 0.4, 0.0])
    )


def test_the_probability_of_tokens_is_the_product_of_their_probabilities():
    logits = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    tokens = torch.tensor([[0, 4], [1, 1], [3, 2]])
    expected = [
        math.prod(float(logits[row, k].double().softmax(0)[tokens[row, k]]) for k in range(2))
        for row in range(3)
    ]
    found = probability_of_tokens(logits, tokens)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))
