"""Chunks of videos, and the orders in which training takes them.

A network reads at most `chunk_length` frames at a time. `Chunks` is the table of all chunks of an
epoch; the plans below deal its rows into batches. Everything here is a function of (seed, epoch).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64

from shared_core.data.loader import PADDING, generator


@dataclass(frozen=True)
class Chunks:
    """Table of chunks: row i is frames [start[i], stop[i]) of video `video[i]`.

    Attributes:
        video, start, stop: int64 [chunks], ordered by video and time.
        first: int64 [videos + 1]; chunks of video v are the rows first[v] .. first[v + 1].
    """

    video: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    first: np.ndarray

    def __len__(self) -> int:
        return len(self.video)

    def of(self, video: int) -> range:
        """Rows of one video, in time order."""
        return range(int(self.first[video]), int(self.first[video + 1]))


def cut_into_chunks(
    lengths: np.ndarray, chunk_length: int, offsets: np.ndarray | None = None
) -> Chunks:
    """Cut videos of `lengths` frames into chunks of at most `chunk_length`.

    Args:
        lengths: int64 [videos], each at least 1.
        chunk_length: frames a chunk holds at most.
        offsets: int64 [videos] in [0, chunk_length): length of a first, shorter chunk; 0 or None cuts
            at multiples of `chunk_length`, as the paper does.
    """
    offset = np.zeros_like(lengths) if offsets is None else np.minimum(offsets, lengths)
    counts = (offset > 0) + -((offset - lengths) // chunk_length)
    first = np.concatenate(([0], np.cumsum(counts)))
    video = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(first[-1]) - first[video]
    start = np.where(
        offset[video] > 0,
        np.where(number == 0, 0, offset[video] + (number - 1) * chunk_length),
        number * chunk_length,
    )
    after = np.where((offset[video] > 0) & (number == 0), offset[video], start + chunk_length)
    return Chunks(video, start, np.minimum(after, lengths[video]), first)


ChunkTable = Callable[[int], Chunks]
"""The chunks of an epoch."""


@dataclass(frozen=True)
class ChunkPlan:
    """Chunks of all videos, shuffled; each batch holds at least two videos when the set has two.

    One person's chunk has little spread, and the CCC of a single person says little: more than half
    of the authors' steps see two people at most. The last short batch is filled up with chunks of
    the same epoch. For networks without state.
    """

    chunks: ChunkTable
    batch_size: int
    seed: int

    def batches(self, epoch: int) -> Sequence[Sequence[int]]:
        """Global batches of chunk rows."""
        chunks = self.chunks(epoch)
        draw = generator(self.seed, epoch)
        order = torch.randperm(len(chunks), generator=draw).tolist()
        fill = itertools.cycle(torch.randperm(len(chunks), generator=draw).tolist())
        size = min(self.batch_size, len(chunks))
        several = len(chunks.first) > 2 and size > 1
        batches: list[list[int]] = []
        while order:
            batch, order = order[: size - 1], order[size - 1 :]
            while len(batch) < size:
                wanted = _another_video(batch, chunks) if several else _any
                at = next((i for i, row in enumerate(order) if wanted(row)), None)
                batch.append(order.pop(at) if at is not None else next(filter(wanted, fill)))
            batches.append(batch)
        return batches


@dataclass(frozen=True)
class StreamPlan:
    """Parallel streams of whole videos, for networks that carry state from chunk to chunk.

    Every stream is a row of whole videos one after another; videos are dealt longest first to the
    shortest stream. Step s takes chunk s of every stream: row i of each batch is stream i. A stream
    that has ended holds `PADDING`.
    """

    chunks: ChunkTable
    batch_size: int
    seed: int

    def batches(self, epoch: int) -> Sequence[Sequence[int]]:
        """Global batches of chunk rows; all of one length."""
        chunks = self.chunks(epoch)
        counts = np.diff(chunks.first)
        shuffled = torch.randperm(len(counts), generator=generator(self.seed, epoch)).numpy()
        longest_first = shuffled[np.argsort(-counts[shuffled], kind="stable")]
        streams: list[list[int]] = [[] for _ in range(min(self.batch_size, len(counts)))]
        load = np.zeros(len(streams), np.int64)
        for video in longest_first:
            shortest = int(load.argmin())
            streams[shortest].append(int(video))
            load[shortest] += counts[video]
        rows = [
            _shuffled_rows(videos, chunks, generator(self.seed, epoch, stream))
            for stream, videos in enumerate(streams)
        ]
        return _columns(rows)


@dataclass(frozen=True)
class UpstreamPlan:
    """The authors' order: `batch_size` whole videos at a time, chunk by chunk until the longest ends."""

    chunks: ChunkTable
    batch_size: int
    seed: int

    def batches(self, epoch: int) -> Sequence[Sequence[int]]:
        """Global batches of chunk rows; `PADDING` where a video has ended."""
        chunks = self.chunks(epoch)
        batches: list[list[int]] = []
        for group in upstream_groups(len(chunks.first) - 1, self.batch_size, self.seed, epoch):
            batches += _columns([list(chunks.of(video)) for video in group])
        return batches


def upstream_groups(count: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Which of `count` videos the authors' order puts side by side in an epoch."""
    videos = torch.randperm(count, generator=generator(seed, epoch)).tolist()
    return [videos[start : start + batch_size] for start in range(0, count, batch_size)]


def upstream_lengths(
    lengths: np.ndarray, batch_size: int, seed: int, epoch: int
) -> Int64[np.ndarray, " videos"]:
    """Frames to which the authors pad each video in an epoch: those of the longest beside it."""
    padded = np.empty_like(lengths)
    for group in upstream_groups(len(lengths), batch_size, seed, epoch):
        padded[group] = lengths[group].max()
    return padded


def _another_video(batch: list[int], chunks: Chunks) -> Callable[[int], bool]:
    """Whether a chunk may end the batch: always, unless the batch so far shows one video alone."""
    present = set(chunks.video[batch].tolist())
    return _any if len(present) > 1 else lambda row: chunks.video[row] not in present


def _any(_row: int) -> bool:
    return True


def _shuffled_rows(videos: list[int], chunks: Chunks, draw: torch.Generator) -> list[int]:
    """Chunk rows of one stream, its videos in an order of this epoch."""
    order = torch.randperm(len(videos), generator=draw).tolist()
    return [row for i in order for row in chunks.of(videos[i])]


def _columns(rows: list[list[int]]) -> list[list[int]]:
    """Step s of all rows together; rows that have ended give `PADDING`."""
    steps = max(len(row) for row in rows)
    return [[row[s] if s < len(row) else PADDING for row in rows] for s in range(steps)]
