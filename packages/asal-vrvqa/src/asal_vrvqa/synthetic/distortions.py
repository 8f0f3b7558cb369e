"""What goes wrong with panoramas: five distortions, how severe they are where, and what that costs.

A distorted panorama lies between the clean one and the worst that the distortion makes of it; how far,
is its severity there, 0 to 1. Blur takes detail away and noise adds some, so that what tells a bad
picture in one kind of scene tells a good one in another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from scipy import ndimage

from asal_vrvqa.data.projection import rotation
from asal_vrvqa.synthetic.drawing import Across, Down, angles

VIEW = 4.0
"""Concentration of what a viewer looks at around the start direction: half of it within 34 degrees."""

BEST, COST = 5.0, 4.0
"""Score of a clean view, and what is taken from it at a severity of 1."""

_GRID = (32, 64)  # of the sphere, to average over a view
_FALL_LATITUDE, _FALL_LONGITUDE = 0.6, 0.15
_LENGTH = 15.0

Panorama = Float32[np.ndarray, "H W 3"]


@dataclass(frozen=True, kw_only=True)
class Severity:
    """How severe a distortion is at each place of the camera's sphere and at each second; in 0..1.

    Attributes:
        level: the largest, in the middle of the 15 seconds.
        latitude: where it is worst, radians; at a right angle to that it is 0.4 of its largest.
        longitude: where it is worst, radians; on the far side it is 0.74 of its largest.
        drift: by which share it changes over 15 seconds.
    """

    level: float
    latitude: float
    longitude: float
    drift: float

    @classmethod
    def drawn(cls, level: float, draw: np.random.Generator) -> Severity:
        """A severity with its places and its drift drawn."""
        return cls(
            level=level,
            latitude=draw.uniform(-0.3, 0.3),
            longitude=draw.uniform(-math.pi, math.pi),
            drift=draw.uniform(-0.2, 0.2),
        )

    def at(self, longitude: Across, latitude: Down, second: float) -> Float64[np.ndarray, "h w"]:
        """At longitudes (of columns) and latitudes (of rows) in radians."""
        down = 1 - _FALL_LATITUDE * np.sin(latitude - self.latitude) ** 2
        across = 1 + _FALL_LONGITUDE * np.cos(longitude - self.longitude)
        now = 1 + self.drift * (second / _LENGTH - 0.5)
        severity = self.level * now * down * across / (1 + _FALL_LONGITUDE)
        return np.minimum(severity, 1)

    def seen(self, yaw: float, pitch: float, seconds: int) -> float:
        """Mean over what a viewer looks at, in 0..1.

        Args:
            yaw: HM_yaw of the start direction, degrees.
            pitch: HM_pitch of the start direction, degrees.
            seconds: how long it is watched.
        """
        longitude, latitude = angles(*_GRID)
        x, y, z = rotation(-yaw, pitch)[0]
        level = np.cos(latitude) * (x * np.cos(longitude) + y * np.sin(longitude))
        towards = level + z * np.sin(latitude)
        weight = np.exp(VIEW * (towards - 1)) * np.cos(latitude)
        while_seen = [self.at(longitude, latitude, second) for second in range(seconds)]
        return float(np.average(np.mean(while_seen, axis=0), weights=weight))

    def score(self, yaw: float, pitch: float, seconds: int) -> float:
        """What viewers think of it, 1 to 5; higher is better."""
        return BEST - COST * self.seen(yaw, pitch, seconds)


def distorted(
    panorama: Panorama, name: str, severity: Severity, second: float, draw: np.random.Generator
) -> UInt8[np.ndarray, "H W 3"]:
    """A panorama as it is sent.

    Args:
        panorama: clean, 0 to 1.
        name: one of the `DISTORTIONS`.
        severity: where and when it is how severe.
        second: when.
        draw: where noise comes from.
    """
    share = severity.at(*angles(*panorama.shape[:2]), second)[..., None]
    sent = panorama + share * (DISTORTIONS[name](panorama, draw) - panorama)
    return np.asarray(np.rint(255 * np.clip(sent, 0, 1)), np.uint8)


def _blurred(panorama: Panorama, _draw: np.random.Generator) -> Panorama:
    deviation = panorama.shape[0] / 20
    modes = ("nearest", "wrap", "nearest")
    return np.asarray(ndimage.gaussian_filter(panorama, (deviation, deviation, 0), mode=modes))


def _blocky(panorama: Panorama, _draw: np.random.Generator) -> Panorama:
    """Squares of one colour, eight from pole to pole."""
    side = max(1, panorama.shape[0] // 8)
    for axis in (0, 1):
        size = panorama.shape[axis]
        starts = np.arange(0, size, side)
        counts = np.diff(starts, append=size)
        shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
        means = np.add.reduceat(panorama, starts, axis=axis) / counts.reshape(shape)
        panorama = np.repeat(means, counts, axis=axis)
    return panorama


def _noisy(panorama: Panorama, draw: np.random.Generator) -> Panorama:
    return np.asarray(panorama + 0.35 * draw.standard_normal(panorama.shape, np.float32))


def _banded(panorama: Panorama, _draw: np.random.Generator) -> Panorama:
    """Three levels of each colour."""
    return np.asarray(np.rint(2 * panorama) / 2)


def _stitched(panorama: Panorama, _draw: np.random.Generator) -> Panorama:
    """Four lenses, every other one with other colours and too low; no seam is at 180 degrees."""
    height, width = panorama.shape[:2]
    longitude, _ = angles(height, width)
    odd = np.floor(longitude / (np.pi / 2) + 0.5)[..., None] % 2 == 1
    lower = panorama[np.maximum(np.arange(height) - height // 16, 0)]
    tint = np.array((0.25, -0.2, 0.25), np.float32)
    return np.where(odd, lower + tint, panorama - tint)


DISTORTIONS: Mapping[str, Callable[[Panorama, np.random.Generator], Panorama]] = {
    "banding": _banded,
    "blur": _blurred,
    "blocking": _blocky,
    "noise": _noisy,
    "seams": _stitched,
}
"""The worst that each distortion makes of a clean panorama."""

USUAL: Mapping[str, str] = {
    "CG": "banding",
    "Landscape": "blur",
    "Sports": "blocking",
    "Shows": "noise",
    "Cityscape": "seams",
}
"""What goes wrong in scenes of each category."""
