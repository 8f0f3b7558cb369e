from __future__ import annotations

import numpy as np
import pytest
import torch

from abaw_va.features.base import FrameExtractor
from abaw_va.features.light import LogMel, Pixels
from abaw_va.features.stream import extract_video
from shared_core.data.face_detectors import CascadeDetector
from shared_core.data.faces import FaceBoxes
from shared_core.errors import DataError
from shared_core.testing.data import shared_data
from shared_core.testing.media import draw_face, grey_steps, tone, write_media

BOX = (0.35, 0.25, 0.65, 0.75)


class Brightness(FrameExtractor):
    """The mean grey of a crop; remembers how many crops came at once."""

    name = "brightness"
    width = 1
    size = 8

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, crops):
        assert crops.dtype == torch.uint8
        assert crops.shape[1:] == (3, 8, 8)
        self.calls.append(len(crops))
        return crops.float().mean(dim=(1, 2, 3))[:, None]


def boxes(tmp_path, indices) -> FaceBoxes:
    path = tmp_path / "boxes.csv"
    rows = [f"{index},{','.join(map(str, BOX))}" for index in indices]
    path.write_text("\n".join(["frame,x0,y0,x1,y1", *rows]) + "\n")
    return FaceBoxes(path)


@pytest.fixture
def talking(tmp_path):
    """Three seconds of a drawn face at 24 fps, with sound."""
    face = draw_face(np.full((120, 160, 3), 128, np.uint8), BOX)
    return write_media(tmp_path / "face.mkv", [face] * 72, fps=24, sound=[(0, tone(3.0))])


@pytest.mark.parametrize("fps", [24, 60])
def test_acceptance_23_a_row_per_frame_with_its_time_at_any_rate(tmp_path, fps):
    face = draw_face(np.full((120, 160, 3), 128, np.uint8), BOX)
    count = 3 * fps
    clip = write_media(tmp_path / "v.mkv", [face] * count, fps=fps, sound=[(0, tone(3.0))])
    found = extract_video(clip, [Pixels(), LogMel()], CascadeDetector())
    np.testing.assert_allclose(found.times_s, np.arange(count) / fps, atol=1e-3)
    assert {name: rows.shape for name, rows in found.rows.items()} == {
        "pixels": (count, 256),
        "logmel": (count, 64),
    }
    assert found.face.all()
    assert found.audio.all()


def test_acceptance_23_without_sound_its_features_are_zero_and_flagged(tmp_path):
    clip = write_media(tmp_path / "v.mp4", grey_steps(10))
    found = extract_video(clip, [LogMel()], CascadeDetector())
    assert not found.audio.any()
    np.testing.assert_array_equal(found.rows["logmel"], np.zeros((10, 64), np.float32))


def test_acceptance_23_without_any_face_its_features_are_zero_and_flagged(tmp_path):
    clip = write_media(tmp_path / "v.mp4", grey_steps(10))
    found = extract_video(clip, [Pixels()], CascadeDetector())
    assert not found.face.any()
    assert np.isnan(found.boxes).all()
    np.testing.assert_array_equal(found.rows["pixels"], np.zeros((10, 256), np.float32))


def test_frames_without_a_face_take_the_nearest_row(tmp_path):
    clip = write_media(tmp_path / "v.mp4", grey_steps(6))
    found = extract_video(clip, [Brightness()], boxes(tmp_path, [0, 4]))
    grey = found.rows["brightness"][:, 0]
    np.testing.assert_allclose(grey, [20, 20, 20, 60, 60, 60], atol=2)
    np.testing.assert_array_equal(found.face, [True, False, False, False, True, False])
    upstream = extract_video(clip, [Brightness()], boxes(tmp_path, [0, 4]), compat=True)
    np.testing.assert_allclose(upstream.rows["brightness"][:, 0], [20, 60, 60, 60, 60, 60], atol=2)


def test_crops_go_through_in_batches_and_keep_their_order(tmp_path):
    clip = write_media(tmp_path / "v.mp4", grey_steps(17))
    extractor = Brightness()
    seen: list[int] = []
    found = extract_video(
        clip, [extractor], boxes(tmp_path, range(17)), batch_size=8, seen=seen.append
    )
    assert extractor.calls == [8, 8, 1]
    assert seen == list(range(17))
    np.testing.assert_allclose(found.rows["brightness"][:, 0], 20 + 10 * np.arange(17), atol=2)


def test_sound_alone_needs_no_detector(talking):
    def never(image):
        raise AssertionError("no feature of faces was asked for")

    found = extract_video(talking, [LogMel()], never)
    assert not found.face.any()
    assert found.rows["logmel"].shape == (72, 64)


def test_late_sound_is_flagged_where_it_sounds(tmp_path):
    clip = write_media(tmp_path / "v.mkv", grey_steps(40), fps=20, sound=[(1.0, tone(0.5))])
    found = extract_video(clip, [LogMel()], CascadeDetector())
    assert found.audio[20:30].all()
    assert found.audio.sum() == pytest.approx(10, abs=1)


def test_a_real_clip_from_file_to_features():
    clip = shared_data("abaw-va", "video", "single_face.mp4")
    found = extract_video(clip, [Pixels(), LogMel()], CascadeDetector())
    assert found.face.all()
    assert found.audio.all()
    assert [rows.shape for rows in found.rows.values()] == [(72, 256), (72, 64)]
    assert found.rows["pixels"].std(axis=0).max() > 0.05  # the face moves


def test_a_cut_video_gives_an_error_and_no_features(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), np.uint8)
    clip = write_media(tmp_path / "v.mkv", list(noise))
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(DataError, match="cut short"):
        extract_video(clip, [LogMel()], CascadeDetector())
