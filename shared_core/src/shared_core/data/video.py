"""Video in and out: frames with their presentation times, one at a time, at any frame rate.

Times are seconds on the file's own clock, as the file states them: they are not counted from the
frame rate, so variable frame rates and late starts are kept, and sound (`shared_core.data.audio`)
lies on the same clock. A file that ends too early is an error, never a shorter video.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from shared_core.data.media import REPAIR, av, decoded, open_media
from shared_core.errors import DataError

DEFAULT_RATE = Fraction(30)
"""Frames per second where a file states neither times nor a rate."""

_CLOCK = 60_000  # ticks per second of a written video; MPEG-4 allows no more than 65 535


@dataclass(frozen=True, kw_only=True)
class VideoStream:
    """What a file states about one of its video streams, before anything is decoded."""

    index: int
    """Position among the video streams, from 0: the `stream` of `frames`."""
    codec: str
    width: int
    """Pixels as stored; `frames` also turns the picture as the file asks."""
    height: int
    sample_aspect: float
    """Width of a pixel over its height, as it is to be shown; 1 where the file does not say."""
    rate: float
    """Mean frames per second."""
    frames: int | None
    """Number of frames; None where the file does not say."""
    end_s: float | None
    """When the last frame ends, in seconds; None where the file does not say."""


@dataclass(frozen=True, kw_only=True)
class AudioStream:
    """What a file states about one of its sound streams."""

    index: int
    codec: str
    rate: int
    """Samples per second."""
    channels: int


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """The streams of a file."""

    path: Path
    video: tuple[VideoStream, ...]
    audio: tuple[AudioStream, ...]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture of a video."""

    index: int
    """Position in the order of presentation, from 0."""
    time_s: float
    """When it is shown, in seconds on the file's clock; strictly increasing over a video."""
    image: UInt8[np.ndarray, "height width 3"]
    """RGB, upright."""


def probe(path: Path | str) -> VideoInfo:
    """The streams of a file, read from its header alone.

    Raises:
        DataError: the file cannot be opened as video or sound.
    """
    with open_media(path) as container:
        return VideoInfo(
            path=Path(path),
            video=tuple(
                VideoStream(
                    index=index,
                    codec=stream.codec_context.name,
                    width=stream.width,
                    height=stream.height,
                    sample_aspect=float(stream.sample_aspect_ratio or 1),
                    rate=float(_rate(stream)),
                    frames=stream.frames or None,
                    end_s=_stated_end(stream),
                )
                for index, stream in enumerate(_moving_pictures(container))
            ),
            audio=tuple(
                AudioStream(
                    index=index,
                    codec=stream.codec_context.name,
                    rate=stream.rate,
                    channels=stream.channels,
                )
                for index, stream in enumerate(container.streams.audio)
            ),
        )


def frames(
    path: Path | str, stream: int = 0, *, only: Container[int] | None = None
) -> Iterator[Frame]:
    """Decode the frames of one video stream, one at a time.

    Args:
        path: the video.
        stream: which of its video streams, from 0.
        only: positions of the frames that are wanted; the others are decoded, as later ones are built
            on them, but not made into pictures. None: all.

    Raises:
        DataError: not a video, no such stream, no frame, or a file cut short or damaged; names the
            frame where decoding stopped, after all frames before it were delivered.
    """
    for index, (time_s, frame) in enumerate(_timed(path, stream)):
        if only is None or index in only:
            yield Frame(index=index, time_s=time_s, image=_upright(frame))


def frame_times(path: Path | str, stream: int = 0) -> Float64[np.ndarray, " frames"]:
    """The presentation times of all frames, in seconds: those of `frames`, without the pictures.

    Raises:
        DataError: as `frames`.
    """
    return np.array([time_s for time_s, _ in _timed(path, stream)])


def _timed(path: Path | str, stream: int) -> Iterator[tuple[float, Any]]:
    with open_media(path) as container:
        video = _video_stream(container, stream, path)
        video.thread_type = "AUTO"
        step, count = float(1 / _rate(video)), 0
        time_s: float | None = None
        longest = step
        for frame in decoded(container, video, path):
            previous, time_s = time_s, _next_time(frame.time, time_s, step)
            longest = max(longest, time_s - (time_s if previous is None else previous))
            yield time_s, frame
            count += 1
        if time_s is None:
            raise DataError(path, "the video stream holds no frame", remedy=REPAIR)
        last = float(frame.duration * frame.time_base) if frame.duration else step
        _check_complete(path, video, count, time_s + last, longest)


def _next_time(stated: float | None, previous: float | None, step: float) -> float:
    """The stated time where it moves on; else a frame's length after the previous one."""
    if previous is None:
        return 0.0 if stated is None else stated
    return previous + step if stated is None or stated <= previous else stated


def _check_complete(path: Path | str, video: Any, count: int, end_s: float, slack_s: float) -> None:
    # Both must fall short: an edit list may show fewer frames than are stored, and containers
    # round the length up by about a frame.
    stated_end = _stated_end(video)
    if stated_end is None or end_s + 1.5 * slack_s >= stated_end or count == video.frames:
        return
    raise DataError(
        path,
        f"the end of the file after {count} frames",
        where=f"video frame {count} ({end_s:.3f} s)",
        expected=f"frames until {stated_end:.3f} s",
        remedy=f"The file is cut short. {REPAIR}",
    )


def _stated_end(video: Any) -> float | None:
    if video.duration:
        return float(((video.start_time or 0) + video.duration) * video.time_base)
    hours, _, rest = video.metadata.get("DURATION", "").partition(":")  # Matroska: 00:00:02.400
    minutes, _, seconds = rest.partition(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds) if seconds else None


def _moving_pictures(container: Any) -> list[Any]:
    still = av.stream.Disposition.attached_pic  # the cover of a song
    return [stream for stream in container.streams.video if not stream.disposition & still]


def _video_stream(container: Any, stream: int, path: Path | str) -> Any:
    found = _moving_pictures(container)
    if not found:
        raise DataError(path, "no video stream", expected="a video")
    if not 0 <= stream < len(found):
        raise DataError(
            path, f"{len(found)} (0 to {len(found) - 1})", expected=f"a video stream {stream}"
        )
    return found[stream]


def _rate(video: Any) -> Fraction:
    return video.average_rate or video.guessed_rate or video.base_rate or DEFAULT_RATE


def _upright(frame: Any) -> UInt8[np.ndarray, "height width 3"]:
    """RGB, turned as the display matrix asks: phones store portrait pictures on their side."""
    quarter_turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns))


class VideoWriter:
    """Writes RGB frames as a video: H.264, or MPEG-4 where FFmpeg comes without libx264.

    The file appears under its name when the `with` block ends well, and not at all otherwise, nor
    when no frame was written. The first frame sets the size; an odd width or height is filled up by
    repeating the last column or row, as the codecs need even ones.

    Args:
        path: the file to write; the suffix chooses the container (.mp4, .mkv, ...).
        rate: frames per second; with times given it sets only how long the last frame is shown.
        crf: quality, 0 (lossless) to 51 (worst).
    """

    def __init__(self, path: Path | str, *, rate: Fraction | float = 30, crf: int = 20) -> None:
        self.path = Path(path)
        self._partial = self.path.with_name(f".{self.path.stem}.partial{self.path.suffix}")
        self._rate = Fraction(rate).limit_denominator(1001)
        self._crf = crf
        self._container: Any = None
        self._stream: Any = None
        self._count = 0

    def write(
        self, image: UInt8[np.ndarray, "height width 3"], time_s: float | None = None
    ) -> None:
        """Append a frame, shown from `time_s` (increasing; default: counted from the rate).

        Raises:
            DataError: the file cannot be written.
            ValueError: the frame's size differs from the first one's.
        """
        height, width = image.shape[:2]
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._container is None:
            self._open(image.shape[1], image.shape[0])
        if image.shape[:2] != (self._stream.height, self._stream.width):
            raise ValueError(f"frame {self._count} has another size than the first: {image.shape}")
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.time_base = Fraction(1, _CLOCK)
        frame.pts = round((self._count / self._rate if time_s is None else time_s) * _CLOCK)
        self._count += 1
        self._mux(self._stream.encode(frame))

    def _open(self, width: int, height: int) -> None:
        h264 = "libx264" in av.codecs_available
        self._container = av.open(f"file:{self._partial}", "w")
        self._stream = self._container.add_stream("libx264" if h264 else "mpeg4", rate=self._rate)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _CLOCK)
        self._stream.options = {"crf": str(self._crf)} if h264 else {}

    def _mux(self, packets: list[Any]) -> None:
        try:
            for packet in packets:
                if not packet.duration:  # the container needs it for the last frame
                    packet.duration = round(_CLOCK / self._rate)
                self._container.mux(packet)
        except OSError as error:
            raise DataError(self.path, f"the video cannot be written ({error.strerror})") from error

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._container is None:
            return
        try:
            if error is None:
                self._mux(self._stream.encode())
            self._container.close()
            if error is None:
                self._partial.replace(self.path)
        finally:
            self._partial.unlink(missing_ok=True)
