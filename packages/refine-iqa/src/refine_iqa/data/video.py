"""Videos as the model sees them: some frames, evenly spread, in a size that shrinks with their number.

Only the frames that are seen are made into pictures; a folder may keep them, so that a video is
decoded once.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from refine_iqa.config import MediaSettings
from refine_iqa.data.pictures import FACTOR, MAX_PIXELS, Picture, check_shape, resize
from shared_core.data.atomic import replacing
from shared_core.data.video import frame_times, frames, probe
from shared_core.errors import DataError

FRAME_MIN_PIXELS = 16 * 784
"""Fewest pixels of a frame: 16 merged patches of 28 x 28."""
TOTAL_PIXELS = 3584 * 784
"""Pixels of all frames of a video, where two frames count as one: the model merges them in pairs."""
_SLACK = 1.05  # a long video's frames get a little more than the fewest pixels, to keep their shape


@dataclass(frozen=True, kw_only=True)
class FrameOptions:
    """Which frames of a video are seen, and how large."""

    nframes: int | None = None
    """Number of frames, rounded to an even one; None: by `fps`."""
    fps: float = 1.0
    """Frames a second of the video, within the next two."""
    min_frames: int = 4
    """Fewest frames, where the video has as many."""
    max_frames: int = 768
    """Most frames."""
    factor: int = FACTOR
    """What the sides are multiples of."""
    min_pixels: int = FRAME_MIN_PIXELS
    """Fewest pixels of a frame; a smaller one is enlarged."""
    max_pixels: int = MAX_PIXELS
    """Most pixels of a frame; with many frames it is less, see `frame_budget`."""

    @classmethod
    def of(cls, settings: MediaSettings, factor: int = FACTOR) -> FrameOptions:
        """Those of a command's settings, for a model whose sides are multiples of `factor`."""
        return cls(
            nframes=settings.nframes,
            fps=settings.fps,
            min_frames=settings.min_frames,
            max_frames=settings.max_frames,
            factor=factor,
            min_pixels=max(settings.min_pixels, min(FRAME_MIN_PIXELS, settings.max_pixels)),
            max_pixels=settings.max_pixels,
        )


class Sampling(NamedTuple):
    """The frames that are seen of a video."""

    indices: tuple[int, ...]
    """Positions in the video, from 0; an even number of them."""
    sample_fps: float
    """Mean seen frames for each second of the video."""


@dataclass(frozen=True)
class Frames:
    """Sampled frames of a video.

    Attributes:
        pictures: the frames, all of one size; an even number.
        times_s: when each is shown, seconds after the first frame of the video.
        sample_fps: mean seen frames for each second of the video.
    """

    pictures: tuple[Picture, ...]
    times_s: tuple[float, ...]
    sample_fps: float


def frame_indices(
    total: int,
    rate: float,
    *,
    nframes: int | None = None,
    fps: float = 1.0,
    min_frames: int = 4,
    max_frames: int = 768,
) -> Sampling:
    """Choose frames from the first to the last, evenly spread, an even number of them.

    With `nframes`: that many, rounded to the nearest even number (a half to the even one of these).
    Otherwise `fps` for each second, at least `min_frames` (raised to an even number), at most
    `max_frames` and `total`. The only frame of a video is taken twice.

    Args:
        total: frames of the video, 1 or more.
        rate: its frames per second.
        nframes: frames to take; None: by the next three.
        fps: frames to take for each second.
        min_frames: fewest, where the video has as many.
        max_frames: most.

    Raises:
        ValueError: a video without frames, or with fewer than the `nframes` that are asked for.
    """
    if total < 1:
        raise ValueError("a video without frames")
    if nframes is not None:
        count = 2 * round(nframes / 2)
        if not 2 <= count <= total:
            raise ValueError(f"{count} frames of {total}")
    elif total == 1:
        return Sampling((0, 0), 2 * rate)
    else:
        fewest, most = 2 * -(-min_frames // 2), 2 * (min(max_frames, total) // 2)
        count = 2 * int(min(max(total / rate * fps, fewest), most) // 2)
    indices = tuple(round(i * (total - 1) / (count - 1)) for i in range(count))
    return Sampling(indices, count / total * rate)


def frame_budget(
    count: int,
    *,
    min_pixels: int = FRAME_MIN_PIXELS,
    max_pixels: int = MAX_PIXELS,
    total_pixels: int = TOTAL_PIXELS,
) -> int:
    """Most pixels of each of `count` frames: `total_pixels` shared out, between the two bounds.

    The lower bound is 1.05 `min_pixels`; it gives way to `max_pixels`.
    """
    return min(max_pixels, max(int(total_pixels / count * 2), int(_SLACK * min_pixels)))


def resize_frames(
    images: Sequence[UInt8[np.ndarray, "height width 3"]], options: FrameOptions
) -> tuple[Picture, ...]:
    """RGB frames in the size that their number allows, by one antialiased bicubic resize each.

    Raises:
        ValueError: one side of a frame is more than 200 times the other.
    """
    return tuple(_resize_one(image, len(images), options) for image in images)


def _resize_one(
    image: UInt8[np.ndarray, "height width 3"], count: int, options: FrameOptions
) -> Picture:
    return resize(
        Image.fromarray(image),
        factor=options.factor,
        min_pixels=options.min_pixels,
        max_pixels=frame_budget(
            count, min_pixels=options.min_pixels, max_pixels=options.max_pixels
        ),
    )


def read_frames(
    path: Path | str, options: FrameOptions | None = None, *, cache: Path | None = None
) -> Frames:
    """Decode the frames of a video that are seen, and resize them.

    Args:
        path: the video; its first stream of pictures is read.
        options: which frames, how large.
        cache: folder that keeps what was read of a file as it was then, under these options. An
            entry that is damaged is made anew.

    Raises:
        DataError: the file is missing, damaged or no video, has fewer frames than `nframes`, or
            one side more than 200 times the other.
    """
    path, options = Path(path), options or FrameOptions()
    if cache is None:
        return _decode(path, options)
    entry = cache / f"{_key(path, options)}.npz"
    kept = _load(entry)
    if kept is not None:
        return kept
    made = _decode(path, options)
    _save(entry, made)
    return made


def _decode(path: Path, options: FrameOptions) -> Frames:
    info = probe(path)
    if not info.video:
        raise DataError(path, "no video stream", expected="a video")
    stream = info.video[0]
    check_shape(path, stream.height, stream.width)
    made = _decode_of(path, stream.frames, stream.rate, options) if stream.frames else None
    # A header may be silent, or count frames that are stored and not shown.
    made = made or _decode_of(path, len(frame_times(path)), stream.rate, options)
    if made is None:
        raise DataError(path, "another number of frames each time it is decoded")
    return made


def _decode_of(path: Path, total: int, rate: float, options: FrameOptions) -> Frames | None:
    """The frames that are seen of a video of `total` frames; None where it has fewer."""
    sampling = _sample(path, total, rate, options)
    wanted, count = set(sampling.indices), len(sampling.indices)
    found = {  # resized at once: hundreds of frames in full size would not fit into memory
        frame.index: (frame.time_s, _resize_one(frame.image, count, options))
        for frame in frames(path, only=wanted)
    }
    if len(found) < len(wanted):
        return None
    seen = [found[index] for index in sampling.indices]
    start_s = seen[0][0]
    return Frames(
        pictures=tuple(picture for _, picture in seen),
        times_s=tuple(time_s - start_s for time_s, _ in seen),
        sample_fps=sampling.sample_fps,
    )


def _sample(path: Path, total: int, rate: float, options: FrameOptions) -> Sampling:
    try:
        return frame_indices(
            total,
            rate,
            nframes=options.nframes,
            fps=options.fps,
            min_frames=options.min_frames,
            max_frames=options.max_frames,
        )
    except ValueError as error:
        raise DataError(
            path,
            f"{total}",
            expected=f"{options.nframes} frames, rounded to an even number",
            remedy="Ask for fewer with --nframes, or leave it out and sample by --fps.",
        ) from error


def _key(path: Path, options: FrameOptions) -> str:
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})") from error
    facts = [str(path.resolve()), state.st_mtime_ns, state.st_size, asdict(options)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _load(entry: Path) -> Frames | None:
    """The frames of an entry; None where there is none, or none that can be read."""
    try:
        with np.load(entry, allow_pickle=False) as arrays:
            pixels, times_s = arrays["pixels"], arrays["times_s"]
            return Frames(
                pictures=tuple(Picture.of(Image.fromarray(image)) for image in pixels),
                times_s=tuple(times_s.tolist()),
                sample_fps=float(arrays["sample_fps"]),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _save(entry: Path, made: Frames) -> None:
    with replacing(entry) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            pixels=np.stack([np.asarray(picture) for picture in made.pictures]),
            times_s=np.array(made.times_s),
            sample_fps=np.array(made.sample_fps),
        )
