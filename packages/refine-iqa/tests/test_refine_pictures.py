"""Pictures: their size by the rule, their pixels by one bicubic resize, and copies that are not copies."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from refine_iqa.data.pictures import Picture, read_picture, resize, smart_size
from shared_core.errors import DataError
from shared_core.testing.data import shared_data

SIDES = st.integers(1, 3000)


def drawn(height: int, width: int, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((768, 1024), (336, 448)),
        ((2160, 3840), (280, 504)),
        ((1080, 1920), (280, 504)),
        ((500, 500), (364, 364)),
        ((10, 10), (56, 56)),
        ((28, 28), (56, 56)),
        ((42, 70), (56, 56)),  # 1.5 and 2.5 patches: a half goes to the even number
    ],
)
def test_acceptance_06_sizes_are_those_of_the_published_rule(before, after):
    assert smart_size(*before) == after


def test_acceptance_06_a_side_more_than_200_times_the_other_is_refused():
    assert smart_size(10, 2000)[0] == 28
    with pytest.raises(ValueError, match="200"):
        smart_size(10, 2001)


@given(height=SIDES, width=SIDES, factor=st.sampled_from([28, 32]))
def test_sizes_are_multiples_within_the_bounds_and_stay_when_resized_again(height, width, factor):
    if max(height, width) > 200 * min(height, width):
        return
    size = smart_size(height, width, factor=factor)
    assert all(side % factor == 0 and side >= factor for side in size)
    assert size[0] * size[1] <= 151_200
    assert smart_size(*size, factor=factor) == size


@given(height=SIDES, width=SIDES, pixels=st.integers(1024, 200_000))
def test_no_choice_of_bounds_makes_more_pixels_than_the_most(height, width, pixels):
    if max(height, width) > 200 * min(height, width):
        return
    height, width = smart_size(height, width, min_pixels=pixels, max_pixels=pixels)
    assert height * width <= pixels


@pytest.mark.parametrize(
    ("size", "message"), [((0, 5), "0 pixels"), ((5, 5), "less than one patch")]
)
def test_impossible_sizes_are_refused(size, message):
    with pytest.raises(ValueError, match=message):
        smart_size(*size, max_pixels=500)


def test_a_picture_is_resized_once_by_bicubic(tmp_path):
    image = Image.fromarray(drawn(300, 500))
    image.save(tmp_path / "a.png")
    expected = image.resize((476, 280), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(np.asarray(read_picture(tmp_path / "a.png")), expected)


def test_a_picture_that_has_its_size_keeps_its_pixels(tmp_path):
    pixels = drawn(56, 84)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(read_picture(tmp_path / "a.png")), pixels)


def test_transparency_is_laid_on_white(tmp_path):
    pixels = drawn(56, 56, 4)
    pixels[..., 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (np.asarray(read_picture(tmp_path / "a.png")) == 255).all()


def test_grey_sixteen_bit_and_turned_images_become_rgb(tmp_path):
    Image.fromarray(drawn(56, 56, 1)).save(tmp_path / "grey.png")
    Image.fromarray(np.full((56, 56), 200 * 257, np.uint16)).save(tmp_path / "deep.png")
    turned = Image.fromarray(drawn(56, 84))
    exif = turned.getexif()
    exif[0x0112] = 6  # a quarter turn
    turned.save(tmp_path / "turned.jpg", exif=exif)
    grey = np.asarray(read_picture(tmp_path / "grey.png"))
    np.testing.assert_array_equal(grey, np.stack([drawn(56, 56, 1)] * 3, -1))
    assert (np.asarray(read_picture(tmp_path / "deep.png")) == 200).all()
    assert read_picture(tmp_path / "turned.jpg").size == (56, 84)


def test_copies_for_the_prompts_of_a_group_are_the_picture_itself():
    picture = Picture.of(Image.fromarray(drawn(28, 28)))
    prompts = copy.deepcopy([{"content": [{"image": picture}]} for _ in range(8)])
    assert all(prompt["content"][0]["image"] is picture for prompt in prompts)
    assert copy.copy(picture) is picture
    assert Picture.of(picture) is picture


def test_a_picture_is_an_image_and_what_is_made_of_it_is_a_plain_one():
    image = Image.fromarray(drawn(28, 56))
    picture = Picture.of(image)
    assert isinstance(picture, Image.Image)
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(image))
    for made in (picture.copy(), picture.convert("L"), picture.crop((0, 0, 9, 9))):
        assert not isinstance(made, Picture)
    painted = picture.copy()
    painted.putpixel((0, 0), (1, 2, 3))
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(image))


def test_a_picture_survives_the_way_from_a_worker():
    picture = resize(Image.fromarray(drawn(60, 60)))
    back = pickle.loads(pickle.dumps(picture))
    assert isinstance(back, Picture)
    np.testing.assert_array_equal(np.asarray(back), np.asarray(picture))


def test_bad_files_are_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_picture(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DataError, match=r"text\.png.*damaged"):
        read_picture(tmp_path / "text.png")
    Image.new("RGB", (201, 1)).save(tmp_path / "thin.png")
    with pytest.raises(DataError, match=r"thin\.png.*200 times the other, found 201 x 1"):
        read_picture(tmp_path / "thin.png")


def test_the_real_images_are_read():
    for path in sorted(shared_data("refine-iqa", "kadid10k_mini", "images").glob("*.png")):
        picture = read_picture(path)
        assert (picture.width, picture.height) == (448, 336)
        assert picture.mode == "RGB"
