"""What the paper adds: losses, classes, smoothing, windows, schedule."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from abaw_va.config import Compat, LossName, Smoothing, TrainConfig
from abaw_va.method.distribution import bin_bounds, bin_centres, class_targets, classes, expectation
from abaw_va.method.losses import LOSSES, LOSSES_WITH_PADDING, Objective
from abaw_va.method.schedule import rate_factor
from abaw_va.method.smoothing import smooth, smooth_and_clip, windows
from shared_core.errors import ConfigError, UsageError
from shared_core.training.schedules import Progress

REGRESSION_LOSSES = [name for name in LOSSES if name != "ce"]


def config(**settings: object) -> TrainConfig:
    return TrainConfig(data=Path(), **settings)


def batch(dtype: torch.dtype = torch.float32, columns: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions and labels [3, 9, K]; 9, 5 and 0 valid frames; nonsense elsewhere."""
    draw = torch.Generator().manual_seed(4)
    prediction, target = torch.randn(2, 3, 9, columns, generator=draw, dtype=torch.float64)
    valid = torch.arange(9) < torch.tensor([[9], [5], [0]])
    target = torch.where(valid[..., None], target.tanh(), -5.0)
    return prediction.to(dtype), target.to(dtype), valid


# Slow formulas, in float64 over lists of numbers.


def slow_ccc(p: np.ndarray, y: np.ndarray) -> float:
    cov = ((p - p.mean()) * (y - y.mean())).mean()
    return 2 * cov / (p.var() + y.var() + (p.mean() - y.mean()) ** 2 + 1e-9)


def slow_loss(name: str, prediction: Tensor, target: Tensor, valid: Tensor) -> float:
    family = name
    columns = list(range(prediction.shape[-1]))
    for letter, column in (("v", columns[:1]), ("a", columns[-1:])):
        for stem in ("mse", "mse_sum", "ccc"):
            if name == letter + stem:
                family, columns = stem, column
        if name == f"batch_{letter}ccc":
            family, columns = "batch_ccc", column
    per_column = []
    for k in columns:
        p, y = prediction[..., k].double().numpy(), target[..., k].double().numpy()
        m = valid.numpy()
        if family == "mse":
            per_column.append(((p[m] - y[m]) ** 2).mean())
        elif family == "mse_sum":
            per_column.append(((p[m] - y[m]) ** 2).sum())
        elif family == "batch_ccc":
            per_column.append(1 - slow_ccc(p[m], y[m]))
        else:
            rows = [1 - slow_ccc(p[b][m[b]], y[b][m[b]]) for b in range(len(p)) if m[b].any()]
            per_column.append(np.mean(rows))
    return float(np.mean(per_column))


def test_every_loss_that_can_be_named_exists() -> None:
    assert set(LOSSES) == set(LOSSES_WITH_PADDING) == set(get_args(LossName))


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("name", REGRESSION_LOSSES)
def test_acceptance_06_losses_are_those_of_the_slow_formulas(name: LossName, columns: int) -> None:
    prediction, target, valid = batch(columns=columns)
    expected = slow_loss(name, prediction, target, valid)
    assert LOSSES[name](prediction, target, valid).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", REGRESSION_LOSSES)
def test_acceptance_06_gradients_are_those_of_finite_differences(name: LossName) -> None:
    prediction, target, valid = batch()
    prediction.requires_grad_()
    (gradient,) = torch.autograd.grad(LOSSES[name](prediction, target, valid), prediction)
    exact, step = prediction.detach().double(), 1e-6
    for place in [(0, 0, 0), (0, 8, 1), (1, 3, 0), (1, 7, 1), (2, 4, 0)]:
        up, down = exact.clone(), exact.clone()
        up[place] += step
        down[place] -= step
        slope = (slow_loss(name, up, target, valid) - slow_loss(name, down, target, valid)) / (
            2 * step
        )
        assert gradient[place].item() == pytest.approx(slope, abs=1e-5, rel=1e-5)
    assert not gradient[~valid].any()


def test_acceptance_06_authors_ccc_counts_padding_as_frames() -> None:
    prediction, target, valid = batch()
    p, y = (torch.where(valid[..., None], x, 0.0).double().numpy() for x in (prediction, target))
    expected = np.mean([1 - slow_ccc(p[b, :, k], y[b, :, k]) for b in range(3) for k in range(2)])
    found = LOSSES_WITH_PADDING["ccc"](prediction, target, valid).item()
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_acceptance_06_nothing_valid_gives_zero_and_no_gradient(name: LossName) -> None:
    if name == "ce":
        prediction = torch.randn(2, 5, 22, 2, requires_grad=True)
        target = torch.full((2, 5, 2), -1)
    else:
        prediction, target = torch.randn(2, 5, 2, requires_grad=True), torch.full((2, 5, 2), -5.0)
    loss = LOSSES[name](prediction, target, torch.zeros(2, 5, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert loss.item() == 0
    assert not gradient.any()


@pytest.mark.parametrize("name", REGRESSION_LOSSES)
def test_what_lies_outside_the_valid_frames_has_no_effect(name: LossName) -> None:
    prediction, target, valid = batch()

    def loss_and_gradient() -> tuple[Tensor, Tensor]:
        p = prediction.clone().requires_grad_()
        loss = LOSSES[name](p, target, valid)
        return loss, torch.autograd.grad(loss, p)[0]

    before = loss_and_gradient()
    prediction[~valid], target[~valid] = float("nan"), float("inf")
    assert all(torch.equal(a, b) for a, b in zip(loss_and_gradient(), before, strict=True))


def test_batch_ccc_in_its_odd_cases() -> None:
    _, target, valid = batch()
    target = target.clamp(min=-1)
    constant = torch.full_like(target, 0.3)
    one = torch.zeros_like(valid)
    one[0, 0] = True
    loss = LOSSES["batch_ccc"]
    assert loss(constant, target, valid).item() == pytest.approx(1, abs=1e-6)
    assert loss(target + 1, target, one).item() == pytest.approx(1, abs=1e-6)
    assert loss(target, target, valid).item() == pytest.approx(0, abs=1e-6)
    shifted = target + 0.1
    assert loss(-shifted, shifted, valid).item() == pytest.approx(
        slow_loss("batch_ccc", -shifted, shifted, valid), abs=1e-5
    )


def test_acceptance_07_batch_ccc_does_not_cancel_in_bf16_autocast() -> None:
    draw = torch.Generator().manual_seed(0)
    target = 0.8 + 0.05 * torch.randn(16, 250, 2, generator=draw)
    # The prediction is a bf16 number: what is tested is the loss, not the rounding of its input.
    prediction = (0.8 + 0.05 * torch.randn(16, 250, 2, generator=draw)).bfloat16()
    prediction = (0.5 * prediction + 0.5 * target).bfloat16()
    valid = torch.ones(16, 250, dtype=torch.bool)
    exact = slow_loss("batch_ccc", prediction.double(), target, valid)
    with torch.autocast("cpu", torch.bfloat16):
        found = LOSSES["batch_ccc"](prediction, target, valid)
    assert found.dtype == torch.float32
    assert abs(found.item() - exact) < 1e-3


def test_cross_entropy_is_that_of_the_slow_formula() -> None:
    draw = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 9, 22, 2, generator=draw)
    valid = batch()[2]
    target = torch.where(valid[..., None], torch.randint(22, (3, 9, 2), generator=draw), -1)
    expected = np.mean(
        [
            -logits[b, t].log_softmax(0)[target[b, t, k], k].item()
            for b, t in valid.nonzero().tolist()
            for k in range(2)
        ]
    )
    assert LOSSES["ce"](logits, target, valid).item() == pytest.approx(expected, abs=1e-5)


def test_objective_adds_up_its_weighted_terms() -> None:
    chosen = config(losses=("mse", "batch_vccc"), loss_weights=(2.0, 0.5))
    prediction, target, valid = batch()
    total, terms = Objective(chosen)(prediction, prediction, target, valid)
    assert set(terms) == {"mse", "batch_vccc"}
    assert total.item() == pytest.approx(2 * terms["mse"].item() + 0.5 * terms["batch_vccc"].item())


def test_objective_takes_classes_from_labels_and_leaves_these_alone() -> None:
    chosen = config(losses=("ce",), head="distribution", weighted_bins=True)
    _, target, valid = batch()
    logits = torch.randn(3, 9, 22, 2)
    before = target.clone()
    total, _ = Objective(chosen)(logits, logits.mean(2), target, valid)
    bounds = torch.stack([bin_bounds(name, True) for name in ("valence", "arousal")], dim=1)
    wanted = class_targets(target, valid, bounds)
    assert total.item() == pytest.approx(LOSSES["ce"](logits, wanted, valid).item())
    assert torch.equal(target, before)


def test_names_of_losses_are_checked() -> None:
    with pytest.raises(UsageError, match="'bach_ccc'; did you mean 'batch_ccc'"):
        config(losses=("bach_ccc",))
    with pytest.raises(ConfigError, match="loss_weights"):
        config(losses=("mse", "ccc"))
    with pytest.raises(ConfigError, match="distribution"):
        config(losses=("ce",))


# Classes.


def test_unweighted_bins_are_equally_wide() -> None:
    centres, bounds = bin_centres("valence", False), bin_bounds("valence", False)
    inner = [-0.95 + 0.1 * i for i in range(20)]
    assert centres.tolist() == pytest.approx([-1, *inner, 1])
    edges = [-0.9 + 0.1 * i for i in range(19)]
    assert bounds.tolist() == pytest.approx([-1, -0.975, *edges, 0.975, 1])


@pytest.mark.parametrize(
    ("target", "first", "tenth"),
    [("valence", -0.712829, 0.105187), ("arousal", -0.121924, 0.257992)],
)
def test_weighted_bins_hold_equal_shares(target: str, first: float, tenth: float) -> None:
    centres, bounds = bin_centres(target, True), bin_bounds(target, True)
    assert bounds[2].item() == pytest.approx(first, abs=1e-6)
    assert bounds[11].item() == pytest.approx(tenth, abs=1e-6)
    assert centres[1].item() == pytest.approx((-1 + first) / 2, abs=1e-6)
    assert all(a < b for a, b in pairwise(bounds.tolist()))


def test_acceptance_14_labels_on_a_bound_fall_into_the_class_above_it() -> None:
    labels = torch.tensor([0.0, 0.1, -0.9, 1.0, -1.0])
    bounds = bin_bounds("valence", False)
    assert classes(labels, bounds).tolist() == [11, 12, 2, 21, 0]
    assert classes(labels, bounds, strict=True).tolist() == [0, 0, 0, 0, 0]


@given(st.floats(-1, 1, width=32), st.sampled_from(["valence", "arousal"]), st.booleans())
def test_acceptance_14_a_label_lies_within_the_bounds_of_its_class(
    label: float, target: str, weighted: bool
) -> None:
    bounds = bin_bounds(target, weighted)
    found = int(classes(torch.tensor([label]), bounds))
    low, high = bounds[found].item(), bounds[found + 1].item()
    assert low <= label < high or (found == 21 and label <= high)


def test_expectation_is_the_mean_of_the_centres() -> None:
    centres = torch.stack([bin_centres("valence", True), bin_centres("arousal", True)], dim=1)
    certain = 100.0 * F.one_hot(torch.tensor([3, 17]), 22).float().T
    found = expectation(certain, centres)
    assert found.tolist() == pytest.approx([centres[3, 0].item(), centres[17, 1].item()])
    assert expectation(torch.zeros(2, 5, 22, 2), centres).shape == (2, 5, 2)
    torch.testing.assert_close(expectation(torch.zeros(22, 2), centres), centres.mean(0))


# Smoothing.


def slow_smooth(values: list[float], reach: int) -> list[float]:
    return [
        math.fsum(values[max(0, t - reach) : t + reach + 1])
        / len(values[max(0, t - reach) : t + reach + 1])
        for t in range(len(values))
    ]


def test_acceptance_10_smoothing() -> None:
    third = 1 / 3
    peak = torch.tensor([0.0, 0, 1, 0, 0], dtype=torch.float64)
    assert smooth(peak, 1).tolist() == pytest.approx([0, third, third, third, 0])
    short = torch.randn(30, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert smooth(short, 50).tolist() == pytest.approx([short.mean().item()] * 30)
    assert torch.equal(smooth(short, 0), short)


def test_acceptance_10_one_video_and_videos_of_equal_length_work() -> None:
    videos = [torch.randn(7, 2) for _ in range(2)]
    for chosen in (videos[:1], videos):
        for values, smoothed in zip(chosen, [smooth(v, 2) for v in chosen], strict=True):
            assert smoothed.shape == (7, 2)
            torch.testing.assert_close(smoothed[3], values[1:6].mean(0))


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40), st.integers(0, 45))
def test_smoothing_is_the_mean_over_the_window(values: list[float], reach: int) -> None:
    found = smooth(torch.tensor(values, dtype=torch.float64), reach)
    assert found.tolist() == pytest.approx(slow_smooth(values, reach), abs=1e-12)


def test_long_videos_are_smoothed_exactly() -> None:
    values = 0.9 + 0.1 * torch.rand(47_300, generator=torch.Generator().manual_seed(1))
    found = smooth(values, 50)
    for t in (0, 49, 50, 20_000, 47_299):
        expected = values[max(0, t - 50) : t + 51].double().mean().item()
        assert found[t].item() == pytest.approx(expected, abs=1e-7)


def test_acceptance_11_clipping_comes_after_smoothing() -> None:
    raw = torch.tensor([3.0, -3, 3])
    # Clipped first, the ends would be 0 and the middle a third.
    assert smooth_and_clip(raw, 1).tolist() == pytest.approx([0, 1, 0])


@pytest.mark.parametrize(
    ("smoothing", "fps", "windows_of_both"),
    [
        (Smoothing(), 30, (50, 20)),
        (Smoothing(), 60, (100, 40)),
        (Smoothing(), 24, (40, 16)),
        (Smoothing(valence=50, arousal=20, unit="frames"), 60, (50, 20)),
    ],
)
def test_smoothing_windows_are_seconds_unless_frames_are_asked_for(
    smoothing: Smoothing, fps: float, windows_of_both: tuple[int, int]
) -> None:
    assert (smoothing.window("valence", fps), smoothing.window("arousal", fps)) == windows_of_both


# Windows.


def slow_windows(frames: int, length: int, hop: int) -> list[list[int]]:
    found, start = [], 0
    while True:
        found.append([start, min(start + length, frames)])
        if start + length > frames:
            return found
        start += hop


def test_acceptance_18_windows() -> None:
    counts = {700: 11, 250: 2, 90: 1, 301: 3}
    assert {n: len(windows(n, 250, 50)) for n in counts} == counts
    assert windows(250, 250, 50).tolist() == [[0, 250], [50, 250]]
    assert windows(90, 250, 50).tolist() == [[0, 90]]
    assert windows(301, 250, 50).tolist()[-1] == [100, 301]


@pytest.mark.parametrize("frames", [700, 250, 90, 301])
def test_acceptance_18_windows_are_those_of_a_loop(frames: int) -> None:
    spans = windows(frames, 250, 50)
    assert spans.tolist() == slow_windows(frames, 250, 50)


@given(st.integers(1, 90), st.integers(1, 20), st.integers(1, 20))
def test_windows_cover_every_frame(frames: int, length: int, hop: int) -> None:
    spans = windows(frames, length, min(hop, length)).tolist()
    covered = {t for start, end in spans for t in range(start, end)}
    assert covered == set(range(frames))
    assert all(0 < end - start <= length for start, end in spans)


def test_windows_side_by_side_are_the_chunks() -> None:
    assert windows(500, 250, 250).tolist() == [[0, 250], [250, 500]]
    assert windows(520, 250, 250).tolist() == [[0, 250], [250, 500], [500, 520]]


# Schedule.


def factors(chosen: TrainConfig, scores: tuple[float, ...] = ()) -> list[float]:
    """Factor in epochs 1, 2, ...; scores are those of the evaluations before each epoch."""
    return [
        rate_factor(
            chosen,
            Progress(steps_per_epoch=1, epochs=chosen.epochs, epoch=e, scores=scores[:e]),
        )
        for e in range(chosen.epochs)
    ]


def test_acceptance_09_linear_schedule() -> None:
    transformer = factors(config(epochs=30, constant_epochs=10))
    assert transformer[9:11] + transformer[29:] == pytest.approx([1, 20 / 21, 1 / 21])
    lstm = factors(config(epochs=30, constant_epochs=3))
    assert lstm[29] == pytest.approx(1 / 28)


def test_warmup_rises_from_the_first_epoch_on() -> None:
    ours = factors(config(epochs=6, constant_epochs=3, lr_policy="linear-warmup"))
    assert ours == pytest.approx([1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3])
    compat = Compat(schedule=True)
    theirs = factors(config(epochs=6, constant_epochs=3, lr_policy="linear-warmup", compat=compat))
    assert theirs == pytest.approx([0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3])


def test_cosine_falls_over_the_whole_run() -> None:
    ours = factors(config(epochs=6, constant_epochs=3, lr_policy="cosine"))
    assert ours == pytest.approx([(1 + math.cos(math.pi * e / 6)) / 2 for e in range(6)])
    compat = Compat(schedule=True)
    theirs = factors(config(epochs=6, constant_epochs=3, lr_policy="cosine", compat=compat))
    assert theirs == pytest.approx([1, 0.75, 0.25, 0, 0.25, 0.75])


def test_step_and_plateau() -> None:
    assert factors(config(epochs=5, step_epochs=2, lr_policy="step")) == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01]
    )
    scores = (0.1, 0.3, *[0.305] * 6, 0.5)
    falling = factors(config(epochs=10, lr_policy="plateau"), scores)
    assert falling == pytest.approx([1] * 8 + [0.2] * 2)
