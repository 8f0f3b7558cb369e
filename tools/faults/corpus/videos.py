"""Damaged and hostile videos."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

from shared_core.testing.media import grey_steps, tone, write_media

SECRET = "never-read-this-line"
"""Stands in the file beside a play list; no output may hold it."""


def video(path: Path, frames: int = 24, *, sound: bool = False) -> Path:
    """A whole little video."""
    tones = [(0.0, tone(frames / 30))] if sound else []
    return write_media(path, grey_steps(frames), sound=tones, audio_codec="aac")


def _cut(path: Path, share: float) -> None:
    whole = video(path.with_name(f"whole-{path.name}")).read_bytes()
    path.with_name(f"whole-{path.name}").unlink()
    path.write_bytes(whole[: int(share * len(whole))])


def _smeared(path: Path) -> None:
    """Noise over the second half of the frames; the encoder's own remarks come before the first."""
    draw = np.random.default_rng(0)
    noisy = [draw.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(12)]
    data = bytearray(write_media(path, noisy).read_bytes())
    start, size = data.index(b"mdat"), len(data)
    middle = (start + size) // 2
    data[middle : middle + 2000] = random.Random(2).randbytes(2000)
    path.write_bytes(data)


def _play_list(path: Path) -> None:
    secret = path.with_name("secret.txt")
    secret.write_text(f"{SECRET}\n")
    lines = ("#EXTM3U", "#EXT-X-TARGETDURATION:9", "#EXTINF:9,", secret.as_uri(), "#EXT-X-ENDLIST")
    path.write_text("\n".join(lines) + "\n")


def _huge(path: Path) -> None:
    width, height = 65_500, 65_500
    path.write_bytes(b"YUV4MPEG2 W%d H%d F30:1 Ip A1:1 C420jpeg\nFRAME\n" % (width, height))


def _sound_alone(path: Path) -> None:
    write_media(path, sound=[(0.0, tone(0.5))], audio_codec="aac")


DAMAGED: dict[str, Callable[[Path], object]] = {
    "cut in half": lambda path: _cut(path, 0.5),
    "cut before its last tenth": lambda path: _cut(path, 0.9),
    "noise in a frame": _smeared,
    "sound without frames": _sound_alone,
    "no bytes": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(1 << 16)),
    "noise": lambda path: path.write_bytes(random.Random(3).randbytes(1 << 16)),
    "text": lambda path: path.write_text("no video\n"),
    "play list that names a file": _play_list,
    "65 500 x 65 500": _huge,
}
"""Writers of videos that cannot be used whole, by what is wrong."""
