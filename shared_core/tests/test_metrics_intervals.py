"""Bootstrap intervals: over groups, paired, reproducible, and honest with few groups."""

import math

import numpy as np
import pytest
import torch

from shared_core.metrics import (
    GroupScore,
    ItemScore,
    MeanScore,
    Moments,
    bootstrap,
    bootstrap_difference,
    ccc,
    mae,
    srcc,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def videos(count: int, noise: float, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    draw = generator(seed)
    pairs = []
    for _ in range(count):
        frames = int(torch.randint(20, 60, (1,), generator=draw))
        target = torch.randn(1, generator=draw) + 0.3 * torch.randn(frames, generator=draw)
        pairs.append((target + noise * torch.randn(1, generator=draw), target))
    return pairs


def moments(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> list[Moments]:
    return [Moments.of(*pair) for pair in pairs]


def test_a_resample_of_groups_is_the_score_of_all_their_pairs_together():
    pairs = videos(6, 0.5)
    drawn = torch.tensor([[0, 1, 2, 3, 4, 5], [5, 5, 0, 2, 2, 2]])
    values = GroupScore(moments(pairs))(drawn)
    for value, indices in zip(values, drawn, strict=True):
        chosen = [pairs[i] for i in indices]
        prediction, target = (torch.cat(side) for side in zip(*chosen, strict=True))
        assert float(value) == pytest.approx(float(ccc(prediction, target)), abs=1e-12)


def test_a_resample_of_items_is_the_metric_of_those_items():
    x, y = torch.randn(2, 8, generator=generator())
    drawn = torch.tensor([[7, 6, 5, 4, 3, 2, 1, 0], [1, 1, 2, 3, 3, 3, 0, 7]])
    values = ItemScore(x, y, srcc)(drawn)
    assert float(values[0]) == float(srcc(x, y))
    assert float(values[1]) == float(srcc(x[drawn[1]], y[drawn[1]]))


def test_the_interval_of_a_mean_error_is_that_of_the_normal_theory():
    errors = torch.randn(400, dtype=torch.float64, generator=generator()).abs()
    score = ItemScore(errors, torch.zeros_like(errors), mae)
    interval = bootstrap(score, generator=generator(), samples=2000)
    half = 1.96 * float(errors.std()) / 20
    centre = float(errors.mean())
    assert interval.low == pytest.approx(centre - half, abs=0.1 * half)
    assert interval.high == pytest.approx(centre + half, abs=0.1 * half)


def test_frames_of_one_video_are_not_independent():
    """Drawing frames instead of videos would claim an interval several times too narrow."""
    pairs = videos(20, 1.0)
    over_videos = bootstrap(GroupScore(moments(pairs)), generator=generator())
    prediction, target = (torch.cat(side) for side in zip(*pairs, strict=True))
    over_frames = bootstrap(ItemScore(prediction, target, ccc), generator=generator(), samples=300)
    assert over_videos.high - over_videos.low > 3 * (over_frames.high - over_frames.low)
    assert over_videos.low < float(ccc(prediction, target)) < over_videos.high


def test_the_generator_alone_decides():
    score = GroupScore(moments(videos(9, 1.0)))
    first, again = (bootstrap(score, generator=generator(5)) for _ in range(2))
    other = bootstrap(score, generator=generator(6))
    assert first == again
    assert first != other


def test_the_draws_do_not_depend_on_how_many_are_made_at_once(monkeypatch):
    score = GroupScore(moments(videos(9, 1.0)))
    whole = bootstrap(score, generator=generator())
    monkeypatch.setattr("shared_core.metrics.intervals._DRAWS_AT_ONCE", 70)
    assert bootstrap(score, generator=generator()) == whole


def test_a_wider_level_gives_a_wider_interval():
    score = GroupScore(moments(videos(12, 1.0)))
    narrow = bootstrap(score, generator=generator(), level=0.5)
    wide = bootstrap(score, generator=generator(), level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_fewer_than_five_groups_have_no_interval_and_say_so():
    interval = bootstrap(GroupScore(moments(videos(4, 1.0))), generator=generator())
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert (interval.groups, interval.reason) == (4, "fewer than 5 videos")
    assert bootstrap(GroupScore(moments(videos(5, 1.0))), generator=generator()).reason is None


def test_a_score_that_is_mostly_undefined_has_no_interval():
    constant = torch.zeros(8)
    interval = bootstrap(ItemScore(constant, constant, srcc), generator=generator(), samples=50)
    assert interval.reason == "undefined in 50 of 50 resamples"


def test_the_difference_is_paired():
    """Where ours is the baseline plus a little, pairing shows it although the intervals overlap."""
    draw = generator(2)
    target = torch.randn(60, generator=draw)
    baseline = target + torch.randn(60, generator=draw)
    ours = target + 0.9 * (baseline - target)
    scores = [ItemScore(prediction, target, mae) for prediction in (ours, baseline)]
    alone = [bootstrap(score, generator=generator()) for score in scores]
    difference = bootstrap_difference(*scores, generator=generator())
    assert alone[0].high > alone[1].low
    assert difference.high < 0


def test_no_difference_is_exactly_none():
    score = GroupScore(moments(videos(7, 1.0)))
    difference = bootstrap_difference(score, score, generator=generator())
    assert (difference.low, difference.high) == (0, 0)


def test_a_constant_baseline_has_ccc_zero_in_every_resample():
    pairs = videos(8, 0.3)
    constant = GroupScore([Moments.of(torch.full_like(t, 0.2), t) for _, t in pairs])
    difference = bootstrap_difference(GroupScore(moments(pairs)), constant, generator=generator())
    assert difference == bootstrap(GroupScore(moments(pairs)), generator=generator())


def test_a_baseline_of_other_groups_is_refused():
    with pytest.raises(ValueError, match=r"7 videos.* 8"):
        bootstrap_difference(
            GroupScore(moments(videos(7, 1.0))),
            GroupScore(moments(videos(8, 1.0))),
            generator=generator(),
        )


def test_correlation_over_groups():
    score = GroupScore(moments(videos(6, 0.5)), Moments.correlation, noun="clips")
    drawn = torch.arange(6)[None]
    prediction, target = (torch.cat(side) for side in zip(*videos(6, 0.5), strict=True))
    expected = np.corrcoef(prediction.double(), target.double())[0, 1]
    assert float(score(drawn)[0]) == pytest.approx(expected, abs=1e-12)


def test_a_mean_over_groups_is_drawn_by_group_and_counts_items():
    values = torch.tensor([1.0, 2.0, 6.0, float("nan"), 4.0], dtype=torch.float64)
    score = MeanScore(values, torch.tensor([0, 0, 1, 1, 2]), noun="pictures")
    assert (len(score), score.value()) == (3, 13 / 4)
    assert score(torch.tensor([[0, 0, 2], [1, 1, 1]])).tolist() == [10 / 5, 6.0]
    alone = MeanScore(values)
    assert (len(alone), alone.value()) == (4, 13 / 4)
    assert alone(torch.tensor([[0, 1, 3, 3]])).tolist() == [11 / 4]


def test_a_group_without_items_that_count_is_none():
    score = MeanScore(torch.full((3,), float("nan"), dtype=torch.float64), torch.tensor([0, 1, 1]))
    assert len(score) == 0
    assert math.isnan(score.value())
    assert "fewer than 5" in bootstrap(score, generator=generator()).reason


def test_items_of_one_group_widen_the_interval():
    """Forty items in eight groups that agree inside say less than forty independent ones."""
    of_groups = torch.randn(8, generator=generator(), dtype=torch.float64).repeat_interleave(5)
    by_group = MeanScore(of_groups, torch.arange(8).repeat_interleave(5))
    widths = [
        found.high - found.low
        for score in (by_group, MeanScore(of_groups))
        for found in [bootstrap(score, generator=generator())]
    ]
    assert widths[0] > 1.5 * widths[1]
