from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared_core.data.face_detectors import (
    YUNET_SHA256,
    CascadeDetector,
    YuNetDetector,
    detector,
)
from shared_core.data.faces import (
    Face,
    FaceBoxes,
    crop,
    follow,
    overlap,
    pick,
    similarity,
    without_doubles,
)
from shared_core.data.video import Frame, frames
from shared_core.errors import DataError, UsageError
from shared_core.testing.data import shared_data
from shared_core.testing.media import draw_face

GREY = np.full((240, 320, 3), 128, np.uint8)


def face(x: float, size: float = 0.2, **more) -> Face:
    return Face(box=(x, 0.3, x + size, 0.3 + size), **more)


def film(count: int) -> list[Frame]:
    """Frames whose pixels tell a stub detector which frame it sees."""
    return [
        Frame(index=index, time_s=index / 30, image=np.full((4, 4, 3), index, np.uint8))
        for index in range(count)
    ]


class Stub:
    """A detector that knows where the faces are, and counts how often it is asked."""

    def __init__(self, faces_at) -> None:
        self.faces_at = faces_at
        self.asked: list[int] = []

    def __call__(self, image: np.ndarray) -> list[Face]:
        index = int(image[0, 0, 0])
        self.asked.append(index)
        return self.faces_at(index)


def test_overlap_is_intersection_over_union():
    assert overlap((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert overlap((0, 0, 1, 1), (0, 0, 1, 1)) == 1
    assert overlap((0, 0, 1, 1), (1, 0, 2, 1)) == 0


def test_of_overlapping_faces_the_surest_stays():
    kept = without_doubles([face(0.1, score=0.4), face(0.11, score=0.9), face(0.6, score=0.2)])
    assert [one.score for one in kept] == [0.9, 0.2]


@pytest.mark.parametrize("size", [0.15, 0.3, 0.45])
def test_the_cascade_finds_a_drawn_face_where_it_is(size):
    box = (0.5 - size / 2, 0.5 - size * 2 / 3, 0.5 + size / 2, 0.5 + size * 2 / 3)
    (found,) = CascadeDetector()(draw_face(GREY, box))
    assert overlap(found.box, box) > 0.7
    assert 0 < found.score <= 1


def test_a_tilted_face_is_found_where_it_is():
    upright = draw_face(GREY, (0.35, 0.3, 0.65, 0.7))
    turn = cv2.getRotationMatrix2D((160, 120), 28, 1.0)
    tilted = cv2.warpAffine(upright, turn, (320, 240), borderMode=cv2.BORDER_REPLICATE)
    (found,) = CascadeDetector()(tilted)
    assert overlap(found.box, (0.35, 0.3, 0.65, 0.7)) > 0.6


def test_two_faces_are_two_and_an_empty_picture_has_none():
    two = draw_face(draw_face(GREY, (0.1, 0.3, 0.35, 0.63)), (0.6, 0.3, 0.85, 0.63))
    assert len(CascadeDetector()(two)) == 2
    assert CascadeDetector()(GREY) == []
    assert CascadeDetector()(np.zeros((3, 5, 3), np.uint8)) == []


@pytest.mark.parametrize("name", ["single_face.mp4", "WolfgangLanger_Pexels.mp4"])
def test_the_cascade_follows_the_face_of_the_real_clips(name):
    clip = shared_data("abaw-va", "video", name)
    sampled = (frame for frame in frames(clip) if frame.index % 12 == 0)
    faces = [one for _, one in follow(sampled, CascadeDetector(), every=2)]
    assert sum(one is None for one in faces) == 0
    steps = [overlap(a.box, b.box) for a, b in pairwise(faces)]
    assert min(steps) > 0.2


def test_between_two_looks_the_box_moves_evenly():
    looking = Stub(lambda index: [face(0.1 + 0.002 * index, score=0.5)])
    found = list(follow(film(23), looking, every=5))
    assert [frame.index for frame, _ in found] == list(range(23))
    np.testing.assert_allclose([one.box[0] for _, one in found], 0.1 + 0.002 * np.arange(23))
    assert looking.asked == [0, 5, 10, 15, 20, 22]


def test_where_looks_disagree_every_frame_is_looked_at():
    looking = Stub(lambda index: [face(0.1)] if index < 8 else [])
    found = [one is not None for _, one in follow(film(16), looking, every=5)]
    assert found == [True] * 8 + [False] * 8
    jump = Stub(lambda index: [face(0.1 if index < 7 else 0.7)])
    boxes = [one.box[0] for _, one in follow(film(11), jump, every=5)]
    np.testing.assert_allclose(boxes, [0.1] * 7 + [0.7] * 4)


def test_no_face_costs_no_extra_looks():
    looking = Stub(lambda index: [])
    assert [one for _, one in follow(film(21), looking, every=5)] == [None] * 21
    assert looking.asked == [0, 5, 10, 15, 20]


def test_few_frames_are_held_at_a_time():
    drawn: list[int] = []

    def source():
        for frame in film(40):
            drawn.append(frame.index)
            yield frame

    for frame, _ in follow(source(), Stub(lambda index: [face(0.2)]), every=5):
        assert len(drawn) - frame.index <= 5


def test_no_frames_give_no_faces():
    assert list(follow([], Stub(lambda index: []))) == []


def test_a_person_is_chosen_by_place_or_size():
    left, right, large = face(0.05), face(0.7), face(0.3, 0.35)
    assert pick([right, left], "left", None) is left
    assert pick([left, right], "right", None) is right
    assert pick([left, large, right], "largest", None) is large
    assert pick([left, large], "right", None) is large
    assert pick([], "left", left) is None


def test_a_face_alone_is_taken_only_for_the_person_it_can_be():
    assert pick([face(0.05)], "right", None) is None
    assert pick([face(0.05)], "left", None) is not None
    assert pick([face(0.7)], "left", face(0.05)) is None
    assert pick([face(0.42)], "left", face(0.4)) is not None


def test_the_largest_is_kept_until_another_is_twice_as_large():
    mine, other, giant = face(0.1, 0.2), face(0.6, 0.25), face(0.5, 0.4)
    assert pick([mine, other], "largest", face(0.11, 0.2)) is mine
    assert pick([mine, giant], "largest", face(0.11, 0.2)) is giant
    assert pick([mine, other], "largest", None) is other


def test_each_of_two_people_is_followed_through_the_other_s_absence():
    def faces_at(index):
        return [face(0.1), face(0.7)] if index < 10 else [face(0.7)]

    left = [one is not None for _, one in follow(film(20), Stub(faces_at), person="left")]
    right = [one.box[0] for _, one in follow(film(20), Stub(faces_at), person="right")]
    assert left == [True] * 10 + [False] * 10
    assert right == [0.7] * 20


def table(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["frame,x0,y0,x1,y1", *rows]) + "\n")
    return path


def test_boxes_come_from_a_table(tmp_path):
    boxes = FaceBoxes(
        table(tmp_path / "b.csv", "0,0.1,0.2,0.3,0.4", "0,0.6,0.2,0.9,0.5", "2,0.15,0.2,0.35,0.4")
    )
    found = [one for _, one in follow(film(4), boxes, person="left")]
    assert [one and one.box for one in found] == [
        (0.1, 0.2, 0.3, 0.4),
        None,
        (0.15, 0.2, 0.35, 0.4),
        None,
    ]


def test_a_table_may_say_who_is_who(tmp_path):
    path = tmp_path / "b.csv"
    path.write_text(
        "frame,x0,y0,x1,y1,person\n0,0.1,0.2,0.3,0.4,right\n0,0.6,0.2,0.9,0.5,left\n"
        "1,0.1,0.2,0.3,0.4,right\n"
    )
    left = [one and one.box[0] for _, one in follow(film(2), FaceBoxes(path), person="left")]
    right = [one and one.box[0] for _, one in follow(film(2), FaceBoxes(path), person="right")]
    largest = [one and one.box[0] for _, one in follow(film(2), FaceBoxes(path))]
    assert (left, right, largest) == ([0.6, None], [0.1, 0.1], [0.6, 0.1])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0,10,20,110,120", r"b\.csv, row 2: expected a box .*\nDivide pixels"),
        ("0,0.5,0.2,0.4,0.4", "x0 < x1"),
        ("0,0.1,0.2,nan,0.4", "row 2|line 2"),
    ],
)
def test_a_wrong_box_names_its_row(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        FaceBoxes(table(tmp_path / "b.csv", row))


def test_yunet_faces_are_fractions_with_landmarks_from_left_to_right(tmp_path, monkeypatch):
    class Net:
        def setInputSize(self, size):
            assert size == (320, 160)  # 640 x 320 shrunk to the longest side

        def detect(self, image):
            points = [100, 60, 140, 62, 120, 80, 104, 100, 136, 101]
            return 1, np.array([[80, 40, 80, 80, *points, 0.93]], np.float32)

    monkeypatch.setattr(cv2.FaceDetectorYN, "create", staticmethod(lambda *arguments: Net()))
    weights = tmp_path / "yunet.onnx"
    weights.write_bytes(b"weights")
    (found,) = YuNetDetector(weights, longest=320)(np.zeros((320, 640, 3), np.uint8))
    np.testing.assert_allclose(found.box, (0.25, 0.25, 0.5, 0.75))
    assert found.score == pytest.approx(0.93)
    np.testing.assert_allclose(found.landmarks[0], (100 / 320, 60 / 160))
    assert found.landmarks[0, 0] < found.landmarks[1, 0]


def test_what_is_no_yunet_says_so(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        YuNetDetector(tmp_path / "absent.onnx")
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(b"not a network")
    with pytest.raises(DataError, match="expected YuNet's weights"):
        YuNetDetector(wrong)


def test_a_detector_is_chosen_by_name(tmp_path):
    assert isinstance(detector(), CascadeDetector)
    with pytest.raises(DataError, match="no such file"):
        detector("yunet", tmp_path / "absent.onnx")
    with pytest.raises(UsageError, match="expected cascade, or yunet"):
        detector("mtcnn")
    with pytest.raises(UsageError, match="'cascade' with weights"):
        detector("cascade", tmp_path / "yunet.onnx")


def test_yunet_is_downloaded_once_with_its_hash(tmp_path, monkeypatch):
    asked = []

    def fetch(url, sha256, folder):
        asked.append((url.rsplit("/", 1)[1], sha256))
        return tmp_path / "absent.onnx"

    monkeypatch.setattr("shared_core.data.download.fetch", fetch)
    with pytest.raises(DataError, match="no such file"):
        detector("yunet")
    assert asked == [("face_detection_yunet_2023mar.onnx", YUNET_SHA256)]


def test_a_crop_is_square_widened_and_repeats_the_border():
    image = np.zeros((100, 200, 3), np.uint8)
    image[:, :, 0] = np.arange(200)
    inside = crop(image, Face(box=(0.4, 0.3, 0.6, 0.7)), size=40, margin=0.0)  # 40 x 40 pixels
    np.testing.assert_array_equal(inside[0, :, 0], np.arange(80, 120))
    wide = crop(image, Face(box=(0.4, 0.3, 0.6, 0.7)), size=60, margin=0.25)
    np.testing.assert_array_equal(wide[0, :, 0], np.arange(70, 130))
    outside = crop(image, Face(box=(-0.1, 0.3, 0.1, 0.7)), size=40, margin=0.0)
    assert (outside[:, :20, 0] == 0).all()
    assert outside.shape == (40, 40, 3)


def test_a_crop_shrinks_by_averaging():
    stripes = np.zeros((100, 100, 3), np.uint8)
    stripes[:, ::2] = 255
    shrunk = crop(stripes, Face(box=(0.0, 0.0, 1.0, 1.0)), size=25, margin=0.0)
    assert abs(shrunk.astype(int) - 127).max() <= 2


def test_a_similarity_undoes_a_rotation_a_scale_and_a_shift():
    generator = np.random.default_rng(3)
    points = generator.normal(size=(5, 2))
    angle, scale, shift = 0.7, 3.2, np.array([4.0, -2.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = similarity(points, scale * points @ turn.T + shift)
    np.testing.assert_allclose(matrix, np.column_stack([scale * turn, shift]), atol=1e-9)


def test_landmarks_align_the_eyes():
    size = 0.4
    upright = draw_face(np.full((300, 300, 3), 128, np.uint8), (0.3, 0.3, 0.7, 0.7))
    turn = cv2.getRotationMatrix2D((150, 150), 30, 1.0)
    tilted = cv2.warpAffine(upright, turn, (300, 300), borderMode=cv2.BORDER_REPLICATE)
    radius = size / 2 * 300
    marks = (
        np.array([[-0.38, -0.17], [0.38, -0.17], [0, 0.3], [-0.3, 0.62], [0.3, 0.62]]) * radius
        + 150
    )
    marks = (np.column_stack([marks, np.ones(5)]) @ turn.T) / 300
    aligned = crop(tilted, Face(box=(0.3, 0.3, 0.7, 0.7), landmarks=marks), size=112)
    assert aligned.shape == (112, 112, 3)
    grey = aligned.mean(axis=2)
    left, right = grey[45:60, 30:48], grey[45:60, 64:82]
    rows = [np.unravel_index(eye.argmin(), eye.shape)[0] for eye in (left, right)]
    assert abs(rows[0] - rows[1]) <= 3  # the dark pupils lie on one line again
