"""Pictures of an episode: what is in them, and that they can be read again."""

from __future__ import annotations

from itertools import pairwise

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from adaglimpse.drawing import (
    Story,
    animation,
    blocks,
    coloured,
    grid_picture,
    outlined,
    panels,
    received,
    write_gif,
    write_mp4,
)
from adaglimpse.drawing.pictures import IGNORED, NEWEST, OLDER
from adaglimpse.drawing.sheet import blank, write
from adaglimpse.method.glimpses import glimpse_boxes
from shared_core.errors import DataError


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), dtype=np.uint8)


def glimpses(count, *, grid, size):
    draw = torch.Generator().manual_seed(count)
    actions = torch.rand(count, 3, generator=draw)
    return glimpse_boxes(actions, grid=grid, image_size=size).numpy()


def story(count, *, task="classification", grid=2, size=(64, 96)):
    image = noise(*size)
    pictures = tuple(noise(*size, seed=step) for step in range(count + 1))
    return Story(
        image=image,
        boxes=glimpses(count, grid=grid, size=size),
        predictions=(None,) * (count + 1) if task == "classification" else pictures,
        captions=tuple(f"caption {step}" for step in range(count + 1)),
        target=noise(*size, seed=99) if task == "segmentation" else None,
    )


def full_grid(height, width, side):
    return np.array(
        [(y, x, y + side, x + side) for y in range(0, height, side) for x in range(0, width, side)]
    )


def test_blocks_of_a_full_grid_of_native_patches_are_the_image():
    image = noise(64, 96)
    np.testing.assert_array_equal(blocks(image, full_grid(64, 96, 16)), image)


def test_blocks_of_larger_patches_are_means_of_their_middles():
    """A patch of 32 pixels: each of its 16 x 16 is the mean of four, drawn as a square of four."""
    image = noise(64, 64)
    fours = image.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    expected = fours.repeat(2, axis=0).repeat(2, axis=1)
    found = blocks(image, full_grid(64, 64, 32))
    np.testing.assert_allclose(found, expected, atol=0.5)


def test_blocks_show_the_smaller_patch_of_two_and_black_where_nothing_was_seen():
    image = noise(64, 64)
    near, far = (16, 16, 32, 32), (0, 0, 48, 48)
    alone = blocks(image, np.array([far]))
    for order in ([near, far], [far, near]):
        found = blocks(image, np.array(order))
        np.testing.assert_array_equal(found[16:32, 16:32], image[16:32, 16:32])
        found[16:32, 16:32] = alone[16:32, 16:32]
        np.testing.assert_array_equal(found, alone)
    assert alone[48:].max() == alone[:, 48:].max() == 0
    assert blocks(image, np.empty((0, 4), int)).max() == 0


@pytest.mark.parametrize("grid", [1, 2, 3])
def test_a_closest_glimpse_is_received_pixel_by_pixel(grid):
    image = noise(80, 96)
    boxes = glimpse_boxes(torch.tensor([[0.5, 0.5, 0.0]]), grid=grid, image_size=(80, 96))[0]
    y, x = boxes[0, :2].tolist()
    side = 16 * grid
    np.testing.assert_array_equal(received(image, boxes.numpy()), image[y : y + side, x : x + side])


def test_outlines_are_thin_around_cells_and_thick_around_glimpses():
    image = np.full((128, 128, 3), 100, np.uint8)
    first, second = (
        np.array([(y, x, y + 20, x + 20) for y in (top, top + 20) for x in (top, top + 20)])
        for top in (4, 70)
    )
    drawn = outlined(image, np.stack([first, second]))
    assert (image == 100).all()  # a copy is drawn on
    for top, colour in ((4, OLDER), (70, NEWEST)):
        across = drawn[top + 10, top : top + 40]  # a row through the upper two cells
        marked = (across == colour).all(axis=1)
        assert np.flatnonzero(marked).tolist() == [0, 1, 2, 19, 20, 37, 38, 39]
    np.testing.assert_array_equal(drawn[:, 46:68], image[:, 46:68])
    np.testing.assert_array_equal(outlined(image, first[None])[4, 4], NEWEST)
    np.testing.assert_array_equal(outlined(image, first[:0].reshape(0, 4, 4)), image)


def test_classes_have_colours_of_their_own_and_what_is_no_class_is_grey():
    classes = np.arange(256).reshape(16, 16)
    found = coloured(classes, 150).reshape(256, 3)
    assert len({tuple(colour) for colour in found[:150]}) == 150
    assert (found[150:] == IGNORED).all()
    assert not (found[:150] == IGNORED).all(axis=1).any()
    gaps = [abs(a.astype(int) - b).max() for a, b in pairwise(found[:150])]
    assert min(gaps) > 60
    np.testing.assert_array_equal(found[:20], coloured(classes, 20).reshape(256, 3)[:20])


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("classification", ["glimpses", "seen"]),
        ("reconstruction", ["glimpses", "seen", "prediction"]),
        ("segmentation", ["glimpses", "seen", "prediction", "target"]),
    ],
)
def test_panels_show_every_step(task, names):
    told = story(3, task=task, size=(64, 96))
    columns = panels(told)
    assert [[*column] for column in columns] == [names] * 4
    large = told.image.repeat(2, axis=0).repeat(2, axis=1)  # 96 pixels become 192
    np.testing.assert_array_equal(columns[0]["glimpses"], large)
    assert columns[0]["seen"].max() == 0
    for step, column in enumerate(columns):
        assert {picture.shape for picture in column.values()} == {(128, 192, 3)}
        boxes = told.boxes[:step]
        np.testing.assert_array_equal(
            column["seen"][::2, ::2], blocks(told.image, boxes.reshape(-1, 4))
        )
        np.testing.assert_array_equal(column["glimpses"], outlined(large, 2 * boxes))
        if "prediction" in column:
            np.testing.assert_array_equal(column["prediction"][::2, ::2], told.predictions[step])


def test_a_large_image_is_drawn_at_its_size():
    told = story(1, size=(224, 224))
    assert panels(told)[0]["glimpses"].shape == (224, 224, 3)


@pytest.mark.parametrize("task", ["classification", "reconstruction", "segmentation"])
def test_the_grid_holds_every_panel_once(task):
    """Panels of noise are found at regular places: row by row, column by column."""
    told = story(2, task=task, size=(192, 192))
    sheet = np.asarray(grid_picture(told))
    for number, column in enumerate(panels(told)):
        for row, picture in enumerate(column.values()):
            y, x = 30 + row * 200, 84 + number * 200
            np.testing.assert_array_equal(sheet[y : y + 192, x : x + 192], picture)
    captions = sheet[-22:]
    assert all((captions[:, 84 + n * 200 : 276 + n * 200] < 128).any() for n in range(3))


@pytest.mark.parametrize(("glimpses", "grid"), [(0, 2), (1, 1), (3, 2), (14, 2)])
@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_an_animation_has_five_frames_for_each_glimpse_and_eight(glimpses, grid, task):
    frames = [*animation(story(glimpses, task=task, grid=grid))]
    assert len(frames) == 5 * glimpses + 8
    assert {frame.shape for frame in frames} == {frames[0].shape}
    assert all((a != b).any() for a, b in pairwise(frames))


def test_each_frame_of_a_glimpse_changes_one_thing():
    """Where, what is received, what was seen, the prediction, its caption: in turn, left to right."""
    told = story(2, task="reconstruction", size=(192, 192))
    frames = [*animation(told)]
    parts = [(slice(52, 244), slice(8 + 200 * n, 200 + 200 * n)) for n in range(4)]
    parts.append((slice(246, None), slice(None)))
    for glimpse in (0, 1):
        first = 3 + 5 * glimpse
        for step in range(5):
            before, after = frames[first + step - 1], frames[first + step]
            changed = [bool((before[part] != after[part]).any()) for part in parts]
            assert changed == [part == step for part in range(5)], (glimpse, step)
    np.testing.assert_array_equal(frames[-1][parts[3]], told.predictions[2])
    np.testing.assert_array_equal(frames[0][parts[0]], told.image)


def test_a_gif_and_a_video_hold_every_frame(tmp_path):
    frames = [*animation(story(2, task="segmentation"))]
    write_gif(tmp_path / "new" / "a.gif", frames, rate=2.0)
    with Image.open(tmp_path / "new" / "a.gif") as gif:
        assert gif.n_frames == len(frames) == 18
        for shown, frame in zip(ImageSequence.Iterator(gif), frames, strict=True):
            assert shown.info["duration"] == 500
            # 256 colours for a picture of noise
            assert abs(np.asarray(shown.convert("RGB")).astype(int) - frame).mean() < 12
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.gif"]

    write_mp4(tmp_path / "a.mp4", frames, rate=2.0)
    with av.open(str(tmp_path / "a.mp4")) as video:
        decoded = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(decoded) == 18
    for shown, frame in zip(decoded, frames, strict=True):
        height, width = frame.shape[:2]
        assert abs(shown[:height, :width].astype(int) - frame).mean() < 30


def test_a_gif_that_cannot_be_written_is_an_error_about_its_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_gif(tmp_path / "file" / "a.gif", animation(story(1)))


def test_text_stays_in_its_room():
    for text in ("short", "a caption of some length that is made smaller", "very long " * 40):
        sheet = blank(200, 30)
        write(sheet, text, (20, 4), 150)
        dark = np.flatnonzero((np.asarray(sheet) < 200).any(axis=(0, 2)))
        assert dark.min() >= 19
        assert dark.max() <= 171
        right = blank(200, 30)
        write(right, text, (20, 4), 150, flush_right=True)
        dark = np.flatnonzero((np.asarray(right) < 200).any(axis=(0, 2)))
        assert 160 <= dark.max() <= 171


def test_a_story_whose_steps_do_not_fit_its_glimpses_is_refused():
    told = story(2)
    with pytest.raises(ValueError, match="2 glimpses have 3 steps, but there are 2 pred"):
        Story(told.image, told.boxes, told.predictions[1:], told.captions)
    with pytest.raises(ValueError, match="3 predictions and 2 captions"):
        Story(told.image, told.boxes, told.predictions, told.captions[1:])
