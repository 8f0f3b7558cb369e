from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abaw_va.features.mapping import average_rows, fill_gaps, fit_length, frame_spans


def count_rows(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float32)[:, None]


def slow_fill(found: list[bool], compat: bool) -> list[int]:
    """Search outwards, one frame earlier before one frame later."""
    sources = []
    for index, here in enumerate(found):
        source = index if here else -1
        for distance in range(1, len(found)):
            if source >= 0:
                break
            earlier, later = index - distance, index + distance
            if earlier >= (1 if compat else 0) and found[earlier]:
                source = earlier
            elif later < len(found) and found[later]:
                source = later
        sources.append(source)
    return sources


@pytest.mark.parametrize("thirty_fps", [False, True])
def test_acceptance_15_rows_of_20_ms_are_averaged_over_frames(thirty_fps):
    starts, ends = frame_spans(np.arange(5) / 30, thirty_fps=thirty_fps)
    means = average_rows(count_rows(20), 0.02, starts, ends)[:, 0]
    np.testing.assert_array_equal(means, [0.5, 2.0, 3.5, 5.5, 7.0])


def test_acceptance_15_rows_of_10_ms_are_averaged_over_frames():
    starts, ends = frame_spans(np.arange(5) / 30)
    assert average_rows(count_rows(40), 0.01, starts, ends)[0, 0] == np.mean([0, 1, 2, 3])


@pytest.mark.parametrize("fps", [15, 24, 25, 30, 50, 60])
def test_averages_equal_a_loop_over_frames(fps):
    generator = np.random.default_rng(fps)
    rows = generator.normal(size=(150, 7)).astype(np.float32)
    starts, ends = frame_spans(np.arange(3 * fps) / fps)
    slow = []
    for start, end in zip(starts, ends, strict=True):
        first, last = math.floor(round(start / 0.02, 4)), math.ceil(round(end / 0.02, 4))
        slow.append(np.mean([rows[min(k, 149)] for k in range(first, last)], axis=0))
    np.testing.assert_allclose(average_rows(rows, 0.02, starts, ends), slow, atol=1e-6)


def test_rows_that_are_missing_at_the_ends_repeat_the_first_and_last():
    means = average_rows(
        count_rows(3) + 1, 1.0, np.array([-2.0, 1.0, 5.0]), np.array([-1.0, 4.0, 6.0])
    )
    np.testing.assert_allclose(means[:, 0], [1, (2 + 3 + 3) / 3, 3])


def test_a_long_average_keeps_its_digits():
    rows = np.full((500_000, 1), 1000.1, np.float32)
    starts, ends = frame_spans(np.arange(300_000) / 30)
    np.testing.assert_allclose(average_rows(rows, 0.02, starts, ends), 1000.1, rtol=1e-6)


def test_acceptance_23_sound_of_a_24_fps_clip_is_aligned_at_its_end():
    """At 24 fps the authors' 30 leave the end of the sound unheard."""
    rows = np.zeros((500, 1), np.float32)  # 10 s of 20 ms rows
    rows[480:] = 1  # something sounds from 9.6 s on
    times = np.arange(240) / 24
    heard = average_rows(rows, 0.02, *frame_spans(times))[:, 0]
    assert abs(int(np.argmax(heard > 0.5)) - round(9.6 * 24)) <= 1
    drifted = average_rows(rows, 0.02, *frame_spans(times, thirty_fps=True))[:, 0]
    assert drifted.max() == 0


def test_a_frame_lasts_until_the_next_and_the_last_as_long_as_usual():
    _, ends = frame_spans(np.array([0.5, 0.6, 0.7, 1.5, 1.6]))
    np.testing.assert_allclose(ends, [0.6, 0.7, 1.5, 1.6, 1.7])
    np.testing.assert_allclose(frame_spans(np.array([2.0]))[1], [2 + 1 / 30])
    assert frame_spans(np.array([0.5]), thirty_fps=True)[0][0] == 0


def test_length_is_cut_or_repeats_the_last_row():
    np.testing.assert_array_equal(fit_length(count_rows(3), 5)[:, 0], [0, 1, 2, 2, 2])
    np.testing.assert_array_equal(fit_length(count_rows(3), 2)[:, 0], [0, 1])


def test_gaps_take_the_nearest_face_and_of_two_the_earlier():
    found = np.array([True, False, False, False, True, False])  # images 1 and 5 of 6
    source, pad = fill_gaps(found)
    np.testing.assert_array_equal(source + 1, [1, 1, 1, 5, 5, 5])
    np.testing.assert_array_equal(pad, ~found)


def test_compat_never_copies_the_first_frame():
    source, _ = fill_gaps(np.array([True, False, False, False, True, False]), compat=True)
    np.testing.assert_array_equal(source + 1, [1, 5, 5, 5, 5, 5])


def test_without_any_face_no_frame_is_a_source():
    source, pad = fill_gaps(np.zeros(4, bool))
    np.testing.assert_array_equal(source, [-1] * 4)
    assert pad.all()


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.booleans())
def test_gaps_are_filled_as_by_searching_outwards(found, compat):
    source, _ = fill_gaps(np.array(found), compat=compat)
    assert source.tolist() == slow_fill(found, compat)
