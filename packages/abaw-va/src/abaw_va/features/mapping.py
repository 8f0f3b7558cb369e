"""From rows of sound to frames of video, and from frames with a face to frames without.

A frame covers the time from its own presentation to the next frame's. The authors take every video
for 30 frames per second, so that sound and picture drift apart at any other rate;
`thirty_fps` brings that back.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

Times = Float[np.ndarray, " frames"]

_EXACT = 4  # decimals to which the authors round before flooring: 0.1 / 0.02 is 5, not 4.999...


def frame_spans(times_s: Times, *, thirty_fps: bool = False) -> tuple[Times, Times]:
    """When each frame begins and ends, in seconds; the last lasts as long as the usual one.

    Args:
        times_s: presentation times, increasing.
        thirty_fps: ignore the times: frame i covers [i/30, (i+1)/30), rounded to 4 decimals.
    """
    if thirty_fps:
        edges = np.round(np.arange(len(times_s) + 1) / 30, _EXACT)
        return edges[:-1], edges[1:]
    usual = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 1 / 30
    return times_s, np.append(times_s[1:], times_s[-1:] + usual)


def average_rows(
    rows: Float[np.ndarray, "rows width"], hop_s: float, starts_s: Times, ends_s: Times
) -> Float32[np.ndarray, "frames width"]:
    """Mean of the rows that each span touches; row k lies at [k, k+1) times `hop_s`.

    A span takes rows floor(start / hop) to ceil(end / hop), the latter exclusive. Beyond the ends,
    the first and the last row count as repeated. One cumulative sum serves all frames.

    Args:
        rows: at least one.
        hop_s: seconds from row to row.
        starts_s: where the spans begin, in seconds from row 0.
        ends_s: where they end.
    """
    first = np.floor(np.round(starts_s / hop_s, _EXACT)).astype(np.int64)
    last = np.ceil(np.round(ends_s / hop_s, _EXACT)).astype(np.int64)
    last = np.maximum(last, first + 1)
    before = max(0, -int(first.min(initial=0)))
    after = max(0, int(last.max(initial=0)) - len(rows))
    sums = np.cumsum(np.pad(rows.astype(np.float64), ((before + 1, after), (0, 0)), "edge"), axis=0)
    means = (sums[last + before] - sums[first + before]) / (last - first)[:, None]
    return means.astype(np.float32)


def fit_length(
    rows: Float[np.ndarray, "rows width"], count: int
) -> Float[np.ndarray, "count width"]:
    """Cut to `count` rows, or repeat the last one up to it."""
    return rows[np.minimum(np.arange(count), len(rows) - 1)]


def fill_gaps(
    found: Bool[np.ndarray, " frames"], *, compat: bool = False
) -> tuple[Int64[np.ndarray, " frames"], Bool[np.ndarray, " frames"]]:
    """From which frame each frame takes its face: itself, else the nearest one, of two the earlier.

    Args:
        found: where a face was found.
        compat: as the authors, never take the very first frame for another.

    Returns:
        source: index of the frame to copy from; -1 where there is none at all.
        pad: True where a frame is a copy, or empty.
    """
    count = len(found)
    index = np.arange(count)
    usable = found & (index > 0) if compat else found
    earlier = np.maximum.accumulate(np.where(usable, index, -1))
    later = np.minimum.accumulate(np.where(found, index, count)[::-1])[::-1]
    to_earlier = np.where(earlier >= 0, index - earlier, count)
    to_later = np.where(later < count, later - index, count)
    source = np.where(to_earlier <= to_later, earlier, later)
    source = np.where(np.minimum(to_earlier, to_later) == count, -1, source)
    return np.where(found, index, source), ~found
