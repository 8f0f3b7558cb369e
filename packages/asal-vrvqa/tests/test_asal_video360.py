"""One frame a second of a 360-degree video: which ones, their size, and what is refused."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice

import numpy as np
import pytest

from asal_vrvqa.data.projection import turned
from asal_vrvqa.data.video360 import every_second, first_seconds, resized, seconds_of
from shared_core.data.media import av
from shared_core.data.video import probe
from shared_core.errors import DataError
from shared_core.testing.data import shared_data
from shared_core.testing.media import grey_steps, step_of, tone, write_media

SIZE = (48, 96)


def steps_seen(path, count=None, **how):
    return [step_of(picture) for picture in islice(every_second(path, **how), count)]


def noise(count, height=48, width=96):
    generator = np.random.default_rng(0)
    return [generator.integers(0, 255, (height, width, 3), dtype=np.uint8) for _ in range(count)]


def write_shaped(path, sample_aspect, size=(64, 64), count=8, rate=4):
    """A video whose pixels are not square."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.sample_aspect_ratio = sample_aspect
        for image in grey_steps(count, size):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("fps", "indices"), [(7, [0, 7, 14]), (7.4, [0, 7, 14]), (7.6, [0, 8, 16]), (0.4, [0, 1, 2])]
)
def test_the_frames_that_the_rounded_rate_divides_are_taken(tmp_path, fps, indices):
    video = write_media(tmp_path / "v.mp4", grey_steps(19, SIZE), fps=fps)
    assert steps_seen(video, 3) == indices


def test_ntsc_rates_are_rounded_up(tmp_path):
    images = grey_steps(50, SIZE)
    video = write_media(tmp_path / "v.mp4", images, fps=24000 / 1001)
    assert steps_seen(video) == [0, 24 % 20, 48 % 20]


@pytest.mark.parametrize(
    ("begin", "indices"), [(1.0, [7, 14]), (0.6, [4, 11, 18]), (0.0, [0, 7, 14])]
)
def test_frames_are_counted_from_where_viewing_begins(tmp_path, begin, indices):
    video = write_media(tmp_path / "v.mp4", grey_steps(19, SIZE), fps=7)
    assert steps_seen(video, begin=begin) == indices


def test_the_begin_counts_from_the_first_frame_of_a_file_that_starts_late(tmp_path):
    times = [3 + index / 5 for index in range(12)]
    video = write_media(tmp_path / "v.mkv", grey_steps(12, SIZE), fps=5, times_s=times)
    assert steps_seen(video, begin=1.0) == [5, 10]


def test_seconds_are_resized_and_turned(tmp_path):
    video = write_media(tmp_path / "v.mp4", noise(9), fps=3)
    found = seconds_of(video, count=3, size=(32, 64), yaw=40, pitch=-10)
    assert found.shape == (3, 32, 64, 3)
    assert found.dtype == np.uint8
    upright = first_seconds(video, count=3, size=(32, 64))
    np.testing.assert_array_equal(found, turned(upright, 40, -10))
    assert np.abs(found.astype(int) - upright).mean() > 10


@pytest.mark.parametrize("size", [(32, 64), (20, 41), (96, 192)])
def test_sizes_change_as_opencv_changes_them(size):
    cv2 = pytest.importorskip("cv2")
    picture = noise(1)[0]
    exact = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.abs(resized(picture, size).astype(int) - exact).max() <= 1


def test_a_short_video_is_an_error_or_repeats_its_last_frame(tmp_path):
    video = write_media(tmp_path / "v.mp4", grey_steps(11, SIZE), fps=4)
    with pytest.raises(DataError, match=r"v\.mp4.*expected 7 frames.*found 3.*\n.*--repeat-last"):
        seconds_of(video, count=7, size=SIZE, yaw=0, pitch=0)
    found = seconds_of(video, count=7, size=SIZE, yaw=0, pitch=0, repeat_last=True)
    assert [step_of(picture) for picture in found] == [0, 4, 8, 8, 8, 8, 8]


def test_what_comes_after_the_last_frame_is_not_read(tmp_path):
    video = write_media(tmp_path / "v.mp4", noise(60), fps=4, options={"movflags": "faststart"})
    content = video.read_bytes()
    video.write_bytes(content[: len(content) * 6 // 10])
    assert first_seconds(video, count=4, size=SIZE).shape == (4, *SIZE, 3)
    with pytest.raises(DataError, match="cut short"):
        first_seconds(video, count=15, size=SIZE, repeat_last=True)


def test_a_zero_length_clip_is_an_error(tmp_path):
    empty, header, silent = (tmp_path / name for name in ("empty.mp4", "header.mp4", "v.mkv"))
    empty.write_bytes(b"")
    with av.open(str(header), "w") as container:
        container.add_stream("libx264", rate=4).pix_fmt = "yuv420p"
        container.start_encoding()
    write_media(silent, sound=[(0.0, tone(0.5))])
    for video in (empty, header, silent):
        with pytest.raises(DataError, match=rf"{video.name}.*(empty|no video stream)"):
            seconds_of(video, count=7, size=SIZE, yaw=0, pitch=0, repeat_last=True)


def test_nothing_is_repeated_where_nothing_was_seen(tmp_path):
    video = write_media(tmp_path / "v.mp4", grey_steps(8, SIZE), fps=4)
    with pytest.raises(DataError, match="second 9"):
        seconds_of(video, count=2, size=SIZE, yaw=0, pitch=0, begin=9.0, repeat_last=True)


def test_a_layout_that_is_not_two_to_one_is_refused_unless_it_is_declared(tmp_path):
    video = write_media(tmp_path / "v.mp4", grey_steps(8, (64, 64)), fps=4)
    with pytest.raises(DataError, match="top-bottom stereo"):
        seconds_of(video, count=1, size=SIZE, yaw=0, pitch=0)
    taken = seconds_of(video, count=1, size=SIZE, yaw=0, pitch=0, projection="equirectangular")
    assert taken.shape == (1, *SIZE, 3)


def test_the_aspect_is_the_one_that_is_shown(tmp_path):
    """A square of wide pixels is 2:1; a rectangle of 2:1 in narrow pixels is not."""
    wide = write_shaped(tmp_path / "wide.mp4", Fraction(2))
    assert steps_seen(wide) == [0, 4]
    narrow = write_shaped(tmp_path / "narrow.mp4", Fraction(1, 2), size=(64, 128))
    with pytest.raises(DataError, match="1:1; likely top-bottom"):
        steps_seen(narrow)


@pytest.mark.parametrize(
    ("name", "size"), [("richoh1_0_3.mp4", (322, 640)), ("richoh1_0_4.mp4", (214, 426))]
)
def test_a_real_clip_in_both_qualities(name, size):
    cv2 = pytest.importorskip("cv2")
    clip = shared_data("asal-vrvqa", "clip360", name)
    stream = probe(clip).video[0]
    assert (stream.height, stream.width) == size
    assert stream.width * stream.sample_aspect / stream.height == pytest.approx(2, abs=1e-6)
    found = first_seconds(clip, count=3, size=(64, 128), begin=2.0)
    with av.open(str(clip)) as container:
        pictures = islice(container.decode(video=0), 60, 121, 30)
        exact = [cv2.resize(p.to_ndarray(format="rgb24"), (128, 64)) for p in pictures]
    assert np.abs(found.astype(int) - np.stack(exact)).max() <= 1


def test_the_sound_of_a_real_clip_is_no_video():
    with pytest.raises(DataError, match="no video stream"):
        first_seconds(shared_data("asal-vrvqa", "clip360", "richoh1_0_1.mp4"), count=1, size=SIZE)
