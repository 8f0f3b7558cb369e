"""Running a network over whole videos, at the price of their real frames alone.

Chunks of many videos are sorted by length and packed into batches, so that hardly any padding is
computed; what runs along a video (an LSTM, a memory) follows video by video.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from abaw_va.method.smoothing import windows
from abaw_va.model.network import VaModel
from shared_core.errors import NonFiniteError

CHUNKS_AT_ONCE = 32
"""Chunks in a batch on a GPU."""

CHUNKS_IN_CACHE = 4
"""Chunks in a batch on a CPU: hidden states of more of them would not stay in its caches."""

GROUP_FRAMES = 65_536
"""Frames of the videos that are worked on together; bounds what is held in memory."""


class Frames(Protocol):
    """Videos whose features can be read slice by slice, such as `VideoSet`."""

    @property
    def lengths(self) -> np.ndarray:
        """Frames of each video: int64 [videos]."""

    def read(
        self, index: int, start: int, stop: int, padded_to: int | None = None
    ) -> Float[np.ndarray, "frames width"]:
        """Features of frames [start, stop) of a video, which is `padded_to` frames with zeros."""

    def name(self, index: int) -> str:
        """What a message calls a video."""


class FramesInMemory:
    """Features of videos that are held in memory: float32 [frames, width] by name."""

    def __init__(self, videos: Mapping[str, Float[np.ndarray, "frames width"]]) -> None:
        self.names = list(videos)
        self.videos = list(videos.values())

    @property
    def lengths(self) -> np.ndarray:
        """Frames of each video: int64 [videos]."""
        return np.array([len(video) for video in self.videos], np.int64)

    def read(
        self, index: int, start: int, stop: int, padded_to: int | None = None
    ) -> Float[np.ndarray, "frames width"]:
        """Features of frames [start, stop) of a video; zeros beyond its end."""
        rows = self.videos[index][start:stop]
        missing = 0 if padded_to is None else stop - start - len(rows)
        return np.pad(rows, ((0, missing), (0, 0)))

    def name(self, index: int) -> str:
        """What a message calls a video."""
        return self.names[index]


@torch.inference_mode()
def infer(
    model: VaModel, videos: Frames, which: Sequence[int] | None = None, padded_batch: int = 16
) -> Iterator[tuple[int, Float[np.ndarray, "frames targets"]]]:
    """Raw predictions of whole videos, neither smoothed nor clipped; longest videos first.

    The prediction of a video does not depend on which others are asked for, unless `compat.padding`
    asks for the authors' batches. The transformer is run on windows that overlap by its `hop`, whose
    predictions are averaged.

    Args:
        model: the network, in evaluation mode.
        videos: the videos.
        which: their numbers; all of them by default.
        padded_batch: videos in one of the authors' batches, for `compat.padding` alone.

    Yields:
        The number of a video and float64 [frames, targets], in the units of the labels.

    Raises:
        NonFiniteError: a prediction is NaN or infinite; names the video and the frame.
    """
    numbers = np.arange(len(videos.lengths)) if which is None else np.array(which, np.int64)
    if model.config.compat.padding:
        firsts = range(0, len(numbers), padded_batch)
        groups = iter([numbers[first : first + padded_batch].tolist() for first in firsts])
        run = _infer_padded
    else:
        longest_first = numbers[np.argsort(-videos.lengths[numbers], kind="stable")]
        groups, run = _groups(longest_first, videos.lengths), _infer_packed
    for group in groups:
        for number, prediction in run(model, videos, group):
            _refuse_non_finite(prediction, videos.name(number))
            yield number, prediction


def _refuse_non_finite(prediction: Float[np.ndarray, "frames targets"], name: str) -> None:
    finite = np.isfinite(prediction).all(axis=1)
    if not finite.all():
        raise NonFiniteError(
            f"video {name}, frame {int(finite.argmin())}: the network predicts a value that is not "
            "finite.\nIts weights or the features are broken: train again, or extract them again."
        )


def _groups(numbers: np.ndarray, lengths: np.ndarray) -> Iterator[list[int]]:
    """Neighbours that hold at most `GROUP_FRAMES` together, and one video at least."""
    group: list[int] = []
    frames = 0
    for number in numbers.tolist():
        if group and frames + lengths[number] > GROUP_FRAMES:
            yield group
            group, frames = [], 0
        group.append(number)
        frames += int(lengths[number])
    if group:
        yield group


def _infer_packed(
    model: VaModel, videos: Frames, group: list[int]
) -> Iterator[tuple[int, Float[np.ndarray, "frames targets"]]]:
    device = next(model.parameters()).device
    spans = {
        video: windows(int(videos.lengths[video]), model.chunk_length, model.hop).tolist()
        for video in group
    }
    longest_first = sorted(
        ((stop - start, video, start) for video in group for start, stop in spans[video]),
        reverse=True,
    )
    sums: dict[int, Tensor] = {}
    at_once = CHUNKS_IN_CACHE if device.type == "cpu" else CHUNKS_AT_ONCE
    for first in range(0, len(longest_first), at_once):
        batch = longest_first[first : first + at_once]
        features, present = _pack(videos, [(v, start, start + n) for n, v, start in batch])
        part = _before_the_carrier(model, features.to(device), present.to(device))
        for row, (length, video, start) in enumerate(batch):
            if video not in sums:
                sums[video] = part.new_zeros(int(videos.lengths[video]), part.shape[-1])
            sums[video][start : start + length] += part[row, :length]
    for video in group:
        mean = sums.pop(video) / _coverage(spans[video]).to(device)
        result = model.prediction(model.decode(mean)) if model.carries_state else mean
        yield video, result.double().cpu().numpy()


def _before_the_carrier(model: VaModel, features: Tensor, present: Tensor) -> Tensor:
    """What can be computed chunk by chunk: hidden states or, without a carrier, predictions."""
    if model.carries_state:
        return model.encode(features, present)
    return model.prediction(model(features, present)[0])


def _infer_padded(
    model: VaModel, videos: Frames, group: list[int]
) -> Iterator[tuple[int, Float[np.ndarray, "frames targets"]]]:
    device = next(model.parameters()).device
    longest = int(videos.lengths[group].max())
    if model.config.compat.norm_padding:
        rows = [videos.read(video, 0, longest, padded_to=longest) for video in group]
        features = torch.from_numpy(np.stack(rows))
        present = torch.ones(features.shape[:2], dtype=torch.bool)
    else:
        features, present = _pack(videos, [(v, 0, int(videos.lengths[v])) for v in group])
    predictions = model.prediction(model.forward_videos(features.to(device), present.to(device)))
    for row, video in enumerate(group):
        yield video, predictions[row, : videos.lengths[video]].double().cpu().numpy()


def _pack(videos: Frames, spans: list[tuple[int, int, int]]) -> tuple[Tensor, Tensor]:
    """Features [N, T, D] of (video, start, stop), zero where padded, and which frames exist [N, T]."""
    rows = [videos.read(video, start, stop) for video, start, stop in spans]
    features = torch.zeros(len(rows), max(map(len, rows)), rows[0].shape[1])
    present = torch.zeros(features.shape[:2], dtype=torch.bool)
    for row, values in enumerate(rows):
        features[row, : len(values)] = torch.from_numpy(values)
        present[row, : len(values)] = True
    return features, present


def _coverage(spans: Sequence[Sequence[int]]) -> Float[Tensor, "frames 1"]:
    """How many windows hold each frame."""
    count = torch.zeros(max(stop for _, stop in spans), 1)
    for start, stop in spans:
        count[start:stop] += 1
    return count
