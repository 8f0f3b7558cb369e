"""The sphere: turning frames, cutting viewports, telling layouts; against slow formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from asal_vrvqa.data.projection import (
    require_equirectangular,
    rotation,
    turned,
    viewport,
    viewports,
)
from shared_core.data.images import open_picture
from shared_core.errors import DataError
from shared_core.testing.data import shared_data


def noise(height, width, *more, seed=0):
    values = np.random.default_rng(seed).normal(128, 50, (*more, height, width, 3))
    return np.clip(values, 0, 255).astype(np.uint8)


def smooth(height, width, sigma=3.0, seed=0):
    """A panorama without sharp edges, seamless at +-180 degrees."""
    values = np.random.default_rng(seed).normal(size=(height, width, 3))
    values = gaussian_filter(values, (sigma, sigma, 0), mode=("nearest", "wrap", "nearest"))
    return np.clip(128 + 45 * values / values.std(), 0, 255).astype(np.uint8)


def spot(height, width, longitude, latitude, degrees=6.0):
    """A bright spot at a longitude (to the right) and a latitude (up), in degrees."""
    phi = np.radians(90 - (np.arange(height) + 0.5) / height * 180)[:, None]
    theta = np.radians((np.arange(width) + 0.5) / width * 360 - 180)
    at, up = math.radians(longitude), math.radians(latitude)
    cosine = np.sin(phi) * math.sin(up) + np.cos(phi) * math.cos(up) * np.cos(theta - at)
    near = np.degrees(np.arccos(np.clip(cosine, -1, 1))) < degrees
    return np.repeat((255 * near).astype(np.uint8)[..., None], 3, axis=-1)


def turned_slowly(frame, yaw, pitch):
    """Pixel by pixel: float64, its own arc tangent, values cut off at the point."""
    height, width, _ = frame.shape
    matrix = rotation(-yaw, pitch)
    made = np.empty_like(frame)
    for h in range(height):
        phi = math.pi / 2 - (h + 0.5) / height * math.pi
        for w in range(width):
            theta = (w + 0.5) / width * 2 * math.pi - math.pi
            d = np.array(
                [math.cos(phi) * math.cos(theta), math.cos(phi) * math.sin(theta), math.sin(phi)]
            )
            x, y, z = d @ matrix
            around = math.atan(y / x)
            if x <= 0:
                around += math.pi if y > 0 else -math.pi
            column = (around / (2 * math.pi) + 0.5) * width - 0.5
            row = (0.5 - math.asin(max(-1, min(1, z))) / math.pi) * height - 0.5
            i, j = math.floor(column), math.floor(row)
            u, v = column - i, row - j
            top, bottom = max(j, 0), min(j + 1, height - 1)
            pixels = frame[:, [i % width, (i + 1) % width]].astype(float)
            value = (1 - v) * ((1 - u) * pixels[top, 0] + u * pixels[top, 1])
            value += v * ((1 - u) * pixels[bottom, 0] + u * pixels[bottom, 1])
            made[h, w] = np.clip(value, 0, 255)
    return made


def viewport_points(size, field_of_view, yaw, pitch, height, width):
    """Rows and columns of a viewport, written out."""
    edge = math.tan(math.radians(field_of_view) / 2)
    line = np.linspace(-edge, edge, size)
    x, y = np.meshgrid(line, line)
    rays = np.stack([x, y[::-1], np.ones_like(x)], axis=-1)
    c, s = math.cos(math.radians(pitch)), math.sin(math.radians(pitch))
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    c, s = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    about_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    x, y, z = np.moveaxis(rays @ (about_y @ about_x).T, -1, 0)
    u, v = np.arctan2(x, z), np.arctan2(y, np.sqrt(x**2 + z**2))
    return (-v / np.pi + 0.5) * height - 0.5, (u / (2 * np.pi) + 0.5) * width - 0.5


def test_acceptance_24_the_rotation_is_the_one_of_the_spec():
    expected = [[0.8471, -0.5, 0.1801], [0.4891, 0.8660, 0.1040], [-0.2079, 0, 0.9781]]
    np.testing.assert_allclose(rotation(30, -12), expected, atol=5e-5)
    np.testing.assert_allclose(rotation(30, -12) @ rotation(30, -12).T, np.eye(3), atol=1e-15)
    np.testing.assert_array_equal(rotation(0, 0), np.eye(3))


@pytest.mark.parametrize("size", [(32, 64), (512, 1024)])
def test_acceptance_24_no_turn_changes_no_level(size):
    frame = noise(*size)
    np.testing.assert_array_equal(turned(frame, 0, 0), frame)


@pytest.mark.parametrize(
    ("yaw", "pitch"), [(-110.2, -0.1), (30, 12), (179, 22), (-90, -15), (10, 90), (0, -90)]
)
def test_acceptance_24_a_turn_is_within_a_level_of_the_formula(yaw, pitch):
    frame = noise(24, 48, seed=1)
    found = turned(frame, yaw, pitch).astype(int)
    exact = turned_slowly(frame, yaw, pitch).astype(int)
    assert np.abs(found - exact).max() <= 1
    assert np.abs(found - frame).mean() > 10  # it did turn


def test_a_pixel_that_falls_on_the_pole_is_a_pixel():
    """There rounding makes the sine of its latitude larger than 1."""
    latitude = np.pi / 2 - (np.arange(16) + 0.5) / 16 * np.pi
    longitude = (np.arange(32) + 0.5) / 32 * 2 * np.pi - np.pi
    level = np.cos(latitude)[:, None]
    x, y = level * np.cos(longitude), level * np.sin(longitude)
    directions = np.stack(np.broadcast_arrays(x, y, np.sin(latitude)[:, None]), axis=-1)
    sine = (directions @ rotation(-5.625, 39.375))[..., 2]
    assert np.abs(sine).max() > 1
    frame = smooth(16, 32)
    with np.errstate(invalid="raise"):
        found = turned(frame, 5.625, 39.375).astype(int)
    away = np.abs(sine) < 1 - 1e-12  # a pole has every longitude
    assert np.abs(found - turned_slowly(frame, 5.625, 39.375))[away].max() <= 1
    for pole, row in ((sine >= 1 - 1e-12, frame[0]), (sine <= 1e-12 - 1, frame[-1])):
        assert (row.min(axis=0) <= found[pole]).all()
        assert (found[pole] <= row.max(axis=0)).all()


@pytest.mark.parametrize("columns", [1, 16, 40, -7])
def test_a_turn_by_whole_columns_moves_them_around_the_seam(columns):
    frame = noise(32, 64)
    found = turned(frame, 360 / 64 * columns, 0)
    np.testing.assert_array_equal(found, np.roll(frame, -columns, axis=1))


def test_frames_are_turned_together_as_each_alone():
    frames = noise(16, 32, 3)
    together = turned(frames, 50, -7)
    assert together.shape == frames.shape
    assert together.dtype == np.uint8
    for alone, found in zip(frames, together, strict=True):
        np.testing.assert_array_equal(turned(alone, 50, -7), found)


@pytest.mark.parametrize(
    ("yaw", "pitch", "longitude", "latitude"),
    [(90, 0, 90, 0), (-120, 0, -120, 0), (0, 20, 0, -20), (0, -15, 0, 15)],
)
def test_the_start_direction_is_seen_in_the_middle(yaw, pitch, longitude, latitude):
    """Yaw grows to the right and pitch downwards, in turned frames and in viewports."""
    frame = spot(64, 128, longitude, latitude)
    assert turned(frame, yaw, pitch)[31:33, 63:65].min() > 200
    crop = viewport(frame, yaw, pitch, 65, 90)
    assert crop[31:34, 31:34].min() > 200
    assert crop[:10].max() == 0


@pytest.mark.parametrize(
    ("yaw", "pitch", "field"), [(0, 0, 90), (75, 20, 90), (180, -15, 60), (-130, 40, 110)]
)
def test_spline_viewports_are_those_of_the_formula(yaw, pitch, field):
    frame = smooth(60, 120)
    places = viewport_points(33, field, yaw, pitch, 60, 120)
    exact = np.stack([map_coordinates(frame[..., c], places, order=3) for c in range(3)], axis=-1)
    found = viewport(frame, yaw, pitch, 33, field, "spline")
    assert np.abs(found.astype(int) - exact).max() <= 1


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (60, 25), (-100, -20)])
def test_bicubic_viewports_are_close_to_spline_ones(yaw, pitch):
    frame = smooth(120, 240)
    bicubic = viewport(frame, yaw, pitch, 64, 80, "bicubic").astype(int)
    spline = viewport(frame, yaw, pitch, 64, 80, "spline").astype(int)
    assert np.abs(bicubic - spline).max() <= 4
    assert np.abs(bicubic - spline).mean() < 0.6
    assert spline.std() > 30


def test_bicubic_viewports_do_not_see_the_seam():
    frame = smooth(60, 120)
    behind = viewport(frame, 180, 5, 48, 90).astype(int)
    ahead = viewport(np.roll(frame, 60, axis=1), 0, 5, 48, 90).astype(int)
    assert np.abs(behind - ahead).max() <= 1


@pytest.mark.parametrize("interpolation", ["bicubic", "spline"])
def test_viewports_of_a_frame_are_cut_together_as_each_alone(interpolation):
    frame, directions = noise(40, 80), [(0.0, 0.0), (100.0, -10.0), (-45.0, 30.0)]
    together = viewports(frame, directions, 20, 90, interpolation)
    assert together.shape == (3, 20, 20, 3)
    for direction, found in zip(directions, together, strict=True):
        np.testing.assert_array_equal(viewport(frame, *direction, 20, 90, interpolation), found)


def test_bicubic_viewports_of_a_photograph_are_close_to_spline_ones():
    photo = shared_data("common", "equirect_photos", "pannellum-examplepano.jpg")
    frame = np.asarray(open_picture(photo))
    bicubic = viewport(frame, 40, 5, 224, 90, "bicubic").astype(int)
    spline = viewport(frame, 40, 5, 224, 90, "spline").astype(int)
    assert np.abs(bicubic - spline).mean() < 1
    assert spline.std() > 20


@pytest.mark.parametrize(
    ("width", "height", "sample_aspect"),
    [(3840, 1920, 1), (640, 322, 161 / 160), (426, 214, 214 / 213), (640, 322, 1), (960, 960, 2)],
)
def test_what_is_shown_as_two_to_one_is_equirectangular(width, height, sample_aspect):
    require_equirectangular("v.mp4", width, height, sample_aspect)


@pytest.mark.parametrize(
    ("width", "height", "sample_aspect", "likely"),
    [
        (3840, 3840, 1, "top-bottom stereo, or a view of 180 degrees"),
        (7680, 1920, 1, "side-by-side stereo"),
        (1920, 1280, 1, "cubemap of 3 x 2"),
        (1920, 1080, 1, "ordinary video"),
        (2880, 1920, 8 / 3, "side-by-side stereo"),
    ],
)
def test_another_layout_is_named(width, height, sample_aspect, likely):
    with pytest.raises(DataError, match=rf"v\.mp4.*expected.*2:1.*likely.*{likely}"):
        require_equirectangular("v.mp4", width, height, sample_aspect)


@pytest.mark.parametrize(
    ("width", "accepted"), [(2039, True), (1961, True), (2041, False), (1959, False)]
)
def test_two_percent_are_let_pass(width, accepted):
    if accepted:
        require_equirectangular("v.mp4", width, 1000)
        return
    with pytest.raises(DataError, match="within 2 percent") as raised:
        require_equirectangular("v.mp4", width, 1000)
    assert "likely" not in str(raised.value)  # nothing is known that looks so
