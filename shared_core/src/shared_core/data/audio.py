"""Sound out of a video or a sound file, on the clock of the video's frames."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from shared_core.data.media import av, decoded, open_media

_JITTER_S = 0.01
"""Stated times this close to the count of samples are one unbroken stretch of sound."""


@dataclass(frozen=True, kw_only=True)
class Audio:
    """Mono sound, 16-bit amplitudes scaled to [-1, 1)."""

    samples: Float32[np.ndarray, " samples"]
    rate: int
    """Samples per second."""
    start_s: float = 0.0
    """When the first sample sounds, in seconds on the clock of the file's frames."""

    @property
    def end_s(self) -> float:
        """When the last sample has sounded."""
        return self.start_s + len(self.samples) / self.rate

    def covering(self, start_s: float, end_s: float) -> Audio:
        """The same sound with silence before and after, so that it spans at least this time."""
        before = max(0, int(np.ceil((self.start_s - start_s) * self.rate - 1e-6)))
        after = max(0, int(np.ceil((end_s - self.end_s) * self.rate - 1e-6)))
        return replace(
            self,
            samples=np.pad(self.samples, (before, after)),
            start_s=self.start_s - before / self.rate,
        )


def read_audio(path: Path | str, rate: int = 16_000, stream: int = 0) -> Audio | None:
    """Read a sound stream as mono: channels averaged, resampled in 16 bits, silence in the gaps.

    This is the track that `ffmpeg -vn -acodec pcm_s16le -ac 1 -ar 16000` makes, placed by its
    presentation times instead of glued together.

    Args:
        path: a video or a sound file.
        rate: samples per second of the result.
        stream: which of the file's sound streams, from 0.

    Returns:
        The sound, or None where the file has no such stream or the stream is empty.

    Raises:
        DataError: the file cannot be opened, or is cut short or damaged; names the time.
    """
    with open_media(path) as container:
        if stream >= len(container.streams.audio):
            return None
        sound = container.streams.audio[stream]
        stretches: list[_Stretch] = []
        for frame in decoded(container, sound, path):
            if not stretches or not stretches[-1].continues(frame):
                stretches.append(_Stretch(frame, rate))
            stretches[-1].append(frame)
    pieces = [(stretch.start_s, stretch.samples()) for stretch in stretches]
    if not pieces:
        return None
    start_s = min(begin for begin, _ in pieces)
    places = [round((begin - start_s) * rate) for begin, _ in pieces]
    whole = np.zeros(
        max(at + len(piece) for at, (_, piece) in zip(places, pieces, strict=True)), np.float32
    )
    for at, (_, piece) in zip(places, pieces, strict=True):
        whole[at : at + len(piece)] = piece
    return Audio(samples=whole, rate=rate, start_s=start_s)


class _Stretch:
    """Sound without a gap, resampled while it is decoded: the source is never held whole."""

    def __init__(self, first: Any, rate: int) -> None:
        self.start_s = 0.0 if first.time is None else first.time
        self._format = _format(first)
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
        self._decoded = 0
        self._chunks: list[np.ndarray] = []

    def continues(self, frame: Any) -> bool:
        expected_s = self.start_s + self._decoded / frame.sample_rate
        near = frame.time is None or abs(frame.time - expected_s) <= _JITTER_S
        return near and _format(frame) == self._format

    def append(self, frame: Any | None) -> None:
        self._decoded += 0 if frame is None else frame.samples
        self._chunks += [part.to_ndarray()[0] for part in self._resampler.resample(frame)]

    def samples(self) -> Float32[np.ndarray, " samples"]:
        self.append(None)  # what the resampler still holds
        return np.concatenate(self._chunks).astype(np.float32) / 32768


def _format(frame: Any) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate
