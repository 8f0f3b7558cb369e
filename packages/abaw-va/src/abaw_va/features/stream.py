"""A video file to features: decoding, faces, crops and networks in one pass, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from torch import Tensor

from abaw_va.features.base import FrameExtractor, SoundExtractor
from abaw_va.features.mapping import fill_gaps, frame_spans
from shared_core.data.audio import Audio, read_audio
from shared_core.data.faces import Detector, Face, FaceBoxes, Image, Person, crop, follow
from shared_core.data.video import Frame, frame_times, frames


@dataclass(frozen=True, kw_only=True)
class VideoFeatures:
    """What was seen and heard in a video, one row per frame."""

    times_s: Float64[np.ndarray, " frames"]
    """Presentation times."""
    boxes: Float64[np.ndarray, "frames 4"]
    """Face boxes, fractions; NaN where no face was found."""
    face: Bool[np.ndarray, " frames"]
    """Where a face was found; elsewhere features of faces are copied from the nearest frame that
    has one, or zero. False everywhere when no feature needs a face."""
    looked: bool
    """Whether a feature needs a face, so that one was looked for."""
    audio: Bool[np.ndarray, " frames"]
    """Where the file has sound; without a sound stream, features of sound are zero."""
    rows: dict[str, Float32[np.ndarray, "frames width"]]
    """By the feature's name."""


class _Batches:
    """Crops waiting for one extractor, and the rows it has made."""

    def __init__(self, extractor: FrameExtractor, size: int) -> None:
        self.extractor = extractor
        self._size = size
        self._crops: list[Image] = []
        self._rows: list[Tensor] = []

    def add(self, image: Image, face: Face) -> None:
        self._crops.append(crop(image, face, self.extractor.size))
        if len(self._crops) == self._size:
            self._flush()

    def rows(self) -> Float32[np.ndarray, "faces width"]:
        self._flush()
        none = torch.zeros(0, self.extractor.width)
        return np.asarray(torch.cat([none, *self._rows]).numpy())

    def _flush(self) -> None:
        if self._crops:
            crops = torch.from_numpy(np.stack(self._crops)).permute(0, 3, 1, 2).contiguous()
            self._rows.append(self.extractor(crops))
            self._crops = []


def extract_video(
    path: Path | str,
    extractors: Sequence[FrameExtractor | SoundExtractor],
    faces: Detector | FaceBoxes,
    *,
    person: Person = "largest",
    every: int = 5,
    batch_size: int = 64,
    compat: bool = False,
    seen: Callable[[int], None] | None = None,
) -> VideoFeatures:
    """Run extractors over the first video stream of a file and its sound.

    Args:
        path: the video.
        extractors: with names that differ.
        faces: a detector, or a table of boxes.
        person: whom to follow where there are several.
        every: frames from one detection to the next.
        batch_size: crops that a network sees at once.
        compat: fill frames without a face as the authors do.
        seen: called with the index of each frame, for a progress bar.

    Raises:
        DataError: the file is no video, is damaged, or is cut short.
    """
    lookers = [_Batches(one, batch_size) for one in extractors if isinstance(one, FrameExtractor)]
    listeners = [one for one in extractors if isinstance(one, SoundExtractor)]
    if lookers:
        times_s, boxes = _look(
            follow(frames(path), faces, every=every, person=person), lookers, seen
        )
    else:
        times_s = frame_times(path)
        boxes = np.full((len(times_s), 4), np.nan)
    found = ~np.isnan(boxes[:, 0])
    source, _ = fill_gaps(found, compat=compat)
    rows = {one.extractor.name: _spread(one.rows(), found, source) for one in lookers}
    audio = read_audio(path)
    rows |= {one.name: _heard(one, audio, times_s) for one in listeners}
    return VideoFeatures(
        times_s=times_s,
        boxes=boxes,
        face=found,
        looked=bool(lookers),
        audio=_sounding(audio, times_s),
        rows=rows,
    )


def _look(
    followed: Iterable[tuple[Frame, Face | None]],
    lookers: Sequence[_Batches],
    seen: Callable[[int], None] | None,
) -> tuple[Float64[np.ndarray, " frames"], Float64[np.ndarray, "frames 4"]]:
    times_s: list[float] = []
    boxes: list[tuple[float, ...]] = []
    for frame, face in followed:
        times_s.append(frame.time_s)
        boxes.append((np.nan,) * 4 if face is None else face.box)
        if face:
            for looker in lookers:
                looker.add(frame.image, face)
        if seen:
            seen(frame.index)
    return np.array(times_s), np.array(boxes)


def _spread(
    rows: Float32[np.ndarray, "faces width"], found: np.ndarray, source: np.ndarray
) -> Float32[np.ndarray, "frames width"]:
    """A row for every frame from the rows of those with a face; zero where `source` is -1."""
    spread = np.zeros((len(found), rows.shape[1]), np.float32)
    has = source >= 0
    spread[has] = rows[(np.cumsum(found) - 1)[source[has]]]
    return spread


def _heard(
    listener: SoundExtractor, audio: Audio | None, times_s: np.ndarray
) -> Float32[np.ndarray, "frames width"]:
    if audio is None:
        return np.zeros((len(times_s), listener.width), np.float32)
    return np.asarray(listener(audio, times_s).numpy())


def _sounding(audio: Audio | None, times_s: np.ndarray) -> Bool[np.ndarray, " frames"]:
    if audio is None:
        return np.zeros(len(times_s), bool)
    starts_s, ends_s = frame_spans(times_s)
    return np.asarray((starts_s < audio.end_s) & (ends_s > audio.start_s))
