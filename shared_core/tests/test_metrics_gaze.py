"""Metrics of gaze heat maps and of rankings, against slow formulas and the numbers of the field."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from shared_core.metrics import bootstrap
from shared_core.metrics.gaze import (
    angles,
    distances,
    enlarge,
    peak,
    picture_auc,
    pixels,
    present,
)
from shared_core.metrics.ranking import (
    PrecisionScore,
    area_under_roc,
    average_precision,
    group_numbers,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def maps(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 64, 64, generator=generator(seed), dtype=torch.float64)


def slow_auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Mann and Whitney: every positive against every negative."""
    above = scores[positive][:, None] - scores[~positive][None]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def slow_enlarged(heatmap: np.ndarray, height: int, width: int) -> np.ndarray:
    """A blur where an axis shrinks, then the mirror formula, a pixel at a time."""
    sigma = [max(0, (64 / side - 1) / 2) for side in (height, width)]
    if any(sigma):
        heatmap = ndimage.gaussian_filter(heatmap, sigma, mode="mirror", truncate=4)

    def place(i: int, n: int) -> tuple[int, int, float]:
        u = (i + 0.5) * 64 / n - 0.5
        u = -u if u < 0 else u
        u = 126 - u if u > 63 else u
        return int(u), min(int(u) + 1, 63), u - int(u)

    found = np.zeros((height, width))
    for i in range(height):
        a, b, t = place(i, height)
        for j in range(width):
            c, d, s = place(j, width)
            left = (1 - t) * heatmap[a, c] + t * heatmap[b, c]
            right = (1 - t) * heatmap[a, d] + t * heatmap[b, d]
            found[i, j] = (1 - s) * left + s * right
    return found


def test_acceptance_11_the_pixels_of_points():
    gazes = torch.tensor([[[1.0, 1.0], [0.999, 0.2], [-1, -1], [-0.5, 0.5], [0.5, -1.0]]])
    rows, columns = pixels(gazes, 250, 333) // 333, pixels(gazes, 250, 333) % 333
    assert (rows[0, 0], columns[0, 0]) == (249, 332)
    assert (rows[0, 1], columns[0, 1]) == (50, 332)
    assert pixels(gazes, 250, 333)[0, 2] == -1
    assert columns[0, 3] == 0  # never from the other side
    assert rows[0, 4] == 0
    assert present(gazes).tolist() == [[True, True, False, True, True]]


@pytest.mark.parametrize("size", [(480, 640), (40, 50), (200, 40)])
def test_acceptance_12_a_constant_map_has_half(size):
    gazes = torch.rand(1, 10, 2, generator=generator())
    for value in (0.3, -1e-7, 123.4):
        constant = torch.full((1, 64, 64), value)
        assert picture_auc(constant, gazes, *size).item() == 0.5


def test_acceptance_12_counting_is_exact_with_ties():
    for seed in range(100):
        draw = generator(seed)
        scores = torch.randint(0, 30, (2, 500), generator=draw).double()
        places = torch.randint(0, 500, (2, 7), generator=draw)
        places[1, 4:] = -1
        places[0, 1] = places[0, 0]  # two annotators on one pixel
        for row, found in enumerate(area_under_roc(scores, places).tolist()):
            positive = np.zeros(500, dtype=bool)
            positive[places[row][places[row] >= 0]] = True
            assert found == pytest.approx(slow_auc(scores[row].numpy(), positive), abs=1e-12)


def test_an_area_without_positives_negatives_or_numbers_is_undefined():
    scores = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, math.nan], [1.0, 2.0]])
    places = torch.tensor([[-1, -1], [0, 1], [0, -1], [1, -1]])
    found = area_under_roc(scores, places)
    assert found[:3].isnan().all()
    assert found[3] == 1


@pytest.mark.parametrize("size", [(480, 640), (250, 333), (40, 50), (200, 40)])
def test_acceptance_13_enlarged_as_the_mirror_formula_says(size):
    both = maps(2)
    for found, heatmap in zip(enlarge(both, *size), both, strict=True):
        np.testing.assert_allclose(found.numpy(), slow_enlarged(heatmap.numpy(), *size), atol=1e-6)


def test_acceptance_14_peaks():
    heatmaps = torch.zeros(4, 64, 64)
    heatmaps[0, 5, 9] = heatmaps[0, 5, 12] = heatmaps[0, 7, 1] = 3
    heatmaps[1] = -1
    heatmaps[1, 20, 30] = math.nan
    heatmaps[2, 63, 63] = 1
    heatmaps[2, 0, 0] = math.nan
    found = peak(heatmaps, nan_as_zero=True) * 64
    assert found.tolist() == [[9, 5], [30, 20], [63, 63], [0, 0]]
    middle = peak(heatmaps[:1], centre=True) * 64
    assert middle.tolist() == [[9.5, 5.5]]


def test_acceptance_15_angles():
    def angle(point, gaze, compat):
        eye = torch.zeros(1, 1, 2)
        return angles(torch.tensor([point]), eye, torch.tensor([[gaze]]), compat=compat)[0].item()

    assert angle((1.0, 0.0), (0.0, 1.0), True) == pytest.approx(90, abs=1e-4)
    assert angle((1.0, 0.0), (1.0, 0.0), True) == pytest.approx(0.079, abs=5e-4)
    assert angle((1.0, 0.0), (1.0, 0.0), False) == 0
    for compat in (True, False):
        assert angle((0.3, 0.2), (0.25, 0.4), compat) == pytest.approx(24.305, abs=2e-3)
    assert angle((1e-4, 0.0), (1e-4, 0.0), True) == pytest.approx(89.4, abs=0.05)
    assert angle((1e-4, 0.0), (1e-4, 0.0), False) == 0
    assert math.isnan(angle((0.0, 0.0), (1.0, 0.0), False))
    assert angle((0.0, 0.0), (1.0, 0.0), True) == 90


def test_distances_and_angles_of_several_annotators():
    points = torch.tensor([[0.5, 0.5], [0.1, 0.1]])
    gazes = torch.tensor([[[0.5, 0.9], [0.2, 0.5], [-1, -1]], [[-1, -1]] * 3])
    eyes = torch.tensor([[[0.5, 0.1]] * 3, [[0.0, 0.0]] * 3])
    least, to_mean = distances(points, gazes)
    assert least[0] == pytest.approx(0.3)
    assert to_mean[0] == pytest.approx(math.dist((0.5, 0.5), (0.35, 0.7)))
    assert least[1].isnan()
    assert to_mean[1].isnan()
    minimum, mean = angles(points, eyes, gazes)
    second = math.degrees(math.atan2(0.3, 0.4))
    assert minimum[0] == pytest.approx(0, abs=1e-4)
    assert mean[0] == pytest.approx(second / 2, abs=1e-3)
    assert minimum[1].isnan()


def test_acceptance_16_average_precision():
    labels = torch.tensor([True, False, True, False, True])
    falling = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5])
    assert average_precision(falling, labels).item() == pytest.approx(0.755556, abs=1e-6)
    assert average_precision(torch.ones(5), labels).item() == pytest.approx(0.6)
    assert average_precision(falling, torch.zeros(5, dtype=torch.bool)).isnan()
    assert average_precision(falling, torch.ones(5, dtype=torch.bool)).item() == 1


def slow_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        taken = scores >= threshold
        recall = labels[taken].sum() / labels.sum()
        total += (recall - recall_before) * labels[taken].mean()
        recall_before = recall
    return total


def test_average_precision_of_resamples_is_that_of_the_drawn_groups():
    draw = generator(3)
    scores = torch.randint(0, 12, (60,), generator=draw).float()
    labels = torch.rand(60, generator=draw) < 0.4
    names = [f"g{number}" for number in torch.randint(0, 9, (60,), generator=draw).tolist()]
    groups = group_numbers(names)
    score = PrecisionScore(scores, labels, groups)
    drawn = torch.randint(0, len(score), (8, len(score)), generator=draw)
    for row, found in zip(drawn.tolist(), score(drawn).tolist(), strict=True):
        rows = [i for group in row for i in (groups == group).nonzero()[:, 0].tolist()]
        slow = slow_precision(scores[rows].numpy(), labels[rows].numpy())
        assert found == pytest.approx(slow, abs=1e-12)
    interval = bootstrap(score, generator=generator())
    assert interval.low < float(average_precision(scores, labels)) < interval.high


def test_groups_are_numbered_by_name():
    assert group_numbers(["b", "a", "b", "c"]).tolist() == [1, 0, 1, 2]
