"""Chunks and the orders in which training takes them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abaw_va.data.chunks import ChunkPlan, StreamPlan, UpstreamPlan, cut_into_chunks
from shared_core.data.loader import PADDING

lengths = st.lists(st.integers(1, 90), min_size=1, max_size=9)


@given(lengths, st.integers(1, 40), st.data())
def test_chunks_tile_every_video(lengths, chunk_length, data):
    """Whatever the offsets, the chunks of a video are its frames in order, none twice."""
    offsets = data.draw(
        st.none()
        | st.lists(st.integers(0, chunk_length - 1), min_size=len(lengths), max_size=len(lengths))
    )
    table = cut_into_chunks(
        np.array(lengths), chunk_length, None if offsets is None else np.array(offsets)
    )
    for video, length in enumerate(lengths):
        frames = [
            frame for row in table.of(video) for frame in range(table.start[row], table.stop[row])
        ]
        assert frames == list(range(length))
        assert all(table.video[row] == video for row in table.of(video))
    assert (table.stop - table.start).min() >= 1
    assert (table.stop - table.start).max() <= chunk_length


def _plan(kind, lengths, batch_size=4, chunk_length=10, seed=3):
    table = cut_into_chunks(np.array(lengths), chunk_length)
    return table, kind(lambda epoch: table, batch_size, seed)


@given(lengths, st.integers(1, 8), st.integers(0, 3))
def test_every_chunk_is_seen_in_every_epoch(lengths, batch_size, epoch):
    """No plan loses a chunk; the plans of whole videos show each exactly once."""
    for kind in (ChunkPlan, StreamPlan, UpstreamPlan):
        table, plan = _plan(kind, lengths, batch_size)
        seen = Counter(row for batch in plan.batches(epoch) for row in batch if row != PADDING)
        assert set(seen) == set(range(len(table)))
        if kind is not ChunkPlan:
            assert set(seen.values()) == {1}


@given(lengths, st.integers(2, 8), st.integers(0, 3))
def test_a_batch_shows_two_videos_when_the_set_has_two(lengths, batch_size, epoch):
    """Also where one video has nearly all the chunks; and all batches have one size."""
    table, plan = _plan(ChunkPlan, lengths, batch_size)
    batches = plan.batches(epoch)
    assert {len(batch) for batch in batches} == {min(batch_size, len(table))}
    if len(lengths) > 1:
        assert all(len(set(table.video[batch].tolist())) > 1 for batch in batches)


def test_repeats_are_few_unless_one_video_dominates():
    """Filling the last batch repeats fewer chunks than a batch holds."""
    table, plan = _plan(ChunkPlan, [100, 80, 55, 91], batch_size=8)
    rows = [row for batch in plan.batches(0) for row in batch]
    assert len(rows) - len(table) < 8


@given(lengths, st.integers(1, 5), st.integers(0, 2))
def test_streams_play_whole_videos_in_time_order(lengths, batch_size, epoch):
    """Column i of the batches is stream i: each video from its first chunk to its last, unbroken."""
    table, plan = _plan(StreamPlan, lengths, batch_size)
    batches = plan.batches(epoch)
    for stream in zip(*batches, strict=True):
        rows = [row for row in stream if row != PADDING]
        assert list(stream) == rows + [PADDING] * (len(stream) - len(rows))
        expected = []
        for row in rows:
            if table.start[row] == 0:
                expected += list(table.of(int(table.video[row])))
        assert rows == expected


def test_streams_are_of_nearly_equal_length():
    """Longest first to the shortest: the longest stream is at most a video above the mean."""
    lengths = [470, 180, 40, 36, 38, 45, 200, 90, 33, 38]
    table, plan = _plan(StreamPlan, lengths, batch_size=3)
    steps = len(plan.batches(0))
    assert steps == max(-(-len(table) // 3), 47)


def test_the_authors_order_is_whole_videos_side_by_side():
    """Step s of a group holds chunk s of each video, and padding once a video has ended."""
    table, plan = _plan(UpstreamPlan, [35, 10, 22], batch_size=3)
    batches = plan.batches(0)
    assert len(batches) == 4
    by_video = {
        tuple(int(table.start[r]) if r != PADDING else -1 for r in s)
        for s in zip(*batches, strict=True)
    }
    assert by_video == {(0, 10, 20, 30), (0, -1, -1, -1), (0, 10, 20, -1)}


@pytest.mark.parametrize("kind", [ChunkPlan, StreamPlan, UpstreamPlan])
def test_order_depends_on_seed_and_epoch_alone(kind):
    lengths = [64, 50, 81, 77, 30, 22]
    _, plan = _plan(kind, lengths)
    again = _plan(kind, lengths)[1]
    assert plan.batches(2) == again.batches(2)
    assert plan.batches(2) != plan.batches(3)
    assert plan.batches(2) != _plan(kind, lengths, seed=4)[1].batches(2)
