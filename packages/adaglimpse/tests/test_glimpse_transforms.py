"""Resizing and random changes, against Pillow, torchvision and formulas written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision import transforms as reference

from adaglimpse.data import transforms
from adaglimpse.data.transforms import Crop, evaluation, random_crop, training
from shared_core.data.loader import generator


def picture(height=40, width=60, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def mask(height=40, width=60, seed=0):
    values = np.random.default_rng(seed).integers(0, 5, (height, width), dtype=np.uint8)
    return Image.fromarray(values)


def changed(image, key, kind, labels=None, size=None, shear="constant"):
    size = size or (image.height, image.width)
    return training(image, labels, size, generator(key), kind=kind, shear=shear)


def pixels(image):
    return np.asarray(image).astype(int)


def unchanged(image, _draws):
    return image


@pytest.fixture
def whole(monkeypatch):
    """Crops take the whole picture."""

    def take_all(width, height, share, draws):
        return Crop(0, 0, height, width)

    monkeypatch.setattr(transforms, "random_crop", take_all)


@pytest.fixture
def plain(monkeypatch):
    """Colours stay as they are."""
    monkeypatch.setattr(transforms, "_recoloured", unchanged)
    monkeypatch.setattr(transforms, "_one_of_three", unchanged)


# --- resizing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["reconstruction", "classification", "segmentation"])
def test_evaluation_resizes_to_the_size_as_torchvision_does(task):
    """Bilinear, bicubic for segmentation, antialiased, whatever the aspect."""
    smooth = "BICUBIC" if task == "segmentation" else "BILINEAR"
    mode = reference.InterpolationMode[smooth]
    found, labels = evaluation(picture(), mask(), (32, 16), task=task)
    assert found.size == (16, 32)
    assert np.array_equal(pixels(found), pixels(reference.Resize((32, 16), mode)(picture())))
    nearest = reference.Resize((32, 16), reference.InterpolationMode.NEAREST)(mask())
    assert np.array_equal(pixels(labels), pixels(nearest))


def test_evaluation_of_a_picture_alone():
    assert evaluation(picture(), None, (16, 16), task="segmentation")[1] is None


# --- draws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["flip", "crop", "three", "segmentation"])
def test_the_generator_alone_decides(kind):
    first, same = (changed(picture(), 7, kind, mask()) for _ in range(2))
    assert np.array_equal(pixels(first[0]), pixels(same[0]))
    assert np.array_equal(pixels(first[1]), pixels(same[1]))
    others = [changed(picture(), key, kind, mask()) for key in range(8, 30)]
    assert any(not np.array_equal(pixels(first[0]), pixels(other[0])) for other in others)


@pytest.mark.parametrize("kind", ["flip", "crop", "three", "segmentation"])
def test_every_kind_gives_the_size_that_is_asked_for(kind):
    found, labels = changed(picture(), 0, kind, mask(), (48, 32))
    assert found.mode == "RGB"
    assert found.size == labels.size == (32, 48)


def test_flips_mirror_half_of_the_pictures_and_change_nothing_else():
    image = picture(8, 8)
    mirrored = 0
    for key in range(400):
        found = pixels(changed(image, key, "flip")[0])
        turned = np.array_equal(found, pixels(image)[:, ::-1])
        assert turned or np.array_equal(found, pixels(image))
        mirrored += turned
    assert 150 < mirrored < 250  # five standard deviations


# --- crops ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [(0.2, 1.0), (0.08, 1.0), (0.75, 1.0)])
def test_crops_have_the_area_and_the_aspect_that_are_asked_for(share):
    width, height = 400, 300
    crops = [random_crop(width, height, share, generator(key)) for key in range(500)]
    for top, left, high, wide in crops:
        assert 0 <= top <= height - high
        assert 0 <= left <= width - wide
        # Sides are rounded to whole pixels.
        assert share[0] - 0.01 < wide * high / (width * height) < share[1] + 0.01
        assert 3 / 4 - 0.02 < wide / high < 4 / 3 + 0.02
    areas = [crop.height * crop.width / (width * height) for crop in crops]
    assert min(areas) < share[0] + 0.1 * (share[1] - share[0])
    assert max(areas) > share[1] - 0.15 * (share[1] - share[0])


def test_narrow_and_wide_crops_are_as_likely():
    crops = [random_crop(900, 900, (0.2, 0.5), generator(key)) for key in range(600)]
    aspects = np.log([crop.width / crop.height for crop in crops]) / math.log(4 / 3)
    assert aspects.min() < -0.97
    assert aspects.max() > 0.97
    assert abs(aspects.mean()) < 4 / math.sqrt(3 * len(crops))  # four standard errors
    assert np.quantile(aspects, 0.25) == pytest.approx(-0.5, abs=0.13)


@pytest.mark.parametrize(
    ("kind", "share"),
    [("crop", (0.2, 1.0)), ("three", (0.08, 1.0)), ("segmentation", (0.75, 1.0))],
)
def test_every_kind_asks_for_crops_of_its_own(monkeypatch, kind, share):
    asked = []

    def take_all(width, height, share, draws):
        asked.append(share)
        return Crop(0, 0, height, width)

    monkeypatch.setattr(transforms, "random_crop", take_all)
    changed(picture(), 0, kind, mask())
    assert asked == [share]


def test_crops_reach_every_edge():
    crops = [random_crop(8, 8, (0.2, 0.3), generator(key)) for key in range(200)]
    assert min(crop.top for crop in crops) == min(crop.left for crop in crops) == 0
    assert max(crop.top + crop.height for crop in crops) == 8
    assert max(crop.left + crop.width for crop in crops) == 8


@pytest.mark.parametrize(("width", "height"), [(1000, 10), (10, 1000), (997, 13)])
def test_a_picture_that_no_crop_fits_is_cut_at_its_centre(width, height):
    expected = reference.RandomResizedCrop.get_params(
        torch.zeros(3, height, width), [0.9, 1.0], [3 / 4, 4 / 3]
    )
    assert random_crop(width, height, (0.9, 1.0), generator(0)) == expected


def test_a_crop_is_a_part_of_the_picture_resized_bicubic():
    image = picture()
    for key in range(6):
        top, left, high, wide = random_crop(60, 40, (0.2, 1.0), generator(key))
        part = image.crop((left, top, left + wide, top + high)).resize((24, 16), Image.BICUBIC)
        found = pixels(changed(image, key, "crop", size=(16, 24))[0])
        assert np.array_equal(found, pixels(part)) or np.array_equal(found, pixels(part)[:, ::-1])


# --- colours --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("whole")
def test_exactly_one_of_grey_solarised_and_blurred(monkeypatch):
    monkeypatch.setattr(transforms, "_recoloured", unchanged)
    image = picture()
    grey = pixels(ImageOps.grayscale(image))[..., None].repeat(3, 2)
    solar = np.where(pixels(image) >= 128, 255 - pixels(image), pixels(image))
    seen = {"grey": 0, "solar": 0, "blurred": 0}
    for key in range(120):
        found = pixels(changed(image, key, "three")[0])
        name = "blurred"
        for turned in (found, found[:, ::-1]):
            name = "grey" if np.array_equal(turned, grey) else name
            name = "solar" if np.array_equal(turned, solar) else name
        seen[name] += 1
        if name == "blurred":
            assert pixels(image).std() * 0.05 < found.std() < pixels(image).std()
            assert found.mean() == pytest.approx(pixels(image).mean(), abs=2)
    assert min(seen.values()) > 20


@pytest.mark.usefixtures("whole")
def test_brightness_contrast_and_saturation_change_by_three_tenths(monkeypatch):
    monkeypatch.setattr(transforms, "_one_of_three", unchanged)
    even = Image.new("RGB", (4, 4), (120, 120, 120))  # only brightness shows
    levels = [pixels(changed(even, key, "three")[0]) for key in range(200)]
    assert all((level == level[0, 0]).all() for level in levels)
    factors = [level[0, 0, 0] / 120 for level in levels]
    assert 0.69 < min(factors) < 0.75
    assert 1.25 < max(factors) < 1.31
    red = Image.new("RGB", (4, 4), (150, 90, 90))
    spread = [np.ptp(pixels(changed(red, key, "three")[0])[0, 0]) / 60 for key in range(200)]
    assert 0.7**3 - 0.05 < min(spread) < 0.7
    assert 1.3 < max(spread) < 1.3**3 + 0.05


def test_every_order_of_the_three_changes_of_colour():
    draws = [tuple(transforms._Draws(generator(key)).order(3)) for key in range(100)]
    assert len(set(draws)) == 6


# --- segmentation ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("plain")
def test_picture_and_mask_move_together():
    """A picture that shows its mask: where both are far from an edge, they still agree."""
    classes = np.zeros((60, 80), np.uint8)
    classes[:, 40:], classes[30:, :] = 1, 2
    shown = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250]], np.uint8)[classes]
    for key in range(20):
        found, labels = changed(
            Image.fromarray(shown), key, "segmentation", Image.fromarray(classes)
        )
        colours, labels = pixels(found), pixels(labels)
        sure = colours.max(-1) > 200
        assert sure.mean() > 0.7
        agree = colours.argmax(-1)[sure] == labels[sure]
        assert agree.mean() > 0.985
        assert set(np.unique(labels)) <= {0, 1, 2, 255}  # masks are never mixed


@pytest.mark.usefixtures("whole")
def test_what_comes_in_from_outside_is_black_and_does_not_count(monkeypatch):
    monkeypatch.setattr(transforms, "_recoloured", unchanged)
    monkeypatch.setattr(transforms, "_one_of_three", unchanged)
    image = Image.new("RGB", (80, 60), (200, 200, 200))
    labels = Image.new("L", (80, 60), 7)
    for key in range(10):
        found, moved = (pixels(one) for one in changed(image, key, "segmentation", labels))
        assert set(np.unique(moved)) == {7, 255}
        assert found[moved == 7].mean() > 195  # but for the mixed pixels of the edge
        assert found[moved == 255].mean() < 30


@pytest.mark.usefixtures("plain", "whole")
def test_constant_shear_moves_columns_by_the_tangent_of_five_degrees(monkeypatch):
    monkeypatch.setattr(transforms, "ROTATION", 0.0)
    monkeypatch.setattr(transforms, "TRANSLATION", 0.0)
    classes = np.tile(np.arange(120, dtype=np.uint8), (80, 1))
    image = Image.fromarray(np.zeros((80, 120, 3), np.uint8))
    for key in range(4):
        labels = pixels(changed(image, key, "segmentation", Image.fromarray(classes))[1])
        if labels[40, 30] > labels[40, 90]:
            labels = labels[:, ::-1]
            slope = -1  # it was mirrored before it was sheared
        else:
            slope = 1
        for row in (5, 40, 75):
            shift = math.tan(math.radians(5)) * (row + 0.5 - 40)
            moved = labels[row, 30:90] - np.arange(30, 90)
            assert np.abs(moved - slope * shift).max() <= 1


@pytest.mark.usefixtures("plain", "whole")
def test_symmetric_shear_goes_both_ways(monkeypatch):
    monkeypatch.setattr(transforms, "ROTATION", 0.0)
    monkeypatch.setattr(transforms, "TRANSLATION", 0.0)
    monkeypatch.setattr(transforms, "_mirrored", lambda image, labels, _draws: (image, labels))
    classes = Image.fromarray(np.tile(np.arange(120, dtype=np.uint8), (400, 1)))
    image = Image.new("RGB", (120, 400))

    def slope(key, shear):
        labels = pixels(changed(image, key, "segmentation", classes, shear=shear)[1])
        return math.degrees(math.atan((labels[390, 60] - labels[10, 60]) / 380))

    rounding = math.degrees(1 / 380)  # a column, over that many rows
    assert {abs(slope(key, "constant") - 5) <= rounding for key in range(10)} == {True}
    assert len({slope(key, "constant") for key in range(10)}) == 1
    slopes = [slope(key, "symmetric") for key in range(100)]
    assert -5 - rounding < min(slopes) < -4.5
    assert 4.5 < max(slopes) < 5 + rounding


@pytest.mark.usefixtures("plain", "whole")
def test_rotation_and_shift_stay_within_their_limits(monkeypatch):
    """A dot at the centre is shifted only; one far from it is turned as well."""
    monkeypatch.setattr(transforms, "SHEAR", 0.0)
    monkeypatch.setattr(transforms, "_mirrored", lambda image, labels, _draws: (image, labels))
    classes = np.zeros((201, 201), np.uint8)
    classes[100, 100], classes[100, 150] = 1, 2
    classes[99:102, 99:102], classes[99:102, 149:152] = 1, 2
    image = Image.new("RGB", (201, 201))
    shifts, angles = [], []
    for key in range(60):
        labels = pixels(changed(image, key, "segmentation", Image.fromarray(classes))[1])
        centre = np.argwhere(labels == 1).mean(0)
        arm = np.argwhere(labels == 2).mean(0) - centre
        shifts.append(centre - 100)
        angles.append(math.degrees(math.atan2(arm[0], arm[1])))
    assert 7 < np.abs(shifts).max() < 11.1  # 5 % of 201 pixels
    assert 7 < np.abs(angles).max() < 11.5
    assert min(angles) < 0 < max(angles)
