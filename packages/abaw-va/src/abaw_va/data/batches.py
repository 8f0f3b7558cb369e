"""From chunks to batches: the training set as the loader sees it."""

from __future__ import annotations

import math
import mmap
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from abaw_va.data.chunks import Chunks, cut_into_chunks
from abaw_va.data.videos import VideoSet
from shared_core.data.loader import PADDING, ItemKey, generator


@dataclass(frozen=True)
class Item:
    """One chunk: features [T, D], labels [n, 2], valid [n]; `restart` where its video begins.

    n is T, or less where features of padding follow the video's last frame. An item of padding has
    no frames and is a restart, for it belongs to no video.
    """

    features: Tensor
    target: Tensor
    valid: Tensor
    restart: bool
    name: str


@dataclass(frozen=True)
class ChunkBatch:
    """Chunks side by side, padded to the longest.

    Attributes:
        features: zeros where padded.
        target: valence and arousal, in [-1, 1].
        present: frames that exist.
        valid: frames that exist and are annotated.
        restart: rows whose video begins with this chunk, or that hold padding alone: carried state
            starts afresh.
        names: what each row is, for messages.
    """

    features: Float[Tensor, "batch time width"]
    target: Float[Tensor, "batch time 2"]
    present: Bool[Tensor, "batch time"]
    valid: Bool[Tensor, "batch time"]
    restart: Bool[Tensor, " batch"]
    names: tuple[str, ...]

    def __len__(self) -> int:
        """Number of frames that exist: what throughput counts."""
        return int(self.present.sum())

    def to(self, device: torch.device) -> ChunkBatch:
        """The same batch on a device."""
        return ChunkBatch(
            self.features.to(device, non_blocking=True),
            self.target.to(device, non_blocking=True),
            self.present.to(device, non_blocking=True),
            self.valid.to(device, non_blocking=True),
            self.restart.to(device, non_blocking=True),
            self.names,
        )


class ChunkDataset:
    """Chunks of a video set by their row in the epoch's table.

    Args:
        videos: the videos.
        chunk_length: frames a chunk holds at most.
        random_offset: shift the borders between chunks anew in every epoch, so that the network does
            not see the same seams again and again; for networks without state.
        seed: key of those shifts.
        padded: frames to which each video is padded in an epoch, int64 [videos], where padding is
            standardised like frames (`compat.norm_padding`); the chunks then cover it too.
    """

    def __init__(
        self,
        videos: VideoSet,
        chunk_length: int,
        *,
        random_offset: bool = False,
        seed: int = 0,
        padded: Callable[[int], np.ndarray] | None = None,
    ) -> None:
        self.videos = videos
        self.chunk_length = chunk_length
        self.random_offset = random_offset
        self.seed = seed
        self.padded = padded
        self._table: tuple[int, Chunks] | None = None

    def chunks(self, epoch: int) -> Chunks:
        """The table of an epoch's chunks."""
        if not self.random_offset and self.padded is None:
            epoch = 0
        if self._table is None or self._table[0] != epoch:
            lengths = self.videos.lengths if self.padded is None else self.padded(epoch)
            self._table = (
                epoch,
                cut_into_chunks(lengths, self.chunk_length, self._offsets(epoch)),
            )
        return self._table[1]

    def _offsets(self, epoch: int) -> np.ndarray | None:
        if not self.random_offset:
            return None
        draw = generator(self.seed, epoch, 1)
        return torch.randint(self.chunk_length, (len(self.videos),), generator=draw).numpy()

    def __len__(self) -> int:
        return len(self.chunks(0))

    def __getitem__(self, key: ItemKey) -> Item:
        """One chunk; `PADDING` gives an item without frames.

        Raises:
            DataError: a feature value is not finite.
        """
        if key.index == PADDING:
            nothing = torch.zeros(0, self.videos.width)
            return Item(
                nothing, torch.zeros(0, 2), torch.zeros(0, dtype=torch.bool), True, "padding"
            )
        chunks = self.chunks(key.epoch)
        video, start, stop = (
            int(column[key.index]) for column in (chunks.video, chunks.start, chunks.stop)
        )
        target, valid = self.videos.labels(video, start, stop)
        padded_to = None if self.padded is None else int(self.padded(key.epoch)[video])
        return Item(
            torch.from_numpy(self.videos.read(video, start, stop, padded_to)),
            torch.from_numpy(target),
            torch.from_numpy(valid.copy()),
            restart=start == 0,
            name=f"{self.videos.videos[video].id}[{start}:{stop}]",
        )


def collate(items: Sequence[Item], pad_to: int | None = None) -> ChunkBatch:
    """Put chunks side by side, padded with zeros to the longest, or to `pad_to` frames."""
    frames = pad_to or max(1, *(len(item.features) for item in items))
    size = (len(items), frames)
    features = _zeros(*size, items[0].features.shape[1])
    target = torch.zeros(*size, 2)
    present = torch.zeros(size, dtype=torch.bool)
    valid = torch.zeros(size, dtype=torch.bool)
    for row, item in enumerate(items):
        features[row, : len(item.features)] = item.features
        length = len(item.valid)
        target[row, :length] = item.target
        present[row, :length] = True
        valid[row, :length] = item.valid
    return ChunkBatch(
        features,
        target,
        present,
        valid,
        restart=torch.tensor([item.restart for item in items]),
        names=tuple(item.name for item in items),
    )


def _zeros(*size: int) -> Float[Tensor, "..."]:
    """Float32 zeros in pages of their own, which the system has back as soon as they are dropped.

    On the heap, the small things made beside a batch settle in the room of the one before, so that
    the next batch does not fit there: in the course of an epoch a process grows by hundreds of MB.
    """
    if sys.platform != "linux":
        return torch.zeros(size)
    pages = mmap.mmap(-1, 4 * math.prod(size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without huge pages; small ones take three times as long
        pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=torch.float32).view(size)
