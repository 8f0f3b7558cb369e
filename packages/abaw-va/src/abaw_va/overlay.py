"""A video with its curves of valence and arousal drawn below it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, UInt8

from abaw_va.data.layout import TARGETS
from shared_core.data.faces import cv2
from shared_core.data.video import VideoWriter, frames

if TYPE_CHECKING:
    from abaw_va.predict import VideoPrediction

COLOURS = ((47, 129, 216), (217, 105, 42))
"""RGB of valence and of arousal: those of the plots."""

GROUND, INK, FAINT = (24, 24, 28), (230, 230, 230), (90, 90, 96)

_SUBPIXEL = 4  # bits of a pixel to which curves are drawn: whole pixels would make stairs


def write_overlay(video: Path, prediction: VideoPrediction, path: Path) -> None:
    """Write the video, without its sound, with a panel of both curves and the box of the face.

    Args:
        video: the file that was predicted.
        prediction: its rows.
        path: the MP4 to write.

    Raises:
        DataError: the video cannot be read any more, or the file cannot be written.
    """
    panel: np.ndarray | None = None
    duration = prediction.times_s[-1] - prediction.times_s[0]
    rate = (len(prediction.times_s) - 1) / duration if duration > 0 else 30.0
    with VideoWriter(path, rate=rate) as writer:
        for frame in frames(video):
            height, width = frame.image.shape[:2]
            if panel is None:
                panel = _panel(prediction.values, width, max(60, height // 4))
            picture = np.concatenate([frame.image, panel])
            _mark(picture, height, prediction, frame.index)
            writer.write(picture, frame.time_s)


def _panel(
    values: Float64[np.ndarray, "frames 2"], width: int, height: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Both curves over the whole video; the vertical axis spans [-1, 1]."""
    panel = np.full((height, width, 3), GROUND, np.uint8)
    cv2.line(panel, (0, height // 2), (width, height // 2), FAINT, 1)
    x = np.linspace(0, width - 1, len(values))
    for column, colour in enumerate(COLOURS):
        known = ~np.isnan(values[:, column])
        y = (0.5 - 0.46 * values[known, column]) * height
        points = (np.stack([x[known], y], axis=1) * (1 << _SUBPIXEL)).round().astype(np.int32)
        thickness = max(1, round(height / 60))
        cv2.polylines(
            panel, [points], False, colour, thickness, lineType=cv2.LINE_AA, shift=_SUBPIXEL
        )
    return panel


def _mark(picture: np.ndarray, height: int, prediction: VideoPrediction, index: int) -> None:
    """Where the video is in the panel, the values there, and the face's box in the picture."""
    width, panel_height = picture.shape[1], picture.shape[0] - height
    x = round(index / max(1, len(prediction.times_s) - 1) * (width - 1))
    cv2.line(picture, (x, height), (x, picture.shape[0] - 1), INK, 1)
    size = panel_height / 200
    for column, (target, colour) in enumerate(zip(TARGETS, COLOURS, strict=True)):
        value = prediction.values[index, column]
        if np.isnan(value):
            continue
        place = (round((0.07 + 1.3 * column) * panel_height), height + round(0.16 * panel_height))
        text, thick = f"{target} {value:+.2f}", max(1, round(size))
        cv2.putText(
            picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, thick, cv2.LINE_AA
        )
    box = prediction.boxes[index]
    if not np.isnan(box).any():
        x0, y0, x1, y1 = (box * (width, height, width, height)).round().astype(int).tolist()
        cv2.rectangle(picture, (x0, y0), (x1, min(y1, height - 1)), INK, 1)
