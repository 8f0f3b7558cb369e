"""Tiny videos and sounds for tests, written with PyAV."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from shared_core.data.media import av

Image = UInt8[np.ndarray, "height width 3"]
Samples = Float[np.ndarray, " samples"]


def grey_steps(count: int, size: tuple[int, int] = (48, 64)) -> list[Image]:
    """Plain grey pictures whose level tells the frame's index (modulo 20): see `step_of`."""
    return [np.full((*size, 3), 20 + 10 * (index % 20), np.uint8) for index in range(count)]


def step_of(image: Image) -> int:
    """The index (modulo 20) that a decoded picture of `grey_steps` carries."""
    return round((float(image.mean()) - 20) / 10)


def draw_face(image: Image, box: tuple[float, float, float, float]) -> Image:
    """Draw a plain face that OpenCV's frontal cascade finds, at a box given in fractions."""
    from shared_core.data.faces import cv2  # not every member has OpenCV

    height, width = image.shape[:2]
    x, y = (box[0] + box[2]) / 2 * width, (box[1] + box[3]) / 2 * height
    radius = (box[2] - box[0]) / 2 * width
    drawn = image.copy()

    def oval(dx: float, dy: float, rx: float, ry: float, colour: tuple[int, int, int]) -> None:
        centre = int(x + dx * radius), int(y + dy * radius)
        axes = max(1, int(rx * radius)), max(1, int(ry * radius))
        cv2.ellipse(drawn, centre, axes, 0, 0, 360, colour, -1)

    hair, skin, shade, dark = (60, 40, 30), (225, 185, 160), (150, 110, 95), (30, 20, 15)
    oval(0, -0.1, 1.0, 1.25, hair)
    oval(0, 0.1, 0.82, 1.08, skin)
    for side in (-0.38, 0.38):
        oval(side, -0.2, 0.24, 0.13, shade)
        oval(side, -0.34, 0.25, 0.05, hair)
        oval(side, -0.17, 0.15, 0.08, (240, 240, 240))
        oval(side, -0.17, 0.08, 0.08, dark)
    oval(0, 0.15, 0.08, 0.3, (240, 205, 180))
    oval(0, 0.35, 0.16, 0.05, shade)
    oval(0, 0.62, 0.3, 0.1, (150, 60, 60))
    return np.asarray(cv2.GaussianBlur(drawn, (0, 0), max(0.5, 0.03 * radius)))


def tone(seconds: float, hertz: float = 440.0, *, rate: int = 16_000, peak: float = 0.5) -> Samples:
    """A sine."""
    return peak * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def write_media(
    path: Path,
    images: Iterable[Image] = (),
    *,
    fps: Fraction | float = 30,
    times_s: Sequence[float] | None = None,
    sound: Sequence[tuple[float, Samples]] = (),
    rate: int = 16_000,
    video_codec: str = "libx264",
    audio_codec: str = "pcm_s16le",
    options: dict[str, str] | None = None,
) -> Path:
    """Write a small video, a sound file, or both together.

    Args:
        path: the file; use .mkv or .mov for `pcm_s16le`, whose samples come back as they were.
        images: RGB pictures of one even size; none for a file without a video stream.
        fps: frames per second.
        times_s: when each picture is shown, instead of counting from `fps`.
        sound: stretches of mono samples in [-1, 1] and the time at which each begins; a gap
            between them is a gap in the file's timestamps.
        rate: samples per second of the sound.
        video_codec: such as "libx264" or "mpeg4".
        audio_codec: such as "pcm_s16le", "aac" or "libmp3lame".
        options: of the container, such as {"movflags": "faststart"}.
    """
    images = list(images)
    rate_of_frames = Fraction(fps).limit_denominator(1001)
    # An AVI holds one frame a tick, so the tick is a frame's length where no times are given.
    clock = Fraction(1, 60_000) if times_s is not None else 1 / rate_of_frames
    with av.open(str(path), "w", options=options or {}) as container:
        video = images and _video_stream(container, images[0], video_codec, rate_of_frames, clock)
        audio = container.add_stream(audio_codec, rate=rate, layout="mono") if sound else None
        for packet in _video_packets(video, images, times_s, clock) if video else ():
            packet.duration = packet.duration or round(1 / rate_of_frames / clock)
            container.mux(packet)
        for packet in _audio_packets(audio, sound, rate) if audio else ():
            container.mux(packet)
    return path


def _video_stream(container: Any, first: Image, codec: str, fps: Fraction, clock: Fraction) -> Any:
    video = container.add_stream(codec, rate=fps)
    video.height, video.width = first.shape[:2]
    video.pix_fmt = "yuv420p"
    video.codec_context.time_base = clock
    return video


def _video_packets(
    video: Any, images: Sequence[Image], times_s: Sequence[float] | None, clock: Fraction
) -> Iterator[Any]:
    for index, image in enumerate(images):
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts = index if times_s is None else round(times_s[index] / clock)
        frame.time_base = clock
        yield from video.encode(frame)
    yield from video.encode()


def _audio_packets(audio: Any, sound: Sequence[tuple[float, Samples]], rate: int) -> Iterator[Any]:
    block = audio.codec_context.frame_size or 1024
    for start_s, samples in sound:
        whole = np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
        for first in range(0, len(whole), block):
            frame = av.AudioFrame.from_ndarray(whole[None, first : first + block], "s16", "mono")
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = round(start_s * rate) + first
            yield from audio.encode(frame)
    yield from audio.encode()


def turn_mp4(path: Path) -> Path:
    """Ask players to show an MP4 turned a quarter clockwise, as a phone held upright does.

    Rewrites the display matrix in the track header (box `tkhd`, version 0) of the first track.
    """
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    one = 1 << 16
    struct.pack_into(">9i", content, matrix, 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path
