"""What is written of a video: its line, its row, and its plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from asal_vrvqa.predict.sources import Job
from shared_core.reporting.figures import Line, Svg, curves

COLUMNS = (
    "source", "seconds", "yaw", "pitch", "score", "low", "high", "sigma", "scale", "note", "error"
)  # fmt: skip
"""Of the table of all sources."""


def told(content: dict[str, Any]) -> str:
    """What a video's JSON says, in one line."""
    scale = content["scale"]
    low, high = content["interval_95"]
    sigma = content["sigma"]
    own = "" if sigma is None else f", the regressor's own sigma {sigma:.2g}"
    note = f"; {content['note']}" if content["note"] else ""
    interval = "" if low is None else f", 95 % interval over frames [{low:.3f}, {high:.3f}]"
    return (
        f"{content['score']:.3f} {scale['name']} ({scale['low']:g} to {scale['high']:g})"
        f"{interval}{own}{note}"
    )


def row_of(job: Job, content: dict[str, Any]) -> dict[str, Any]:
    """A row of the table, from a video's JSON; without scores where that is empty."""
    low, high = content.get("interval_95", (None, None))
    return {
        "source": str(job.path),
        "seconds": job.seconds,
        "yaw": job.yaw,
        "pitch": job.pitch,
        "score": content.get("score"),
        "low": low,
        "high": high,
        "sigma": content.get("sigma"),
        "scale": content.get("scale", {}).get("name"),
        "note": content.get("note"),
        "error": None,
    }


def plot_of(content: dict[str, Any]) -> Svg:
    """The frames' scores, with a band of one of the regressor's own sigmas."""
    frames: Sequence[dict[str, Any]] = content["frames"]
    scores = np.array([frame["score"] for frame in frames])
    band = {}
    if all(frame["sigma"] is not None for frame in frames):
        sigmas = np.array([frame["sigma"] for frame in frames])
        band = {"low": scores - sigmas, "high": scores + sigmas}
    line = Line(
        name="frames", x=np.array([f["second"] for f in frames]), y=scores, marked=True, **band
    )
    return curves([line], x="second of the video", y=content["scale"]["name"])
