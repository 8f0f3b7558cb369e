"""Learning-rate schedules against their formulas and against torch's schedulers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared_core.training.schedules import (
    Progress,
    cosine,
    linear_decay,
    linear_warmup,
    plateau,
    step_decay,
)

START = Progress(steps_per_epoch=10, epochs=30)


def in_epoch(epoch: int) -> Progress:
    """The progress during an epoch counted from 1, as papers count."""
    return replace(START, epoch=epoch - 1)


@pytest.mark.parametrize(
    ("constant", "decay", "epoch", "factor"),
    [
        *[(10, 20, 1, 1.0), (10, 20, 10, 1.0), (10, 20, 11, 20 / 21), (10, 20, 30, 1 / 21)],
        *[(3, 27, 3, 1.0), (3, 27, 30, 1 / 28)],
    ],
)
def test_acceptance_09_linear_decay_factors(constant, decay, epoch, factor):
    assert linear_decay(in_epoch(epoch), constant, decay) == pytest.approx(factor, abs=1e-15)


def torch_factors(make, epochs):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    factors = []
    for _ in range(epochs):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


def test_cosine_is_torchs_until_its_end_and_then_stays():
    expected = torch_factors(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10), 11)
    ours = [cosine(in_epoch(epoch), 10) for epoch in range(1, 16)]
    assert ours[:11] == pytest.approx(expected, abs=1e-12)
    assert ours[11:] == [0.0] * 4


def test_step_decay_is_torchs():
    expected = torch_factors(lambda o: torch.optim.lr_scheduler.StepLR(o, 4, 0.3), 15)
    assert [step_decay(in_epoch(e), 4, 0.3) for e in range(1, 16)] == pytest.approx(expected)


@given(
    scores=st.lists(st.floats(-1, 1), max_size=40),
    patience=st.integers(0, 5),
    threshold=st.sampled_from([0.0, 0.01, 0.1]),
)
def test_plateau_is_torchs(scores, patience, threshold):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, "max", 0.5, patience, threshold, threshold_mode="abs", eps=0.0
    )
    for score in scores:
        scheduler.step(score)
    ours = plateau(scores, factor=0.5, patience=patience, threshold=threshold)
    assert ours == optimizer.param_groups[0]["lr"]


def test_an_undefined_score_is_no_gain_on_a_plateau():
    assert plateau([0.1, math.nan, math.nan], factor=0.5, patience=1) == 0.5
    assert plateau([math.nan, 0.1, 0.2], factor=0.5, patience=1) == 1.0


def test_warmup_starts_above_zero_and_ends_at_one():
    factors = [linear_warmup(replace(START, step=step), 4) for step in range(6)]
    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert linear_warmup(START, 0) == 1.0


def test_evaluations_since_best_counts_equal_and_undefined_scores():
    since = [replace(START, scores=s).evaluations_since_best for s in ((), (0.5,), (0.5, 0.5))]
    assert since == [0, 0, 1]
    nan = math.nan
    assert replace(START, scores=(nan, 0.1, nan, 0.1, 0.2, 0.1)).evaluations_since_best == 1
    assert replace(START, scores=(nan, nan)).evaluations_since_best == 2
