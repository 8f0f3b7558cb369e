"""Following all faces of a video: numbers that stay, boxes that move evenly."""

from __future__ import annotations

import numpy as np
import pytest

from shared_core.data.faces import Face, follow_all
from shared_core.data.video import Frame

SIZE = 0.2


def video(count: int) -> list[Frame]:
    """Frames whose first pixel is their number."""
    return [
        Frame(index=n, time_s=n / 10, image=np.full((4, 4, 3), n, np.uint8)) for n in range(count)
    ]


class Moving:
    """Sees people at places that depend on the frame: {person: function of the frame or None}."""

    def __init__(self, *people):
        self.people = people
        self.looks = []

    def __call__(self, image):
        n = int(image[0, 0, 0])
        self.looks.append(n)
        places = [place(n) for place in self.people]
        return [Face(box=(x, 0.1, x + SIZE, 0.3)) for x in places if x is not None]


def test_two_people_keep_their_numbers_while_they_move():
    detector = Moving(lambda n: 0.7 - n / 100, lambda n: 0.1 + n / 100)
    found = {frame.index: faces for frame, faces in follow_all(video(12), detector, every=5)}
    assert detector.looks == [0, 5, 10, 11]
    assert sorted(found) == list(range(12))
    for n, faces in found.items():
        assert sorted(faces) == [0, 1]
        assert faces[0].box[0] == pytest.approx(0.1 + n / 100)
        assert faces[1].box[0] == pytest.approx(0.7 - n / 100)


def test_who_comes_gets_a_new_number_and_who_goes_keeps_none():
    early = Moving(lambda n: 0.1 if n < 7 else None, lambda n: 0.6 if n >= 9 else None)
    found = [faces for _, faces in follow_all(video(16), early, every=5)]
    assert [sorted(faces) for faces in found[:6]] == [[0]] * 6  # seen at 0 and at 5
    assert [sorted(faces) for faces in found[6:10]] == [[]] * 4  # not seen at 10 any more
    assert [sorted(faces) for faces in found[10:]] == [[1]] * 6


def test_a_jump_is_another_person():
    jump = Moving(lambda n: 0.1 if n < 5 else 0.7)
    found = [faces for _, faces in follow_all(video(6), jump, every=5)]
    assert (list(found[0]), list(found[5])) == ([0], [1])
    assert not any(found[1:5])


def test_a_video_without_faces_or_frames():
    nobody = Moving()
    assert [faces for _, faces in follow_all(video(7), nobody, every=3)] == [{}] * 7
    assert list(follow_all([], nobody)) == []
