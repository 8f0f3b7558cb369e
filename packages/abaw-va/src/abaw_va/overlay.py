"""A video with its curves of valence and arousal drawn below it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, UInt8

from shared_core.data.faces import cv2
from shared_core.data.video import VideoWriter, frames

if TYPE_CHECKING:
    from abaw_va.predict import VideoPrediction

COLOURS = ((47, 129, 216), (217, 105, 42))
"""RGB of valence and of arousal: those of the plots."""

GROUND, INK, FAINT = (24, 24, 28), (230, 230, 230), (90, 90, 96)


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
    for column, (name, colour) in enumerate(zip(("valence", "arousal"), COLOURS, strict=True)):
        known = ~np.isnan(values[:, column])
        if not known.any():
            continue
        y = (0.5 - 0.46 * values[known, column]) * height
        points = np.stack([x[known], y], axis=1).round().astype(np.int32)
        cv2.polylines(
            panel, [points], isClosed=False, color=colour, thickness=2, lineType=cv2.LINE_AA
        )
        place = (6 + 72 * column, 14)
        cv2.putText(panel, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
    return panel


def _mark(picture: np.ndarray, height: int, prediction: VideoPrediction, index: int) -> None:
    """Where the video is in the panel, and the face's box in the picture."""
    width = picture.shape[1]
    x = round(index / max(1, len(prediction.times_s) - 1) * (width - 1))
    cv2.line(picture, (x, height), (x, picture.shape[0] - 1), INK, 1)
    box = prediction.boxes[index]
    if not np.isnan(box).any():
        x0, y0, x1, y1 = (box * (width, height, width, height)).round().astype(int).tolist()
        cv2.rectangle(picture, (x0, y0), (x1, min(y1, height - 1)), INK, 1)
