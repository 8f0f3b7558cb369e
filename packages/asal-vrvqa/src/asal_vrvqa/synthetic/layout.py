"""Drawn panoramas as a data set in VR-VQW's layout, or as a single video."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from asal_vrvqa.config.training import REST, TASKS
from asal_vrvqa.data.labels import LABELS
from asal_vrvqa.data.projection import turned
from asal_vrvqa.synthetic.distortions import USUAL, Severity, distorted
from asal_vrvqa.synthetic.drawing import Scene, compose
from shared_core.data.tables import write_csv
from shared_core.data.video import VideoWriter

KINDS = (*TASKS, REST)
"""Categories that can be drawn; a scene of the last has the look of one and the distortion of another."""

SECONDS, RATE = 15, 30
"""Length and frames per second of each source, as its tables state them."""

TIMES = (7, 15)
_PITCHES = (-15.0, 22.0)  # start directions of VR-VQW lie between these
_LEVELS = (0.05, 0.9)
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, kw_only=True)
class Source:
    """A drawn video.

    Attributes:
        name: as a file; its letter stands for the category.
        category: kind of scene.
        severity: of its distortion.
        starts: start directions (HM_yaw, HM_pitch) in degrees, by the letter of the start.
    """

    name: str
    category: str
    severity: Severity
    starts: Mapping[str, tuple[float, float]]

    def score(self, start: str, seconds: int) -> float:
        """Of its clip from a start direction, 1 to 5."""
        return self.severity.score(*self.starts[start], seconds)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Where a drawn data set lies, and what is in it."""

    labels: Path
    frames: Path
    sources: tuple[Source, ...]


def write_dataset(
    root: Path,
    *,
    sources: Mapping[str, int],
    height: int,
    width: int,
    seed: int,
    times: Sequence[int] = TIMES,
    frames_each: int = SECONDS,
) -> Dataset:
    """Write a data set; a source depends on seed, size, category and number alone.

    Args:
        root: folder to write, with `labels` and `frames` in it.
        sources: how many source videos of each of the `KINDS`; each gives a clip for each of two
            start directions and each viewing time.
        height: pixels of a frame.
        width: pixels of a frame.
        seed: key of everything random.
        times: viewing times; 7 alone gives clips that are independent but for their start.
        frames_each: frames of a folder, a second apart; all 15 where both viewing times are wanted.
    """
    labels, frames = root / "labels", root / "frames"
    made = []
    for category, count in sources.items():
        for number in range(count):
            draw = np.random.default_rng((seed, KINDS.index(category), number))
            source = _source(category, number, seed, draw)
            second_by_second = np.stack(
                [*_panoramas(category, source.severity, range(frames_each), height, width, draw)]
            )
            for start, (yaw, pitch) in source.starts.items():
                _write_folder(
                    frames / f"{start}_{source.name}", turned(second_by_second, yaw, pitch)
                )
            made.append(source)
    _write_labels(labels, made, times)
    return Dataset(labels=labels, frames=frames, sources=tuple(made))


def write_video(
    path: Path,
    kind: str,
    severity: float,
    *,
    height: int,
    width: int,
    seconds: float,
    rate: float,
    seed: int,
) -> None:
    """Write a video of one panorama.

    Args:
        path: file to write, such as `drawn.mp4`.
        kind: one of the `KINDS`.
        severity: of its distortion where that is worst, 0 to 1.
        height: pixels.
        width: pixels.
        seconds: length.
        rate: frames per second.
        seed: key of everything random.
    """
    draw = np.random.default_rng((seed, KINDS.index(kind)))
    exact = Fraction(rate).limit_denominator(1001)
    times = [float(frame / exact) for frame in range(round(seconds * rate))]
    level = Severity.drawn(severity, draw)
    with VideoWriter(path, rate=exact) as video:
        for frame in _panoramas(kind, level, times, height, width, draw):
            video.write(frame)


def _source(category: str, number: int, seed: int, draw: np.random.Generator) -> Source:
    # Levels of consecutive numbers lie far apart, so that few sources cover the range of scores.
    first = zlib.crc32(f"{seed} {category}".encode()) / 2**32
    low, high = _LEVELS
    level = low + (high - low) * ((first + number * _GOLDEN) % 1)
    starts = {
        start: (float(draw.uniform(-180, 180)), float(draw.uniform(*_PITCHES))) for start in "AB"
    }
    return Source(
        name=f"{'ABCDEF'[KINDS.index(category)]}_{category}{number:02d}.mp4",
        category=category,
        severity=Severity.drawn(level, draw),
        starts=starts,
    )


def _panoramas(
    kind: str,
    severity: Severity,
    times: Sequence[float],
    height: int,
    width: int,
    draw: np.random.Generator,
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    look, distortion = kind, USUAL.get(kind, "")
    if kind == REST:
        look, other = draw.choice(TASKS, 2, replace=False)
        distortion = USUAL[other]
    scene: Scene = compose(look, height, width, draw)
    for second in times:
        yield distorted(scene.at(second), distortion, severity, second, draw)


def _write_folder(folder: Path, frames: UInt8[np.ndarray, "n H W 3"]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for second, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{second:03d}.png", compress_level=1)


def _write_labels(folder: Path, sources: Sequence[Source], times: Sequence[int]) -> None:
    """Tables with the columns and the order of rows of the published ones."""
    clips = [
        {"VideoName": f"{time}_{start}_{of.name}", "MOS": f"{of.score(start, time):.6f}"}
        for time in times
        for start in "AB"
        for of in sources
    ]
    write_csv(folder / LABELS, ("VideoName", "MOS"), clips)
    for start in "AB":
        write_csv(
            folder / f"info{start}.csv",
            ("VideoName", "HM_pitch", "HM_yaw", *(f"{time}s_MOS" for time in TIMES)),
            [_start_row(of, start) for of in sources],
        )
    write_csv(
        folder / "categorized_videos.csv",
        ("Video Names", "Category"),
        [{"Video Names": of.name, "Category": of.category} for of in sources],
    )
    stated = {"video_length": SECONDS * RATE, "video_frame_rate": RATE}
    write_csv(
        folder / "video_info.csv",
        ("video_names", *stated),
        [{"video_names": of.name, **stated} for of in sources],
    )


def _start_row(source: Source, start: str) -> dict[str, str]:
    yaw, pitch = source.starts[start]
    scores = {f"{time}s_MOS": f"{source.score(start, time):.6f}" for time in TIMES}
    return {
        "VideoName": source.name,
        "HM_pitch": f"{pitch:.6f}",
        "HM_yaw": f"{yaw:.6f}",
        **scores,
    }
