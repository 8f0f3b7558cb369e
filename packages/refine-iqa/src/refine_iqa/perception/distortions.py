"""Twelve families of distortions in five severities, of a whole picture or of a box in it.

All work on 8-bit RGB, and what they draw does not depend on the severity: with the same generator, a
higher severity is the same distortion, further from the picture. Sizes in pixels suit pictures of about 512
pixels' shorter side.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

Pixels = UInt8[np.ndarray, "height width 3"]
Box = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels, ends exclusive."""
Family = Callable[[Pixels, int, np.random.Generator], np.ndarray]
"""Takes a picture, a severity from 0 (the least) to 4, and what to draw from."""

SEVERITIES = (1, 2, 3, 4, 5)

_MARGIN = 32
"""Pixels around a box that a distortion sees, so that no blur ends at its edge: none reaches further."""
_FEATHER = 8
"""The distortion rises to its full strength over a box's shorter side divided by this."""

_GREY = np.array((0.299, 0.587, 0.114), np.float32)

_BLUR_DEVIATION = (1.2, 2.0, 3.2, 5.0, 8.0)
_MOTION_LENGTH = (7, 13, 21, 33, 51)
_DEFOCUS_RADIUS = (2, 3, 5, 8, 13)
_NOISE_DEVIATION = (10, 18, 28, 42, 62)
_IMPULSE_SHARE = (0.01, 0.03, 0.07, 0.14, 0.25)
_JPEG_QUALITY = (30, 18, 12, 8, 5)
_BLOCK_SIDE = (3, 4, 6, 10, 16)
_GAIN = (1.25, 1.55, 1.95, 2.5, 3.3)
_DIMMING = (0.75, 0.57, 0.42, 0.29, 0.18)
_CONTRAST = (0.75, 0.57, 0.42, 0.29, 0.17)
_SATURATION_LESS = (0.7, 0.5, 0.3, 0.15, 0.0)
_SATURATION_MORE = (1.4, 1.8, 2.4, 3.2, 4.5)
_LEVELS = (16, 10, 7, 5, 3)


def apply(
    family: str, severity: int, picture: Pixels, box: Box | None, generator: np.random.Generator
) -> Pixels:
    """Distort a picture, or a box in it; the rest stays as it is, to the bit.

    Inside a box the distortion rises from nothing at the edge (a side on the picture's border is no edge)
    to its full strength within an eighth of the box's shorter side.

    Args:
        family: one of `FAMILIES`.
        severity: 1 (faint) to 5 (strong).
        picture: 8-bit RGB; it is not changed.
        box: x1, y1, x2, y2 in pixels, ends exclusive; None: the whole picture.
        generator: where noise, angles and directions come from.

    Raises:
        ValueError: there is no such family or severity, or the box is not inside the picture.
    """
    if family not in FAMILIES:
        raise ValueError(f"no family {family!r}; known: {', '.join(FAMILIES)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity {severity}, not 1 to 5")
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = box or (0, 0, width, height)
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise ValueError(f"box {box}, not inside {width} x {height} pixels")
    left, top = max(0, x1 - _MARGIN), max(0, y1 - _MARGIN)
    seen = picture[top : y2 + _MARGIN, left : x2 + _MARGIN]
    distorted = FAMILIES[family](seen, severity - 1, generator)
    inside = distorted[y1 - top : y2 - top, x1 - left : x2 - left].astype(np.float32)
    clean = picture[y1:y2, x1:x2]
    result = picture.copy()
    strength = _strength((x1, y1, x2, y2), width, height)[..., None]
    result[y1:y2, x1:x2] = _eight_bits(clean + strength * (inside - clean))
    return result


def _strength(box: Box, width: int, height: int) -> Float32[np.ndarray, "h w"]:
    """0..1 over a box: a smooth slope along its edges that are not the picture's."""
    x1, y1, x2, y2 = box
    feather = min(x2 - x1, y2 - y1) / _FEATHER
    across = _slope(x2 - x1, feather, starts=x1 > 0, ends=x2 < width)
    down = _slope(y2 - y1, feather, starts=y1 > 0, ends=y2 < height)
    return np.asarray(down[:, None] * across)


def _slope(
    length: int, feather: float, *, starts: bool, ends: bool
) -> Float32[np.ndarray, " length"]:
    places = np.arange(length, dtype=np.float32) + 0.5
    rises = np.clip(places / feather, 0, 1) if starts else np.ones_like(places)
    falls = rises if not ends else np.minimum(rises, np.clip((length - places) / feather, 0, 1))
    return np.asarray(falls * falls * (3 - 2 * falls), np.float32)


def _gaussian_blur(picture: Pixels, severity: int, _draw: np.random.Generator) -> np.ndarray:
    deviation = _BLUR_DEVIATION[severity]
    reach = math.ceil(3 * deviation)
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / deviation) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    blurred = picture.astype(np.float32)
    for axis in (0, 1):
        padded = _padded(blurred, reach, axis)
        before, length = (slice(None),) * axis, blurred.shape[axis]
        blurred = np.zeros_like(blurred)
        for start, weight in enumerate(weights):
            blurred += weight * padded[(*before, slice(start, start + length))]
    return blurred


def _motion_blur(picture: Pixels, severity: int, draw: np.random.Generator) -> np.ndarray:
    """The mean along a line at a drawn angle."""
    angle = draw.uniform(0, math.pi)
    half = _MOTION_LENGTH[severity] // 2
    steps = range(-half, half + 1)
    return _mean_of_shifts(
        picture,
        [(round(step * math.sin(angle)), round(step * math.cos(angle))) for step in steps],
    )


def _defocus_blur(picture: Pixels, severity: int, _draw: np.random.Generator) -> np.ndarray:
    """The mean over a disc, as an open lens has it; sums are exact, a running one along each row."""
    radius = _DEFOCUS_RADIUS[severity]
    height, width = picture.shape[:2]
    padded = _padded(_padded(picture, radius, 0), radius, 1)
    running = np.pad(padded.cumsum(axis=1, dtype=np.int32), ((0, 0), (1, 0), (0, 0)))
    total, count = np.zeros(picture.shape, np.int32), 0
    for down in range(-radius, radius + 1):
        half = math.isqrt(radius * radius - down * down)
        rows = running[down + radius : down + radius + height]
        first, last = radius - half, radius + half + 1
        total += rows[:, last : last + width] - rows[:, first : first + width]
        count += 2 * half + 1
    return np.asarray(total / np.float32(count))


def _gaussian_noise(picture: Pixels, severity: int, draw: np.random.Generator) -> np.ndarray:
    noise = draw.standard_normal(picture.shape, np.float32)
    return np.asarray(np.clip(picture + np.float32(_NOISE_DEVIATION[severity]) * noise, 0, 255))


def _impulse_noise(picture: Pixels, severity: int, draw: np.random.Generator) -> np.ndarray:
    """Black and white pixels; those of a lower severity are among those of a higher one."""
    rank = draw.random(picture.shape[:2], np.float32)
    white = draw.random(picture.shape[:2], np.float32) < 0.5
    hit = (rank < _IMPULSE_SHARE[severity])[..., None]
    return np.where(hit, np.where(white, 255, 0)[..., None], picture)


def _jpeg(picture: Pixels, severity: int, _draw: np.random.Generator) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_JPEG_QUALITY[severity])
    with Image.open(buffer) as coded:
        return np.asarray(coded.convert("RGB"))


def _pixelation(picture: Pixels, severity: int, _draw: np.random.Generator) -> np.ndarray:
    """Squares of their mean colour."""
    mean = picture.astype(np.float32)
    for axis in (0, 1):
        length = picture.shape[axis]
        starts = np.arange(0, length, _BLOCK_SIDE[severity])
        counts = np.diff(starts, append=length)
        sums = np.add.reduceat(mean, starts, axis=axis)
        means = sums / counts.reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        mean = np.repeat(means.astype(np.float32), counts, axis=axis)
    return mean


def _overexposure(picture: Pixels, severity: int, _draw: np.random.Generator) -> np.ndarray:
    return np.minimum(picture * np.float32(_GAIN[severity]), 255)


def _underexposure(picture: Pixels, severity: int, _draw: np.random.Generator) -> np.ndarray:
    return np.asarray(picture * np.float32(_DIMMING[severity]))


def _contrast_loss(picture: Pixels, severity: int, _draw: np.random.Generator) -> np.ndarray:
    """Towards the mean grey of what is seen."""
    grey = (picture @ _GREY).mean(dtype=np.float64).astype(np.float32)
    return np.asarray(grey + np.float32(_CONTRAST[severity]) * (picture - grey))


def _saturation_shift(picture: Pixels, severity: int, draw: np.random.Generator) -> np.ndarray:
    """Paler or gaudier, as it is drawn."""
    factors = _SATURATION_LESS if draw.random() < 0.5 else _SATURATION_MORE
    grey = (picture @ _GREY)[..., None]
    return np.clip(grey + np.float32(factors[severity]) * (picture - grey), 0, 255)


def _banding(picture: Pixels, severity: int, _draw: np.random.Generator) -> np.ndarray:
    """Few levels of each colour, evenly between its darkest and its brightest."""
    low = picture.min(axis=(0, 1), keepdims=True).astype(np.float32)
    span = np.maximum(picture.max(axis=(0, 1), keepdims=True) - low, 1)
    steps = np.float32(_LEVELS[severity] - 1)
    return np.asarray(low + np.rint((picture - low) / span * steps) * (span / steps))


FAMILIES: Mapping[str, Family] = {
    "gaussian blur": _gaussian_blur,
    "motion blur": _motion_blur,
    "defocus blur": _defocus_blur,
    "gaussian noise": _gaussian_noise,
    "impulse noise": _impulse_noise,
    "jpeg compression": _jpeg,
    "pixelation": _pixelation,
    "overexposure": _overexposure,
    "underexposure": _underexposure,
    "contrast loss": _contrast_loss,
    "saturation shift": _saturation_shift,
    "banding": _banding,
}
"""What each family makes of a picture, by its name."""


def _padded(picture: np.ndarray, reach: int, axis: int) -> np.ndarray:
    widths = [(reach, reach) if side == axis else (0, 0) for side in range(3)]
    return np.pad(picture, widths, mode="edge")


def _mean_of_shifts(picture: Pixels, shifts: Iterable[tuple[int, int]]) -> np.ndarray:
    """The mean of a picture's copies, each moved by rows and columns; sums are exact."""
    shifts = list(shifts)
    reach = max(max(abs(down), abs(across)) for down, across in shifts)
    padded = _padded(_padded(picture, reach, 0), reach, 1)
    height, width = picture.shape[:2]
    total = np.zeros(picture.shape, np.int32)
    for down, across in shifts:
        total += padded[reach + down :, reach + across :][:height, :width]
    return np.asarray(total / np.float32(len(shifts)))


def _eight_bits(values: np.ndarray) -> Pixels:
    return np.asarray(np.rint(values).clip(0, 255).astype(np.uint8))
