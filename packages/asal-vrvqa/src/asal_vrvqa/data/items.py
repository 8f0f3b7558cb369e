"""From a clip to an item, and from items to a batch; frames travel as uint8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import chain

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from asal_vrvqa.config import Reading
from asal_vrvqa.data.frames import FrameKey, FrameStore, frame_indices
from asal_vrvqa.data.labels import Clip
from shared_core.data.loader import PADDING, ItemKey
from shared_core.data.quarantine import Quarantine
from shared_core.data.rows import Rows
from shared_core.errors import DataError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours of ImageNet, with which the frames are normalised."""


@dataclass(frozen=True)
class ClipBatch(Rows):
    """Clips with their scores, a row each.

    Attributes:
        frames: RGB, as they are on the disk or mirrored.
        score: what the labels say.
        valid: False for rows that fill up a batch and count nothing.
        index: number of the clip in its data set; -1 where not valid.
        names: of the clips, for messages.
    """

    frames: UInt8[Tensor, "B T H W 3"]
    score: Float[Tensor, " B"]
    valid: Bool[Tensor, " B"]
    index: Int64[Tensor, " B"]
    names: tuple[str, ...]


class ClipDataset:
    """Clips as the network is to see them.

    Args:
        clips: the clips.
        store: where their frames are.
        reading: how frames are chosen and changed.
        training: choose frames by coins and mirror them; else neither.
    """

    def __init__(
        self, clips: Sequence[Clip], store: FrameStore, reading: Reading, *, training: bool = False
    ) -> None:
        self.clips = clips
        self.store = store
        self.reading = reading
        self.training = training

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.clips)

    def __getitem__(self, key: ItemKey) -> ClipBatch:
        """One clip; index -1 gives a row that counts nothing.

        Raises:
            DataError: a frame is missing or damaged; names the clip.
        """
        network = self.store.network
        if key.index == PADDING:
            shape = (1, network.frames, network.height, network.width, 3)
            return _row(torch.zeros(shape, dtype=torch.uint8), 0.0, PADDING, "padding")
        clip = self.clips[key.index]
        coins = torch.rand(2 * network.frames + 2, generator=key.generator()).tolist()
        jitter, flips, (viewer, whole) = (
            [coin < 0.5 for coin in coins[: network.frames]],
            [coin < 0.5 for coin in coins[network.frames : -2]],
            coins[-2:],
        )
        folder = clip.folder
        if network.backbone == "viewport":
            paths = self.store.scanpaths(folder)
            folder = paths[int(viewer * len(paths)) if self.training else 0]
        moved = jitter if self.training and self.reading.jitter else None
        frames = self.store.read(keys_of(clip, folder, self.store, self.reading, moved))
        if self.training and self.reading.flip != "none":
            if self.reading.flip == "clip":
                flips = [whole < 0.5] * network.frames
            frames[flips] = frames[flips, :, ::-1]
        return _row(torch.from_numpy(frames)[None], clip.score, key.index, clip.name)


def keys_of(
    clip: Clip,
    folder: str,
    store: FrameStore,
    reading: Reading,
    coins: Sequence[bool] | None = None,
) -> list[FrameKey]:
    """The frames of a folder through which a clip is seen.

    Raises:
        DataError: there are too few.
    """
    available = store.count(folder)
    path = store.root / folder
    indices = frame_indices(clip, available, store.network, reading, coins, path=path)
    return [FrameKey(folder, index) for index in indices]


def _row(frames: Tensor, score: float, index: int, name: str) -> ClipBatch:
    return ClipBatch(
        frames=frames,
        score=torch.tensor([score], dtype=torch.float32),
        valid=torch.tensor([index != PADDING]),
        index=torch.tensor([index]),
        names=(name,),
    )


def collate(items: Sequence[ClipBatch]) -> ClipBatch:
    """Rows below one another."""
    tensors = {
        f.name: torch.cat([getattr(item, f.name) for item in items])
        for f in fields(ClipBatch)
        if f.name != "names"
    }
    names = tuple(chain.from_iterable(item.names for item in items))
    return ClipBatch(**tensors, names=names)


@dataclass(frozen=True)
class FrameBatch(Rows):
    """Single frames, a row each.

    Attributes:
        frames: RGB.
        valid: False for rows that fill up a batch.
        index: number of the frame; -1 where not valid.
    """

    frames: UInt8[Tensor, "B H W 3"]
    valid: Bool[Tensor, " B"]
    index: Int64[Tensor, " B"]


class DistinctFrames:
    """All frames that an evaluation of some clips needs, each once.

    The entries of 7 and of 15 seconds share four frames, and a frame's score does not depend on its
    neighbours.

    Args:
        clips: the clips.
        store: where their frames are.
        reading: how frames are chosen.
        share: False computes shared frames once for each clip, as a baseline does.
        quarantine: what to do with clips that have too few frames; their lists are empty.

    Raises:
        DataError: a clip has too few frames.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        store: FrameStore,
        reading: Reading,
        *,
        share: bool = True,
        quarantine: Quarantine | None = None,
    ) -> None:
        self.clips = clips
        self.store = store
        self.keys: list[FrameKey] = []
        self.of_clip: list[list[int]] = []
        """Numbers of each clip's frames."""
        quarantine = quarantine or Quarantine("raise")
        numbers: dict[FrameKey, int] = {}
        for clip in clips:
            mine = []
            try:
                keys = [
                    key
                    for folder in self._folders(clip, reading)
                    for key in keys_of(clip, folder, store, reading)
                ]
            except DataError as error:
                quarantine.bad(error, of=len(clips))
                keys = []
            for key in keys:
                if not share or key not in numbers:
                    numbers[key] = len(self.keys)
                    self.keys.append(key)
                mine.append(numbers[key])
            self.of_clip.append(mine)

    def _folders(self, clip: Clip, reading: Reading) -> list[str]:
        if self.store.network.backbone != "viewport":
            return [clip.folder]
        return self.store.scanpaths(clip.folder)[: reading.scanpaths]

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.keys)

    def __getitem__(self, key: ItemKey) -> FrameBatch:
        """One frame; index -1 gives a row that counts nothing.

        Raises:
            DataError: it is missing or damaged.
        """
        network = self.store.network
        if key.index == PADDING:
            frame = torch.zeros(1, network.height, network.width, 3, dtype=torch.uint8)
        else:
            frame = torch.from_numpy(self.store.read([self.keys[key.index]]))
        return FrameBatch(
            frames=frame,
            valid=torch.tensor([key.index != PADDING]),
            index=torch.tensor([key.index]),
        )


def collate_frames(items: Sequence[FrameBatch]) -> FrameBatch:
    """Rows below one another."""
    return FrameBatch(
        **{f.name: torch.cat([getattr(item, f.name) for item in items]) for f in fields(FrameBatch)}
    )


def normalised(frames: UInt8[Tensor, "*B H W 3"]) -> Float[Tensor, "*B 3 H W"]:
    """Frames as the network reads them: 0..1, without ImageNet's mean, in units of its deviation."""
    mean, std = (
        frames.new_tensor(MEAN, dtype=torch.float32),
        frames.new_tensor(STD, dtype=torch.float32),
    )
    return ((frames.float() / 255 - mean) / std).movedim(-1, -3)
