"""Head boxes, head masks and heat maps: known numbers, and slow restatements."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaze_da.method.boxes import expanded
from gaze_da.method.targets import head_mask, heat_map, kernel_values


def test_acceptance_05_head_mask_truncates_and_never_sets_the_last_row():
    mask = head_mask((52, 24, 110, 96), 640, 480, 224)
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (11, 43, 18, 37)
    assert mask.sum() == 660
    assert head_mask((0, 0, 640, 480), 640, 480, 224).sum() == 49_729
    assert head_mask((100, 100, 100, 180), 640, 480, 224).sum() == 0
    assert head_mask((180, 100, 100, 180), 640, 480, 224).sum() == 0
    assert head_mask((-50, -50, 32, 24), 640, 480, 224).sum() == 11 * 11


@pytest.mark.parametrize(
    ("point", "total", "place"),
    [
        ((32, 32), 56.38298, (32, 32)),
        ((8.5, 8.5), 56.21628, (9, 9)),
        ((0, 0), 18.10018, (0, 0)),
        ((64, 64), 11.83600, (63, 63)),
    ],
)
def test_acceptance_06_heat_maps_of_the_authors(point, total, place):
    found = heat_map([point], 64, compat=True)
    assert found.sum() == pytest.approx(total, abs=1e-5)
    assert np.unravel_index(found.argmax(), found.shape) == place


def test_acceptance_06_targets_far_outside():
    assert heat_map([(73, 10)], 64, compat=True).sum() == 0
    assert np.isnan(heat_map([(-10, 32)], 64, compat=True)).all()
    assert heat_map([(-10, 32)], 64).sum() == 0


def test_acceptance_07_the_centre_is_the_cell_of_the_point():
    found = heat_map([(8.5, 8.5)], 64)
    assert np.unravel_index(found.argmax(), found.shape) == (8, 8)


@given(st.floats(-20, 84), st.floats(-20, 84))
def test_a_heat_map_is_the_gaussian_around_the_cell_of_its_point(x, y):
    found = heat_map([(x, y)], 64)
    column, row = math.floor(x), math.floor(y)
    expected = np.zeros((64, 64))
    for r in range(64):
        for c in range(64):
            if abs(r - row) <= 9 and abs(c - column) <= 9:
                expected[r, c] = math.exp(-((r - row) ** 2 + (c - column) ** 2) / 18)
    if expected.max() > 0:
        expected /= expected.max()
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_points_are_added_to_a_running_map():
    """Two points near one another: the first is divided twice."""
    first = heat_map([(30, 30)], 64)
    both = first + np.pad(kernel_values(), ((21, 24), (24, 21)))
    np.testing.assert_allclose(heat_map([(30, 30), (33, 30)], 64), both / both.max(), atol=1e-12)
    far = heat_map([(10, 10), (50, 50)], 64)
    assert far[10, 10] == far[50, 50] == 1


def test_the_cauchy_kernel():
    found = heat_map([(32, 32)], 64, kernel="cauchy")
    value = (3 / (2**2 + 9) ** 1.5) / (3 / 9**1.5)
    assert found[32, 34] == pytest.approx(value)


def test_acceptance_09_expansion_one_side_after_another():
    assert expanded((80, 20, 150, 90), 0.1) == pytest.approx((73, 13, 157.7, 97.7))
    assert expanded((80, 20, 150, 90), 0.1, symmetric=True) == pytest.approx((73, 13, 157, 97))
    assert expanded((80, 20, 150, 90), 0) == (80, 20, 150, 90)
