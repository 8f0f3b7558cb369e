from __future__ import annotations

import collections
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from shared_core.data.media import av
from shared_core.data.video import Frame, VideoWriter, frame_times, frames, probe
from shared_core.errors import DataError
from shared_core.testing.data import shared_data
from shared_core.testing.media import grey_steps, step_of, tone, turn_mp4, write_media

FASTSTART = {"movflags": "faststart"}  # the index before the pictures: a cut file still opens


def noise(count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(count)]


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


@pytest.mark.parametrize("fps", [15, 23.976, 24, 25, 30, 60])
def test_every_frame_comes_in_order_with_its_time_at_any_rate(tmp_path, fps):
    video = write_media(tmp_path / "v.mp4", grey_steps(37), fps=fps)
    decoded = list(frames(video))
    assert [frame.index for frame in decoded] == list(range(37))
    assert [step_of(frame.image) for frame in decoded] == [index % 20 for index in range(37)]
    np.testing.assert_allclose([f.time_s for f in decoded], np.arange(37) / fps, atol=2e-5)
    np.testing.assert_array_equal(frame_times(video), [f.time_s for f in decoded])


def test_only_the_frames_that_are_wanted_are_delivered_and_the_end_is_still_checked(tmp_path):
    video = write_media(tmp_path / "v.mp4", grey_steps(30), fps=10)
    whole = {frame.index: frame for frame in frames(video)}
    some = list(frames(video, only={0, 7, 8}))
    assert [frame.index for frame in some] == [0, 7, 8]
    for frame in some:
        assert frame.time_s == whole[frame.index].time_s
        np.testing.assert_array_equal(frame.image, whole[frame.index].image)
    short = cut(write_media(tmp_path / "cut.mp4", noise(30), fps=10, options=FASTSTART), 0.6)
    with pytest.raises(DataError, match="cut short"):
        list(frames(short, only={0}))


def test_a_variable_frame_rate_and_a_late_start_are_kept(tmp_path):
    times = [0.5, 0.54, 0.7, 0.71, 1.9]
    video = write_media(tmp_path / "v.mkv", grey_steps(5), times_s=times)
    np.testing.assert_allclose(frame_times(video), times, atol=1e-3)  # Matroska: milliseconds


def test_a_file_without_times_is_timed_by_its_rate(tmp_path):
    video = write_media(tmp_path / "v.h264", grey_steps(12), fps=20)  # a bare stream has no clock
    times = frame_times(video)
    assert len(times) == 12
    np.testing.assert_allclose(np.diff(times), times[1] - times[0])
    assert times[1] > times[0]


def test_the_picture_is_turned_as_the_file_asks(tmp_path):
    left_bright = np.concatenate(
        [np.full((48, 32, 3), 200, np.uint8), np.full((48, 32, 3), 30, np.uint8)], axis=1
    )
    video = turn_mp4(write_media(tmp_path / "v.mp4", [left_bright] * 3))
    image = next(frames(video)).image
    assert image.shape == (64, 48, 3)
    assert image[:30].mean() > 190  # clockwise: the left side goes up
    assert image[34:].mean() < 40


def test_colours_are_rgb(tmp_path):
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 220
    image = next(frames(write_media(tmp_path / "v.mp4", [red] * 2))).image
    assert image[..., 0].mean() > 200
    assert image[..., 1:].mean() < 20


def test_leaving_early_closes_the_file(tmp_path):
    video = write_media(tmp_path / "v.mp4", grey_steps(5))
    stream = frames(video)
    next(stream)
    stream.close()
    video.unlink()
    with pytest.raises(StopIteration):
        next(stream)


def test_real_clips_have_their_frames_and_rates():
    folder = shared_data("abaw-va", "video")
    for name, count, fps in [
        ("single_face.mp4", 72, 30),
        ("WolfgangLanger_Pexels.mp4", 472, 24000 / 1001),
    ]:
        times = frame_times(folder / name)
        np.testing.assert_allclose(times, np.arange(count) / fps, atol=1e-4)


@pytest.mark.parametrize(("stream", "truth"), [(0, "stream0"), (1, "stream3")])
def test_each_stream_of_a_file_has_its_own_frames_and_times(stream, truth):
    video = shared_data("common", "video_plain", "nasa_13013.mp4")
    stated = json.loads(Path(f"{video}.{truth}.all_frames_info.json").read_text())
    times = frame_times(video, stream)
    np.testing.assert_allclose(times, [float(frame["pts_time"]) for frame in stated], atol=1e-6)
    assert len(times) == {0: 325, 1: 390}[stream]


def test_probe_tells_the_streams():
    info = probe(shared_data("common", "video_plain", "nasa_13013.mp4"))
    assert [(s.width, s.height, s.frames) for s in info.video] == [(320, 180, 325), (480, 270, 390)]
    assert [s.rate for s in info.audio] == [8000, 16000]
    assert info.video[1].rate == pytest.approx(30000 / 1001)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("sample_aspect", [None, Fraction(2), Fraction(161, 160)])
def test_probe_tells_the_shape_of_a_pixel(tmp_path, suffix, sample_aspect):
    video = tmp_path / f"v{suffix}"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        if sample_aspect is not None:
            stream.codec_context.sample_aspect_ratio = sample_aspect
        for image in grey_steps(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    assert probe(video).video[0].sample_aspect == float(sample_aspect or 1)


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mp4", "libx264"), (".mp4", "mpeg4"), (".mkv", "libx264"), (".avi", "mpeg4")],
)
@pytest.mark.parametrize("share", [0.45, 0.8])
def test_a_cut_file_gives_the_frames_before_the_cut_and_then_names_the_place(
    tmp_path, suffix, codec, share
):
    options = FASTSTART if suffix == ".mp4" else None
    video = write_media(tmp_path / f"v{suffix}", noise(30), video_codec=codec, options=options)
    assert len(list(frames(video))) == 30
    cut(video, share)
    delivered: list[Frame] = []
    with pytest.raises(DataError, match=r"(?s)v\.\w+, video frame \d+.*cut short") as raised:
        collections.deque(map(delivered.append, frames(video)))
    assert raised.value.exit_status == 1
    assert f"video frame {len(delivered)} " in str(raised.value)
    assert 0 < len(delivered) < 30


def test_a_cut_real_clip_names_the_frame_where_decoding_stopped(tmp_path):
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(shared_data("abaw-va", "video", "WolfgangLanger_Pexels.mp4").read_bytes())
    with pytest.raises(DataError, match=r"video frame 1\d\d "):
        frame_times(cut(clip, 0.3))


def test_a_file_cut_before_its_index_cannot_be_opened(tmp_path):
    video = write_media(tmp_path / "v.mp4", noise(5))  # the index comes last
    with pytest.raises(DataError, match="cut short or damaged"):
        next(frames(cut(video, 0.9)))


def test_damage_inside_the_file_is_an_error(tmp_path):
    video = write_media(tmp_path / "v.mp4", noise(30), video_codec="mpeg4", options=FASTSTART)
    content = bytearray(video.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(byte ^ 0xFF for byte in content[middle : middle + 400])
    video.write_bytes(content)
    with pytest.raises(DataError, match=r"video frame \d+"):
        list(frames(video))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"this is a text\n" * 200, "expected a video"),
        (b"", "an empty file"),
        (None, "no such file"),
    ],
)
def test_what_is_no_video_says_so(tmp_path, content, message):
    path = tmp_path / "renamed.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        next(frames(path))


def test_a_play_list_cannot_lead_elsewhere(tmp_path):
    write_media(tmp_path / "inner.mp4", grey_steps(3))
    lure = tmp_path / "lure.mp4"
    lure.write_text("ffconcat version 1.0\nfile http://127.0.0.1:9/x.mp4\n")
    with pytest.raises(DataError):
        next(frames(lure))


def test_a_name_is_never_taken_for_an_address(tmp_path):
    video = write_media(tmp_path / "plain.mp4", grey_steps(3))
    odd = video.rename(tmp_path / "concat:12:30|take 1.mp4")
    assert len(list(frames(odd))) == 3


def test_sound_alone_is_no_video(tmp_path):
    path = write_media(tmp_path / "sound.mp4", sound=[(0, tone(0.2))], audio_codec="aac")
    with pytest.raises(DataError, match="found no video stream"):
        next(frames(path))


def test_a_stream_without_frames_says_so(tmp_path):
    path = write_media(tmp_path / "v.h264", grey_steps(1))
    path.write_bytes(path.read_bytes()[:100])  # the header of the stream, and nothing to show
    with pytest.raises(DataError):
        list(frames(path))


def test_a_stream_that_is_not_there_names_those_that_are(tmp_path):
    video = write_media(tmp_path / "v.mp4", grey_steps(3))
    with pytest.raises(DataError, match=r"expected a video stream 4, found 1 \(0 to 0\)"):
        next(frames(video, 4))


@pytest.mark.parametrize("size", [(48, 64), (49, 65)])
def test_a_written_video_reads_back_with_an_even_size(tmp_path, size):
    path = tmp_path / "out.mp4"
    with VideoWriter(path, rate=25) as video:
        for image in grey_steps(15, size):
            video.write(image)
    decoded = list(frames(path))
    assert [step_of(frame.image) for frame in decoded] == list(range(15))
    np.testing.assert_allclose([f.time_s for f in decoded], np.arange(15) / 25, atol=1e-4)
    assert decoded[0].image.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    assert probe(path).video[0].end_s == pytest.approx(0.6, abs=1e-3)


def test_written_times_are_kept(tmp_path):
    times = [0.0, 0.1, 0.15, 0.9]
    path = tmp_path / "out.mp4"
    with VideoWriter(path) as video:
        for image, time_s in zip(grey_steps(4), times, strict=True):
            video.write(image, time_s)
    np.testing.assert_allclose(frame_times(path), times, atol=1e-4)


def write(path: Path, *images: np.ndarray, fail: bool = False) -> None:
    with VideoWriter(path) as video:
        for image in images:
            video.write(image)
        if fail:
            raise RuntimeError("half way")


def test_a_failed_or_empty_writing_leaves_nothing_behind(tmp_path):
    (image,) = grey_steps(1)
    with pytest.raises(RuntimeError, match="half way"):
        write(tmp_path / "out.mp4", image, fail=True)
    with pytest.raises(ValueError, match="another size"):
        write(tmp_path / "out.mp4", image, *grey_steps(1, (10, 10)))
    write(tmp_path / "none.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_message(tmp_path):
    with pytest.raises(DataError, match="cannot be written"):
        write(tmp_path / "absent" / "out.mp4", *grey_steps(1))
