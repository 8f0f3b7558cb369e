"""Images: one meaning for every depth, palette, alpha and orientation; damage is named."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
import torch
from PIL import Image

from shared_core.data.images import (
    decode_image,
    encode_png,
    list_images,
    open_grey,
    open_picture,
    read_image,
)
from shared_core.errors import DataError
from shared_core.testing.data import shared_data


def drawn(*shape: int, high: int = 256, dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, high, shape, dtype=dtype)


def saved(image: Image.Image, kind: str = "PNG", **settings) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def decoded(image: Image.Image, kind: str = "PNG", **settings) -> np.ndarray:
    tensor = decode_image(saved(image, kind, **settings), "image")
    assert tensor.dtype == torch.uint8
    assert tensor.is_contiguous()
    return tensor.permute(1, 2, 0).numpy()


def test_png_bytes_come_back_as_they_were():
    image = torch.from_numpy(drawn(3, 5, 7))
    assert torch.equal(decode_image(encode_png(image), "image"), image)
    assert torch.equal(decode_image(encode_png(image.transpose(1, 2)), "x"), image.transpose(1, 2))


def test_grey_becomes_three_equal_channels():
    grey = drawn(4, 6)
    np.testing.assert_array_equal(decoded(Image.fromarray(grey)), np.stack([grey] * 3, -1))
    black_and_white = Image.fromarray(grey > 127)
    assert black_and_white.mode == "1"
    np.testing.assert_array_equal(decoded(black_and_white)[..., 0], 255 * (grey > 127))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_and_not_clipped(kind):
    grey = drawn(8, 9, high=2**16, dtype=np.uint16)
    grey[0, :3] = 0, 65535, 128
    expected = np.round(grey / 257).astype(np.uint8)
    np.testing.assert_array_equal(decoded(Image.fromarray(grey), kind)[..., 1], expected)


def test_transparency_is_laid_on_black():
    rgba = drawn(5, 6, 4)
    rgba[0, 0, 3], rgba[0, 1, 3] = 0, 255
    slow = np.round(rgba[..., :3] * (rgba[..., 3:] / 255))
    assert np.abs(decoded(Image.fromarray(rgba)).astype(int) - slow).max() <= 1
    assert (decoded(Image.fromarray(rgba))[0, 0] == 0).all()
    np.testing.assert_array_equal(decoded(Image.fromarray(rgba))[0, 1], rgba[0, 1, :3])
    one_colour = Image.new("RGB", (2, 1), (10, 20, 30))
    assert (decoded(one_colour, transparency=(10, 20, 30)) == 0).all()


def test_a_picture_may_be_laid_on_another_colour(tmp_path):
    pixels = np.full((2, 2, 4), 100, np.uint8)
    pixels[0, 0, 3], pixels[1, 1, 3] = 0, 255
    Image.fromarray(pixels).save(tmp_path / "clear.png")
    white = np.asarray(open_picture(tmp_path / "clear.png", background=(255, 255, 255)))
    assert white[0, 0].tolist() == [255, 255, 255]
    assert white[1, 1].tolist() == [100, 100, 100]
    assert (np.asarray(open_picture(tmp_path / "clear.png"))[0, 0] == 0).all()


def test_palette_and_cmyk_become_rgb():
    palette = Image.fromarray(drawn(16, 16, 3)).quantize(8)
    np.testing.assert_array_equal(decoded(palette), np.asarray(palette.convert("RGB")))
    cmyk = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    assert np.abs(decoded(cmyk, "JPEG").astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(3, lambda a: a[::-1, ::-1]), (6, lambda a: np.rot90(a, -1)), (8, lambda a: np.rot90(a))],
)
def test_the_orientation_of_the_camera_is_applied(orientation, upright):
    pixels = drawn(4, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decoded(Image.fromarray(pixels), exif=exif), upright(pixels))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.9])
def test_a_file_that_is_cut_short_is_named(tmp_path, kind, keep):
    data = saved(Image.fromarray(drawn(64, 64, 3)), kind)
    path = tmp_path / "photo 7.png"
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataError, match=r"photo 7\.png: it is damaged, cut short or no image"):
        read_image(path)


@pytest.mark.filterwarnings("ignore")  # Pillow's remarks on broken TIFF tags
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
def test_flipped_bytes_give_an_image_or_an_error_of_the_data(kind):
    data = saved(Image.fromarray(drawn(16, 16, 3)), kind)
    draw = random.Random(0)
    for _ in range(200):
        broken = bytearray(data)
        for _ in range(3):
            broken[draw.randrange(len(data))] = draw.randrange(256)
        try:
            assert decode_image(bytes(broken), "image").shape[0] == 3
        except DataError:
            continue


def test_text_float_values_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(DataError, match="no image"):
        decode_image(b"valence,arousal\n0,0\n", "x.png")
    with pytest.raises(DataError, match="expected an image of 8 or 16 bits, found float values"):
        decode_image(saved(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"), "x.tif")
    with pytest.raises(DataError, match="found 32-bit values"):
        decode_image(saved(Image.fromarray(np.full((2, 2), 70_000, np.int32)), "TIFF"), "x.tif")
    with pytest.raises(DataError, match=r"gone\.png: cannot be read \(No such file"):
        read_image(tmp_path / "gone.png")


def test_an_image_that_would_fill_the_memory_is_refused():
    header = saved(Image.new("1", (1, 1)))
    size = b"IHDR" + (100_000).to_bytes(4, "big") * 2
    huge = header[:12] + size + header[24:]
    with pytest.raises(DataError, match=r"x\.png: it is damaged"):
        decode_image(huge, "x.png")


def test_images_of_a_folder_come_in_natural_order(tmp_path):
    names = ["10.jpg", "9.JPG", "a10b2.png", "a9b10.png", "a9b9.png", "B1.webp", "٣.png"]
    for name in [*names, ".hidden.png", "._9.jpg", "notes.txt"]:
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    found = [path.name for path in list_images(tmp_path)]
    assert found == ["9.JPG", "10.jpg", "a9b9.png", "a9b10.png", "a10b2.png", "B1.webp", "٣.png"]


def test_a_folder_without_images_and_a_missing_one_are_named(tmp_path):
    with pytest.raises(DataError, match=r"expected image files \(.*\.jpg.*\), found none"):
        list_images(tmp_path)
    with pytest.raises(DataError, match="there is no such folder"):
        list_images(tmp_path / "gone")


def test_a_real_photo_is_what_opencv_reads():
    cv2 = pytest.importorskip("cv2")
    path = shared_data("common", "equirect_photos", "petra.jpg")
    expected = cv2.imread(str(path))[..., ::-1].astype(int)
    found = read_image(path).permute(1, 2, 0).numpy()
    assert found.shape == (1024, 2048, 3)
    assert np.abs(found - expected).max() <= 2


# --- pictures for crops, and maps of one meaning per pixel -----------------------------------------


def test_a_picture_is_what_read_image_reads(tmp_path):
    path = tmp_path / "p.png"
    Image.fromarray(drawn(6, 9, 4), "RGBA").save(path)
    picture = open_picture(path)
    assert (picture.mode, picture.size) == ("RGB", (9, 6))
    assert np.array_equal(np.asarray(picture).transpose(2, 0, 1), read_image(path).numpy())


def test_a_picture_can_be_had_as_it_is_stored(tmp_path):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.fromarray(drawn(20, 30, 3)).save(path, exif=exif)
    assert open_picture(path).size == (20, 30)
    assert open_picture(path, upright=False).size == (30, 20)


@pytest.mark.parametrize(
    ("enough", "found"),
    [((640, 480), (640, 480)), ((320, 240), (320, 240)), ((100, 90), (160, 120))],
)
def test_a_jpeg_is_decoded_no_smaller_than_is_enough(tmp_path, enough, found):
    path = tmp_path / "large.jpg"
    Image.fromarray(drawn(480, 640, 3)).save(path)
    assert open_picture(path, at_least=enough).size == found


def test_depth_keeps_its_bits(tmp_path):
    eight, sixteen = drawn(4, 5), drawn(4, 5, high=65536, dtype=np.uint16)
    Image.fromarray(eight).save(tmp_path / "eight.png")
    Image.fromarray(sixteen).save(tmp_path / "sixteen.png")
    Image.fromarray(np.repeat(eight[..., None], 3, axis=2)).save(tmp_path / "colour.png")
    found = open_grey(tmp_path / "sixteen.png")
    assert found.dtype == np.uint16
    assert np.array_equal(found, sixteen)
    for name in ("eight.png", "colour.png"):
        assert open_grey(tmp_path / name).dtype == np.uint8
        assert np.array_equal(open_grey(tmp_path / name), eight)


def test_what_is_no_depth_is_refused(tmp_path):
    Image.fromarray(np.zeros((3, 3), np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(DataError, match="float values"):
        open_grey(tmp_path / "float.tiff")
    with pytest.raises(DataError, match="no such file"):
        open_grey(tmp_path / "none.png")
    whole = saved(Image.fromarray(drawn(50, 50, 3)), "JPEG")
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    for reader in (open_grey, open_picture):
        with pytest.raises(DataError, match=r"cut\.jpg.*damaged"):
            reader(tmp_path / "cut.jpg")
