"""Losses and the adversary's strength: known numbers, and slow restatements."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from gaze_da.method.losses import (
    domain_loss,
    inout_loss,
    reconstruction_loss,
    task_loss,
    upstream_scale,
)
from gaze_da.method.schedule import adversary_strength


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_task_loss_is_the_mean_over_rows_that_look_inside():
    prediction, target = numbers(4, 1, 6, 6), numbers(4, 6, 6, seed=1)
    inside = torch.tensor([[True], [False], [True], [True]])
    each = [(prediction[i, 0] - target[i]).square().mean() for i in (0, 2, 3)]
    assert task_loss(prediction, target, inside).item() == pytest.approx(sum(each).item() / 3)


def test_acceptance_17_a_batch_with_nobody_looking_inside_is_zero_and_so_is_its_gradient():
    prediction = numbers(4, 1, 6, 6).requires_grad_()
    loss = task_loss(prediction, numbers(4, 6, 6), torch.zeros(4, 1, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert not prediction.grad.any()


def test_a_heat_map_that_the_authors_rounding_made_nan_does_not_count_outside():
    prediction, target = numbers(4, 1, 6, 6).requires_grad_(), numbers(4, 6, 6, seed=1)
    inside = torch.tensor([[True], [False], [True], [False]])
    broken = torch.where(inside[:, :, None], target, torch.nan)
    found = []
    for heatmap in (target, broken):
        loss = task_loss(prediction, heatmap, inside)
        found.append((loss, *torch.autograd.grad(loss, prediction)))
    assert found[0][0].item() == found[1][0].item()
    assert torch.equal(found[0][1], found[1][1])


def test_losses_without_rows_are_zero():
    nothing = torch.zeros(0, 1, dtype=torch.bool)
    assert task_loss(torch.zeros(0, 1, 6, 6), torch.zeros(0, 6, 6), nothing).item() == 0
    assert inout_loss(torch.zeros(0, 1), nothing).item() == 0
    assert domain_loss(torch.zeros(0, 2), 0).item() == 0
    assert reconstruction_loss(torch.zeros(0, 3, 6, 6), torch.zeros(0, 3, 16, 16)).item() == 0


def test_in_out_and_domain_losses_are_those_of_torch():
    logit, inside = numbers(5, 1), torch.tensor([[True], [False], [False], [True], [False]])
    expected = functional.binary_cross_entropy_with_logits(logit, inside.float())
    assert inout_loss(logit, inside).item() == pytest.approx(expected.item())
    log_probabilities = numbers(5, 2).log_softmax(dim=1)
    for domain in (0, 1):
        expected = functional.nll_loss(log_probabilities, torch.full((5,), domain))
        assert domain_loss(log_probabilities, domain).item() == pytest.approx(expected.item())


def test_reconstruction_is_the_mean_squared_error_against_the_shrunk_input():
    rebuilt, original = numbers(2, 3, 8, 8), numbers(2, 3, 32, 32, seed=1)
    small = functional.interpolate(original, (8, 8), mode="bilinear", antialias=True)
    expected = (rebuilt - small).square().mean()
    assert reconstruction_loss(rebuilt, original).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("rows", [2, 4])
def test_acceptance_19_the_authors_scale_of_the_reconstruction(rows):
    """Squared errors averaged over channels and lines, summed over columns and rows, over 4."""
    rebuilt, original = numbers(rows, 3, 64, 64), numbers(rows, 3, 64, 64, seed=1)
    theirs = (rebuilt - original).square().mean(dim=(1, 2)).sum() / 4
    ours = reconstruction_loss(rebuilt, original) * upstream_scale(rows, 4, 64)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    assert upstream_scale(2, 4, 64) == upstream_scale(4, 4, 64) / 2


def test_acceptance_18_the_strength_of_the_adversary():
    def upstream(batch, rows, epoch, batches=3):
        return adversary_strength(batch, batches, epoch, 70, upstream_rows=rows)

    assert upstream(0, 4, 0) == pytest.approx(0.0949512, abs=1e-7)
    assert upstream(2, 2, 0) == pytest.approx(0.0475831, abs=1e-7)
    assert upstream(1, 4, 3) == pytest.approx(0.3000038, abs=1e-7)
    assert adversary_strength(0, 3, 0, 70) == 0
    assert adversary_strength(2499, 2500, 69, 70) == pytest.approx(
        2 / (1 + math.exp(-10)) - 1, abs=1e-6
    )
    assert upstream(0, 48, 0, 2500) == pytest.approx(0.0014, abs=5e-5)


def test_the_strength_grows_with_every_batch():
    found = [adversary_strength(b, 5, e, 4) for e in range(4) for b in range(5)]
    assert found == sorted(found)
    assert len(set(found)) == 20
