"""Videos: which frames are seen, how large, and what a damaged file or cache does."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from refine_iqa.config import TrainConfig
from refine_iqa.data import video
from refine_iqa.data.pictures import smart_size
from refine_iqa.data.video import (
    FrameOptions,
    frame_budget,
    frame_indices,
    read_frames,
    resize_frames,
)
from shared_core.data.video import frames
from shared_core.errors import DataError
from shared_core.testing.data import shared_data
from shared_core.testing.media import grey_steps, step_of, write_media


def clip(path, count: int, fps: float = 10, **settings):
    return write_media(path, grey_steps(count), fps=fps, **settings)


def arrays(found) -> list[np.ndarray]:
    return [np.asarray(picture) for picture in found.pictures]


def test_acceptance_07_frames_are_those_of_the_published_rule():
    ten = (0, 27, 53, 80, 106, 133, 159, 186, 212, 239)
    assert frame_indices(240, 24).indices == ten
    few = frame_indices(119, 29.97)
    assert few.indices == (0, 39, 79, 118)
    assert few.sample_fps == pytest.approx(1.0073950, abs=1e-7)
    assert len(frame_indices(50_000, 25).indices) == 768
    spread = (0, 33, 66, 100, 133, 166, 199, 233, 266, 299)
    assert frame_indices(300, 30).indices == spread


@pytest.mark.parametrize("total", [2, 7, 16, 119, 1801, 107_892])
@pytest.mark.parametrize("count", [2, 4, 12, 16, 768])
def test_frames_are_the_nearest_to_evenly_spread_places(total, count):
    if count > total:
        return
    places = np.linspace(0, total - 1, count, dtype=np.longdouble)
    found = frame_indices(total, 30, nframes=count).indices
    assert found == tuple(np.round(places).astype(int).tolist())


def test_short_videos_give_what_they_have():
    assert frame_indices(3, 30).indices == (0, 2)
    assert frame_indices(2, 30).indices == (0, 1)
    assert frame_indices(1, 30).indices == (0, 0)
    assert frame_indices(5, 30).indices == (0, 1, 3, 4)
    with pytest.raises(ValueError, match="without frames"):
        frame_indices(0, 30)


@pytest.mark.parametrize(("asked", "given"), [(2, 2), (3, 4), (4, 4), (5, 4), (6, 6)])
def test_a_number_of_frames_is_rounded_to_an_even_one(asked, given):
    assert len(frame_indices(7, 30, nframes=asked).indices) == given


@pytest.mark.parametrize("asked", [1, 7, 8])
def test_more_frames_than_there_are_cannot_be_asked_for(asked):
    with pytest.raises(ValueError, match="of 7"):
        frame_indices(7, 30, nframes=asked)


def test_bounds_are_moved_to_even_numbers():
    assert len(frame_indices(300, 30, min_frames=11).indices) == 12
    assert len(frame_indices(300, 30, max_frames=7).indices) == 6


def test_acceptance_08_frames_of_a_long_video_are_small():
    options = FrameOptions()
    sizes = {
        count: smart_size(*size, min_pixels=options.min_pixels, max_pixels=frame_budget(count))
        for count, size in ((768, (540, 960)), (100, (540, 960)), (10, (1080, 1920)))
    }
    assert sizes == {768: (84, 140), 100: (168, 308), 10: (280, 504)}


def test_pixels_are_shared_out_between_the_bounds():
    assert frame_budget(768) == 13_171  # 1.05 x 16 x 784
    assert frame_budget(100) == 56_197  # 2 x 3584 x 784 / 100
    assert frame_budget(10) == 151_200


def test_a_lower_cap_on_pixels_holds_for_frames_too():
    assert frame_budget(4, max_pixels=5000) == 5000


def test_acceptance_26_four_frames_of_120_are_preprocessed_in_a_fifth_of_a_second():
    frames_of = np.random.default_rng(0).integers(0, 256, (120, 540, 960, 3), dtype=np.uint8)
    spent = []
    for _ in range(3):
        begun = time.process_time()
        seen = frame_indices(len(frames_of), 30).indices
        pictures = resize_frames([frames_of[index] for index in seen], FrameOptions())
        spent.append(time.process_time() - begun)
    assert len(pictures) == 4
    assert sorted(spent)[1] < 0.2


def test_frames_are_resized_by_one_bicubic_each():
    images = [np.random.default_rng(i).integers(0, 256, (300, 500, 3), np.uint8) for i in range(2)]
    for picture, image in zip(resize_frames(images, FrameOptions()), images, strict=True):
        expected = Image.fromarray(image).resize((476, 280), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(expected))


def test_the_frames_that_are_seen_are_those_of_the_file(tmp_path):
    path = clip(tmp_path / "v.mp4", 37)
    found = read_frames(path)
    wanted = frame_indices(37, 10).indices
    assert len(found.pictures) == len(wanted) == 4
    assert [step_of(image) for image in arrays(found)] == [index % 20 for index in wanted]
    np.testing.assert_allclose(found.times_s, np.array(wanted) / 10, atol=1e-4)
    assert found.sample_fps == pytest.approx(4 / 37 * 10)


def test_times_count_from_the_first_frame(tmp_path):
    times = [0.5, 0.6, 0.7, 1.5]
    path = write_media(tmp_path / "late.mkv", grey_steps(4), times_s=times)
    np.testing.assert_allclose(read_frames(path).times_s, [0, 0.1, 0.2, 1.0], atol=2e-3)


def test_a_header_without_a_count_or_with_a_wrong_one_does_no_harm(tmp_path, monkeypatch):
    path = clip(tmp_path / "v.mp4", 37)
    whole = read_frames(path)
    true = video.probe

    def lying(count):
        info = true(path)
        return replace(info, video=(replace(info.video[0], frames=count),))

    for count in (None, 50):
        monkeypatch.setattr(video, "probe", lambda _, count=count: lying(count))
        again = read_frames(path)
        assert again.times_s == whole.times_s
        assert again.sample_fps == whole.sample_fps


def test_a_video_of_one_frame_is_seen_twice(tmp_path):
    found = read_frames(clip(tmp_path / "one.mp4", 1))
    first, second = arrays(found)
    np.testing.assert_array_equal(first, second)
    assert found.times_s == (0.0, 0.0)


def test_a_cache_is_read_instead_of_the_video_and_follows_its_changes(tmp_path, monkeypatch):
    path, cache = clip(tmp_path / "v.mp4", 12), tmp_path / "cache"
    first = read_frames(path, cache=cache)
    decoded = []
    monkeypatch.setattr(video, "frames", lambda *a, **k: decoded.append(1) or frames(*a, **k))
    again = read_frames(path, cache=cache)
    assert not decoded
    for one, other in zip(arrays(first), arrays(again), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (again.times_s, again.sample_fps) == (first.times_s, first.sample_fps)
    assert len(read_frames(path, FrameOptions(nframes=2), cache=cache).pictures) == 2
    os.utime(path, ns=(1, 1))
    read_frames(path, cache=cache)
    assert len(decoded) == 2
    assert len(list(cache.iterdir())) == 3


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_damaged_cache_is_made_anew(tmp_path, share):
    path, cache = clip(tmp_path / "v.mp4", 12), tmp_path / "cache"
    first = read_frames(path, cache=cache)
    (entry,) = cache.iterdir()
    content = entry.read_bytes()
    entry.write_bytes(content[: int(len(content) * share)])
    for one, other in zip(arrays(first), arrays(read_frames(path, cache=cache)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert entry.read_bytes() == content


def test_bad_videos_are_named(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_frames(tmp_path / "missing.mp4")
    with pytest.raises(DataError, match="cannot be read"):
        read_frames(tmp_path / "missing.mp4", cache=tmp_path)
    (tmp_path / "text.mp4").write_text("no video at all")
    with pytest.raises(DataError, match=r"text\.mp4"):
        read_frames(tmp_path / "text.mp4")
    path = clip(tmp_path / "seven.mp4", 7)
    with pytest.raises(DataError, match=r"seven\.mp4: expected 8 frames.*found 7") as caught:
        read_frames(path, FrameOptions(nframes=8))
    assert "--nframes" in str(caught.value)


def test_an_extreme_shape_is_refused_before_it_is_decoded(tmp_path):
    strip = [np.zeros((2, 404, 3), np.uint8)] * 2
    path = write_media(tmp_path / "strip.mkv", strip, fps=10)
    with pytest.raises(DataError, match=r"strip\.mkv.*404 x 2"):
        read_frames(path)


def test_settings_of_a_command_become_options():
    config = TrainConfig(model="m", data=(".",), nframes=6, max_pixels=10_000, max_frames=9)
    options = FrameOptions.of(config, factor=32)
    assert options == FrameOptions(
        nframes=6, max_frames=9, factor=32, min_pixels=10_000, max_pixels=10_000
    )
    assert FrameOptions.of(TrainConfig(model="m", data=(".",))) == FrameOptions()


@pytest.mark.parametrize(
    ("name", "count", "size"),
    [
        ("video_fr_pair/carphone_pristine.mp4", 4, (168, 140)),
        ("video_fr_pair/carphone_distorted.mp4", 4, (168, 140)),
        ("video_plain/bikes.mp4", 10, (588, 252)),
        ("video_plain/nasa_13013.mp4", 12, (308, 168)),
    ],
)
def test_the_real_clips_are_read(name, count, size):
    found = read_frames(shared_data("common", *name.split("/")))
    assert len(found.pictures) == count
    assert {picture.size for picture in found.pictures} == {size}
    assert np.all(np.diff(found.times_s) > 0)
