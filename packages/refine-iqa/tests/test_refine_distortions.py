"""Twelve families of distortions: each is what its name says, grows with severity, and keeps to its box."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from refine_iqa.perception import distortions
from refine_iqa.perception.distortions import FAMILIES, SEVERITIES, apply
from shared_core.data.images import open_picture
from shared_core.testing.data import shared_data


@pytest.fixture(scope="module")
def picture():
    """Soft shapes with fine grain, so that every family finds something to spoil."""
    draw = np.random.default_rng(0)
    soft = ndimage.gaussian_filter(draw.normal(0, 1, (96, 128, 3)), (6, 6, 0))
    grain = ndimage.gaussian_filter(draw.normal(0, 1, (96, 128, 3)), (0.7, 0.7, 0))
    values = 118 + 45 * soft / soft.std() + 12 * grain / grain.std()
    return np.clip(values, 0, 255).astype(np.uint8)


def distort(family, severity, picture, box=None, seed=1):
    return apply(family, severity, picture, box, np.random.default_rng(seed))


def deviation(one, other):
    return np.abs(one.astype(float) - other).mean()


def deviations(family, picture, box, seed):
    return [
        deviation(distort(family, severity, picture, box, seed), picture) for severity in SEVERITIES
    ]


def test_there_are_twelve_families():
    assert len(FAMILIES) == 12


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("box", [None, (16, 8, 100, 80)])
def test_acceptance_23_a_higher_severity_is_further_from_the_picture(family, box, picture):
    for seed in range(4):  # of a direction, an angle, a field of noise
        found = deviations(family, picture, box, seed)
        assert all(low < high for low, high in itertools.pairwise(found)), found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("photo", ["kodim03.png", "kodim23.png"])
def test_acceptance_23_so_it_is_on_real_photos(family, photo):
    picture = np.asarray(open_picture(shared_data("common/kodak", photo)).reduce(2))
    for seed in range(2):
        found = deviations(family, picture, (40, 30, 300, 200), seed)
        assert all(low < high for low, high in itertools.pairwise(found)), found


@pytest.mark.parametrize("family", FAMILIES)
def test_outside_the_box_no_bit_changes_and_inside_it_rises_from_the_edge(family, picture):
    x1, y1, x2, y2 = box = (20, 16, 110, 88)
    result = distort(family, 5, picture, box)
    outside = np.ones(picture.shape[:2], bool)
    outside[y1:y2, x1:x2] = False
    np.testing.assert_array_equal(result[outside], picture[outside])
    change = np.abs(result.astype(float) - picture)[y1:y2, x1:x2].mean(axis=2)
    rim = np.concatenate([change[0], change[-1], change[:, 0], change[:, -1]])
    assert rim.mean() < 0.1 * change[12:-12, 12:-12].mean()


@pytest.mark.parametrize("family", ["gaussian blur", "gaussian noise", "underexposure", "banding"])
def test_on_the_pictures_border_a_box_has_no_soft_edge(family, picture):
    height, width = picture.shape[:2]
    whole = distort(family, 5, picture)
    np.testing.assert_array_equal(distort(family, 5, picture, (0, 0, width, height)), whole)
    left = distort("underexposure", 5, picture, (0, 0, 60, height))
    np.testing.assert_array_equal(left[:, :40], distort("underexposure", 5, picture)[:, :40])


@pytest.mark.parametrize("family", ["gaussian blur", "motion blur", "defocus blur"])
def test_a_blur_sees_beyond_its_box(family, picture):
    middle = np.s_[45:50, 60:65]
    in_box = distort(family, 5, picture, (50, 36, 76, 60))
    np.testing.assert_array_equal(in_box[middle], distort(family, 5, picture)[middle])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_draws_give_the_same_bytes_and_the_picture_is_kept(family, picture):
    before = picture.copy()
    np.testing.assert_array_equal(distort(family, 3, picture), distort(family, 3, picture))
    np.testing.assert_array_equal(picture, before)
    assert distort(family, 3, picture).dtype == np.uint8


@pytest.mark.parametrize(
    "family", ["motion blur", "gaussian noise", "impulse noise", "saturation shift"]
)
def test_other_draws_give_others(family, picture):
    assert len({distort(family, 4, picture, seed=seed).tobytes() for seed in range(6)}) > 1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 50, 3), (40, 2, 3)])
def test_tiny_and_plain_pictures_are_distorted_too(family, shape):
    for level in (0, 90, 255):
        result = distort(family, 5, np.full(shape, level, np.uint8))
        assert result.shape == shape


def test_the_gaussian_blur_is_scipys(picture):
    deviation_ = distortions._BLUR_DEVIATION[2]
    exact = ndimage.gaussian_filter(
        picture.astype(float), (deviation_, deviation_, 0), mode="nearest", truncate=3.0
    )
    assert (
        np.abs(distort("gaussian blur", 3, picture) - exact).max() < 0.75
    )  # rounding, and a wider tail


def test_the_defocus_blur_is_the_mean_over_a_disc(picture):
    radius = distortions._DEFOCUS_RADIUS[3]
    down, across = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = (down**2 + across**2 <= radius**2).astype(float)
    exact = ndimage.convolve(picture.astype(float), disc[..., None] / disc.sum(), mode="nearest")
    assert np.abs(distort("defocus blur", 4, picture) - exact).max() <= 0.501


def test_the_motion_blur_is_a_mean_along_a_line():
    """A white point becomes a line of points that lie within a pixel of one through its middle."""
    point = np.zeros((81, 81, 3), np.uint8)
    point[40, 40] = 255
    for seed in range(5):
        down, across = np.nonzero(distort("motion blur", 4, point, seed=seed)[..., 0])
        offsets = np.stack([down - 40, across - 40])
        assert len(set(zip(*offsets, strict=True))) > 20
        _, spread, _ = np.linalg.svd(offsets @ offsets.T)
        normal = np.linalg.svd(offsets)[0][:, 1]
        assert np.abs(normal @ offsets).max() <= 1
        assert spread[0] > 50 * spread[1]


def test_noise_has_the_spread_of_its_severity():
    grey = np.full((200, 200, 3), 128, np.uint8)
    noise = distort("gaussian noise", 1, grey) - 128.0
    assert noise.std() == pytest.approx(distortions._NOISE_DEVIATION[0], rel=0.02)
    assert abs(noise.mean()) < 0.2


def test_impulses_are_black_or_white_and_as_many_as_their_severity_says():
    grey = np.full((200, 200, 3), 128, np.uint8)
    hit = distort("impulse noise", 4, grey)
    assert set(np.unique(hit)) == {0, 128, 255}
    assert (hit[..., 0] != 128).mean() == pytest.approx(distortions._IMPULSE_SHARE[3], rel=0.1)
    assert (hit[hit != 128] == 255).mean() == pytest.approx(0.5, abs=0.05)


def test_jpeg_is_pillows(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=distortions._JPEG_QUALITY[1])
    np.testing.assert_array_equal(distort("jpeg compression", 2, picture), Image.open(buffer))


def test_pixelation_leaves_the_means_of_squares(picture):
    side = distortions._BLOCK_SIDE[4]
    result = distort("pixelation", 5, picture)
    square = picture[side : 2 * side, :side].reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(
        result[side : 2 * side, :side], np.broadcast_to(square, (side, side, 3)), atol=0.51
    )


def test_exposure_contrast_and_saturation_go_the_way_of_their_names(picture):
    assert distort("overexposure", 3, picture).mean() > picture.mean() + 20
    assert distort("underexposure", 3, picture).mean() < picture.mean() - 20
    flat = distort("contrast loss", 3, picture)
    assert flat.std() < 0.6 * picture.std()
    assert flat.mean() == pytest.approx(picture.mean(), abs=3)
    spreads = {
        round(distort("saturation shift", 5, picture, seed=seed).std(axis=2).mean())
        for seed in range(8)
    }
    clean = picture.std(axis=2).mean()
    assert min(spreads) < 0.2 * clean
    assert max(spreads) > 1.5 * clean


@pytest.mark.parametrize("severity", SEVERITIES)
def test_banding_leaves_so_many_levels_of_each_colour(severity, picture):
    result = distort("banding", severity, picture)
    for channel in range(3):
        assert len(np.unique(result[..., channel])) <= distortions._LEVELS[severity - 1]


@pytest.mark.parametrize(
    ("family", "severity", "box"),
    [("blur", 3, None), ("banding", 0, None), ("banding", 6, None), ("banding", 3, (0, 0, 129, 9)),
     ("banding", 3, (9, 9, 9, 20)), ("banding", 3, (-1, 0, 9, 9))],
)  # fmt: skip
def test_what_cannot_be_is_refused(family, severity, box, picture):
    with pytest.raises(ValueError, match=r"family 'blur'|severity|not inside 128 x 96"):
        distort(family, severity, picture, box)
