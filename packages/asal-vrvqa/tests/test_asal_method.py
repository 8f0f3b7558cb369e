"""Losses, memory and transfer: known numbers, and formulas written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from asal_vrvqa.method.continual import transfer, upstream_transfer
from asal_vrvqa.method.graph import angles, graph_loss, joint_graph_loss
from asal_vrvqa.method.losses import divergence, mse_loss, plcc_loss, score_loss
from asal_vrvqa.method.memory import Memory, key_frames, reservoir_slot, spread


def leaf(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def slope_of(prediction, target):
    loss = plcc_loss(prediction, target)
    return loss.item(), torch.autograd.grad(loss, prediction)[0].abs().max().item()


def test_acceptance_10_edges_of_the_correlation_loss():
    target = torch.tensor([1.0, 2.0, 3.0, 4.0, 2.5, 3.5], dtype=torch.float64)
    assert plcc_loss(leaf(2.0), target[:1]).item() == 0
    loss, slope = slope_of(leaf(2.0, 1.0), target[:2])
    assert loss == pytest.approx(0.5)
    assert slope < 1e-5
    assert plcc_loss(target, target).item() == pytest.approx(0, abs=1e-12)
    loss, slope = slope_of((-target).clone().requires_grad_(), target)
    assert loss == pytest.approx(0.5)
    assert slope < 1e-5
    prediction = leaf(1.0, 1.5, 4.0, 2.0, 3.0, 2.0)
    assert plcc_loss(5 * prediction, target).item() == pytest.approx(
        plcc_loss(prediction, target).item(), abs=1e-6
    )
    assert math.isfinite(plcc_loss(leaf(2.0, 2.0, 2.0), target[:3]).item())


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=8, unique=True), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_the_correlation_loss_written_out(values, seed):
    p = np.array(values)
    t = np.random.default_rng(seed).normal(size=len(p))
    zp = (p - p.mean()) / (p.std() + 1e-8)
    zt = (t - t.mean()) / (t.std() + 1e-8)
    rho = (zp * zt).mean()
    expected = 0.5 * (((zp - zt) ** 2).mean() / 4 + ((rho * zp - zt) ** 2).mean() / 4)
    found = plcc_loss(torch.from_numpy(p), torch.from_numpy(t)).item()
    assert found == pytest.approx(expected, abs=1e-9)


def test_the_mix_is_weighted():
    p, t = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([2.0, 1.0, 3.0])
    weights = {"mse_weight": 0.01, "plcc_weight": 2.0}
    expected = 0.01 * mse_loss(p, t) + 2 * plcc_loss(p, t)
    assert torch.isclose(score_loss(p, t, kind="mix", **weights), expected)
    assert torch.equal(score_loss(p, t, kind="mse", **weights), mse_loss(p, t))
    assert torch.equal(score_loss(p, t, kind="plcc", **weights), plcc_loss(p, t))


def test_the_divergence_is_that_of_two_gaussians():
    log_variance = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(0.0, (log_variance / 2).exp()),
        torch.distributions.Normal(0.0, 1.0),
    )
    assert torch.allclose(divergence(log_variance), expected)


def test_acceptance_12_transfer_of_the_specs_matrix():
    rows = [[0.5, 0.4], [0.45, 0.6, 0.3], [0.4, 0.55, 0.7]]
    before = [0.1, 0.2, 0.05]
    assert upstream_transfer(rows, before) == pytest.approx((-0.075, 0.225, 0.075))
    rows = [[-0.5, 0.4], [-0.45, 0.6, 0.3], [-0.6, 0.55, 0.7]]
    assert upstream_transfer(rows, before)[2] == pytest.approx(0.10)
    whole = np.array([[0.5, 0.4, 0.0], [0.45, 0.6, 0.3], [0.4, 0.55, 0.7]])
    found = transfer(whole, np.array(before))
    assert found.backward == pytest.approx(-0.075)
    assert found.forward == pytest.approx(0.225)
    assert found.forgetting == pytest.approx(0.075)
    assert found.average == pytest.approx(0.55)


def test_standard_forgetting_can_be_negative_where_the_authors_is_not():
    """Later tasks helped: what was lost is below zero, and the authors' padding hides it."""
    rows = np.array([[0.3, 0.0, 0.0], [0.4, 0.5, 0.0], [0.6, 0.7, 0.8]])
    assert transfer(rows, np.zeros(3)).forgetting == pytest.approx(-0.2)
    assert upstream_transfer([[0.3, 0.0], [0.4, 0.5, 0.0], [0.6, 0.7, 0.8]], [0.0] * 3)[2] == 0


def test_what_is_undefined_stays_undefined():
    rows = np.array([[0.3, 0.1], [np.nan, 0.5]])
    assert math.isnan(transfer(rows, np.zeros(2)).average)
    assert math.isnan(transfer(np.array([[0.3]]), np.zeros(1)).forgetting)


def test_acceptance_18_memory_selection():
    scores = np.random.default_rng(0).permutation(48).astype(float)
    chosen = spread(scores, 6)
    assert [int(scores[i]) for i in chosen] == [0, 9, 18, 28, 37, 47]
    assert sorted(spread(scores[:4], 6)) == [0, 1, 2, 3]


def test_acceptance_18_reservoir_follows_numpys_draws():
    """Append while there is room, else draw r in [0, seen] and replace slot r if it exists."""
    capacity, length = 3, 40
    ours, theirs = np.random.RandomState(0), np.random.RandomState(0)
    held: list[int] = []
    kept: list[int] = []
    for seen in range(length):
        slot = reservoir_slot(seen, capacity, lambda n: int(ours.randint(0, n)))
        if slot is not None:
            kept[slot : slot + 1] = [seen]
        if seen < capacity:
            held.append(seen)
        else:
            r = theirs.randint(0, seen + 1)
            if r < capacity:
                held[r] = seen
    assert kept == held
    assert max(kept) > capacity


def test_a_reservoir_gives_each_the_same_chance():
    counts = np.zeros(20)
    for seed in range(2000):
        draw = np.random.default_rng(seed)
        kept = {}
        for seen in range(20):
            slot = reservoir_slot(seen, 5, lambda n, draw=draw: int(draw.integers(n)))
            if slot is not None:
                kept[slot] = seen
        counts[list(kept.values())] += 1
    assert stats.chisquare(counts).pvalue > 1e-3


def test_acceptance_19_key_frames_are_in_time_by_default():
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    order = [2, 2, 0, 0, 1, 1, 1]
    draw = np.random.default_rng(0)
    features = centres[order] + draw.normal(0, 0.1, (7, 2))
    found = [key_frames(features, 3, seed) for seed in range(20)]
    assert all(frames == sorted(frames) for frames in found)
    assert all({order[f] for f in frames} == {0, 1, 2} for frames in found)
    upstream = [key_frames(features, 3, seed, in_time=False) for seed in range(20)]
    assert any(frames != sorted(frames) for frames in upstream)
    assert all(sorted(a) == b for a, b in zip(upstream, found, strict=True))
    nearest = found[0][0]
    mine = features[[i for i in range(7) if order[i] == order[nearest]]]
    distances = np.linalg.norm(mine - mine.mean(axis=0), axis=1)
    assert np.linalg.norm(features[nearest] - mine.mean(axis=0)) == pytest.approx(distances.min())


def test_key_frames_of_a_still_picture_are_different_frames():
    assert key_frames(np.zeros((7, 4)), 3, 0) == [0, 3, 6]


def test_small_angles_count_in_half_precision():
    features = torch.tensor([[1.0, 0.0], [1.0, 0.03]], requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = angles(features[:1], features[1:])
    assert found.item() == pytest.approx(0.03, abs=1e-3)
    found.sum().backward()
    assert features.grad.abs().max() > 0.9


def test_a_memory_keeps_bytes_and_comes_back_from_its_state():
    memory = Memory(2)
    frames = torch.arange(2 * 3 * 4 * 4 * 3, dtype=torch.uint8).reshape(2, 3, 4, 4, 3)
    for number in range(2):
        memory.append(frames=frames[number], score=torch.tensor(float(number)))
    assert memory["frames"].dtype == torch.uint8
    assert memory.bytes == frames.nbytes + 8
    with pytest.raises(ValueError, match="no slot 2"):
        memory.append(frames=frames[0], score=torch.tensor(0.0))
    again = Memory(2)
    again.load_state(memory.state())
    assert torch.equal(again["frames"], frames)
    assert (len(again), again.seen) == (2, 2)
    memory.put(0, frames=frames[1], score=torch.tensor(9.0))
    assert memory["score"].tolist() == [9.0, 1.0]
    draw = torch.Generator().manual_seed(0)
    assert sorted(memory.drawn(5, draw)) == [0, 1]


def test_the_memory_is_a_quarter_of_the_floats():
    frames = torch.zeros(3, 64, 128, 3, dtype=torch.uint8)
    memory = Memory(1)
    memory.append(frames=frames)
    assert memory.bytes * 4 == frames.float().nbytes


def test_angles_and_graph_written_out():
    features = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    others = torch.tensor([[0.0, 2.0], [3.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    degrees = torch.rad2deg(angles(features, others))
    expected = torch.tensor([[90, 0, 180], [45, 45, 135]], dtype=torch.float64)
    assert torch.allclose(degrees, expected, atol=0.1)
    scores = torch.tensor([1.0, 3.0], dtype=torch.float64)
    other_scores = torch.tensor([2.0, 1.0, 5.0], dtype=torch.float64)
    p = torch.softmax(torch.deg2rad(degrees), dim=1)
    q = torch.softmax((scores[:, None] - other_scores).abs(), dim=1)
    slow = sum(
        0.5 * a * math.log2(a / b + 1e-7) + 0.5 * b * math.log2(b / a + 1e-7)
        for a, b in zip(p.flatten().tolist(), q.flatten().tolist(), strict=True)
    )
    found = graph_loss(features, scores, others, other_scores)
    assert found.item() == pytest.approx(slow, abs=1e-6)
    blocks = joint_graph_loss(features, scores, others, other_scores)
    one = graph_loss(torch.cat([features, others]), torch.cat([scores, other_scores]),
                     torch.cat([features, others]), torch.cat([scores, other_scores]))  # fmt: skip
    four = [
        graph_loss(*a, *b)
        for a in ((features, scores), (others, other_scores))
        for b in ((features, scores), (others, other_scores))
    ]
    assert blocks.item() == pytest.approx((one + sum(four)).item(), abs=1e-9)
