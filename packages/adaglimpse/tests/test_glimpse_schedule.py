"""The one-cycle schedule: torch's own, place by place, and what it does after its end."""

from __future__ import annotations

import math

import pytest
import torch

from adaglimpse.method.schedule import one_cycle

PEAK = 1e-3


def torchs(total: int) -> list[tuple[float, float]]:
    """Rate and first beta of torch's `OneCycleLR`, for each step that it can make."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK, total_steps=total, pct_start=0.01, div_factor=1, final_div_factor=1000
    )
    found = []
    for step in range(total):
        (group,) = optimizer.param_groups
        found.append((group["lr"], group["betas"][0]))
        if step < total - 1:
            optimizer.step()
            schedule.step()
    return found


@pytest.mark.parametrize("total", [7, 50, 1300])
def test_acceptance_16_rates_and_momenta_are_those_of_torch(total):
    for step, (rate, beta) in enumerate(torchs(total)):
        factor, first = one_cycle(step, total)
        assert factor * PEAK == pytest.approx(rate, rel=1e-9), step
        assert first == pytest.approx(beta, rel=1e-9), step


def test_acceptance_16_the_numbers_of_a_run_of_1300_steps():
    assert all(one_cycle(step, 1300)[0] == 1.0 for step in range(12))
    assert PEAK * one_cycle(101, 1300)[0] == pytest.approx(9.88e-4, rel=1e-3)
    assert PEAK * one_cycle(1299, 1300)[0] == pytest.approx(1e-6)
    assert [one_cycle(step, 1300)[1] for step in (0, 12, 1299)] == pytest.approx([0.95, 0.85, 0.95])


@pytest.mark.parametrize("total", [1, 7, 100, 1300])
def test_after_the_end_nothing_changes(total):
    last = one_cycle(total - 1, total)
    assert last == pytest.approx((1e-3, 0.95))
    assert one_cycle(total, total) == one_cycle(10 * total, total) == last


@pytest.mark.parametrize("total", [1, 2, 7, 99, 100, 101, 1300])
def test_every_length_of_a_run_has_finite_rates_that_never_rise(total):
    """A hundred steps make the first part exactly one step long."""
    found = [one_cycle(step, total) for step in range(total)]
    rates = [rate for rate, _ in found]
    assert all(map(math.isfinite, rates))
    assert rates == sorted(rates, reverse=True)
    assert all(0.85 - 1e-12 <= beta <= 0.95 + 1e-12 for _, beta in found)


def test_without_the_cycle_the_momentum_is_adams_and_the_rate_the_same():
    for step in (0, 5, 600, 1299):
        factor, beta = one_cycle(step, 1300, cycle_momentum=False)
        assert beta == 0.9
        assert factor == one_cycle(step, 1300)[0]
