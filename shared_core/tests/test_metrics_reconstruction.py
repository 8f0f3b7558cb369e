"""Errors of reconstructed pictures: pooled over pixels, by picture, and as a score to resample."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from shared_core.errors import NonFiniteError
from shared_core.metrics import (
    RMSE,
    MeanScore,
    PixelScore,
    bootstrap,
    root_mean,
    squared_errors,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, size: int = 8, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions, worse from one picture to the next, and targets, 0 to 255."""
    draw = generator(seed)
    target = 255 * torch.rand(count, 3, size, size, generator=draw)
    noise = torch.randn(count, 3, size, size, generator=draw)
    return target + noise * torch.arange(1, count + 1)[:, None, None, None], target


def slow_rmse(prediction: torch.Tensor, target: torch.Tensor) -> float:
    errors = [
        float(p) - float(t) for p, t in zip(prediction.flatten(), target.flatten(), strict=True)
    ]
    return math.sqrt(math.fsum(error**2 for error in errors) / len(errors))


def test_acceptance_17_equal_images_have_no_error_and_unequal_batches_are_pooled():
    prediction, target = pictures(5)
    assert PixelScore(squared_errors(target, target)).value() == 0
    batches = [(prediction[:4], target[:4]), (prediction[4:], target[4:])]
    rows = torch.cat([squared_errors(*batch) for batch in batches])
    pooled = slow_rmse(prediction, target)
    assert PixelScore(rows).value() == pytest.approx(pooled, rel=1e-12)
    mean_of_two = np.mean([slow_rmse(*batch) for batch in batches])
    assert abs(mean_of_two - pooled) > 0.3


def test_the_pooled_value_is_that_of_the_streaming_metric():
    prediction, target = pictures(7)
    metric = RMSE()
    for part in zip(prediction.split(3), target.split(3), strict=True):
        metric.update(*part)
    pooled = PixelScore(squared_errors(prediction, target)).value()
    assert pooled == pytest.approx(float(metric.compute()), rel=1e-12)


def test_a_picture_has_an_error_of_its_own():
    prediction, target = pictures(4)
    found = root_mean(squared_errors(prediction, target))
    expected = [slow_rmse(*pair) for pair in zip(prediction, target, strict=True)]
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


def test_pictures_of_another_size_count_by_their_pixels():
    small, large = squared_errors(*pictures(2, 4)), squared_errors(*pictures(2, 12, seed=1))
    assert small[:, 0].tolist() == [48, 48]
    assert large[:, 0].tolist() == [432, 432]
    sums = float(small[:, 1].sum() + large[:, 1].sum())
    score = PixelScore(torch.cat((small, large)))
    assert score.value() == pytest.approx(math.sqrt(sums / 960), rel=1e-12)


def test_a_resample_is_the_error_of_its_pictures_together():
    prediction, target = pictures(6)
    drawn = torch.tensor([[0, 1, 2, 3, 4, 5], [5, 5, 5, 0, 0, 2]])
    values = PixelScore(squared_errors(prediction, target))(drawn)
    for value, rows in zip(values, drawn, strict=True):
        assert float(value) == pytest.approx(slow_rmse(prediction[rows], target[rows]), rel=1e-12)


def test_intervals_are_over_pictures():
    rows = squared_errors(*pictures(20))
    pooled, mean = PixelScore(rows), MeanScore(root_mean(rows))
    for score in (pooled, mean):
        interval = bootstrap(score, generator=generator())
        assert interval.low < score.value() < interval.high
    assert pooled.value() > mean.value()  # Jensen: the root of the mean square is above the mean
    assert bootstrap(PixelScore(rows[:4]), generator=generator()).reason == "fewer than 5 images"


def test_bytes_do_not_wrap_around():
    dark, bright = (torch.full((1, 3, 2, 2), value, dtype=torch.uint8) for value in (1, 255))
    assert squared_errors(dark, bright).tolist() == [[12, 12 * 254**2]]


def test_no_pictures_have_no_error():
    nothing = squared_errors(torch.zeros(0, 3, 4, 4), torch.zeros(0, 3, 4, 4))
    assert nothing.shape == (0, 2)
    assert math.isnan(PixelScore(nothing).value())


def test_other_shapes_and_values_that_are_not_finite_are_refused():
    prediction, target = pictures(2)
    with pytest.raises(ValueError, match="expected the same shape"):
        squared_errors(prediction[:, :1], target)
    prediction[1, 0, 0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"prediction\[192\] is nan"):
        squared_errors(prediction, target)
