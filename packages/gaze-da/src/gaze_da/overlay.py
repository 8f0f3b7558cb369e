"""Pictures with heat maps, head boxes and lines of gaze drawn in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8

from shared_core.data.faces import cv2

if TYPE_CHECKING:
    from gaze_da.predict import GazePrediction

Picture = UInt8[np.ndarray, "height width 3"]

COLOURS = (
    (255, 176, 0), (0, 158, 255), (220, 38, 127), (120, 220, 60), (200, 120, 255), (255, 90, 40),
)  # fmt: skip
"""RGB of the people, in turn; apart from one another also for the colour-blind."""

OUTSIDE = 0.5
"""Below this probability the target is drawn as out of the picture."""

STRENGTH = 0.55
"""How opaque a heat map is at its highest."""


def drawn(picture: Picture, people: Sequence[GazePrediction]) -> Picture:
    """A copy of a picture with what was predicted for each person.

    The heat map, the head box and a line to the target, in a colour for each; a person who looks out of
    the picture has a dashed box, the word "out", and no target.
    """
    found = np.array(picture)
    looking = [(p, COLOURS[n % len(COLOURS)]) for n, p in enumerate(people)]
    for person, colour in looking:
        if not _is_out(person) and person.heatmap.size:
            found = _heated(found, person.heatmap, colour)
    thickness = max(2, round(min(found.shape[:2]) / 200))
    for person, colour in looking:
        _mark(found, person, colour, thickness)
    return found


def _is_out(person: GazePrediction) -> bool:
    return person.inside is not None and person.inside < OUTSIDE


def _heated(
    picture: Picture, heatmap: Float32[np.ndarray, "O O"], colour: tuple[int, int, int]
) -> Picture:
    height, width = picture.shape[:2]
    # Only what stands out from the rest of the map is shown, whatever its scale.
    floor, top = np.quantile(heatmap, 0.9), heatmap.max()
    share = np.clip((heatmap - floor) / max(top - floor, 1e-12), 0, 1).astype(np.float32)
    share = cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR)[..., None] * STRENGTH
    return np.asarray((1 - share) * picture + share * np.array(colour), np.uint8)


def _mark(
    picture: Picture, person: GazePrediction, colour: tuple[int, int, int], thickness: int
) -> None:
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = (
        round(value * side) for value, side in zip(person.box, (width, height) * 2, strict=True)
    )
    head = ((x0 + x1) // 2, (y0 + y1) // 2)
    if _is_out(person):
        _dashed(picture, (x0, y0, x1, y1), colour, thickness)
        size = thickness / 4
        long = cv2.getTextSize("out", cv2.FONT_HERSHEY_SIMPLEX, size, thickness)[0][0]
        place = (max(min(x0, width - long), 0), max(y0 - 2 * thickness, 10 * thickness))
        for ink, thick in (((0, 0, 0), 3 * thickness // 2 + 2), (colour, max(1, thickness // 2))):
            cv2.putText(
                picture, "out", place, cv2.FONT_HERSHEY_SIMPLEX, size, ink, thick, cv2.LINE_AA
            )
        return
    cv2.rectangle(picture, (x0, y0), (x1, y1), colour, thickness)
    target = (round(person.point[0] * width), round(person.point[1] * height))
    cv2.line(picture, head, target, (0, 0, 0), thickness + 2, cv2.LINE_AA)
    cv2.line(picture, head, target, colour, thickness, cv2.LINE_AA)
    cv2.circle(picture, target, 3 * thickness, (0, 0, 0), -1, cv2.LINE_AA)
    cv2.circle(picture, target, 3 * thickness - 1, colour, -1, cv2.LINE_AA)


def _dashed(
    picture: Picture, box: tuple[int, int, int, int], colour: tuple[int, int, int], thickness: int
) -> None:
    x0, y0, x1, y1 = box
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
    for (ax, ay), (bx, by) in pairwise(corners):
        pieces = max(2, (abs(bx - ax) + abs(by - ay)) // (8 * thickness) * 2)
        for piece in range(0, pieces, 2):
            ends = [
                (round(ax + (bx - ax) * p / pieces), round(ay + (by - ay) * p / pieces))
                for p in (piece, piece + 1)
            ]
            cv2.line(picture, ends[0], ends[1], colour, thickness, cv2.LINE_AA)
