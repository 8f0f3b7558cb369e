"""VideoAttentionTarget (Chong et al., 2020), frame by frame.

<root>/annotations/<split>/<show>/<clip>/<person>.txt    frame, head box (4), gaze (2), in pixels
<root>/images/<show>/<clip>/<frame>.jpg
<root>/depths/<show>/<clip>/<frame>.jpg
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from gaze_da.data.samples import Annotations, Sample, Split, number, usable
from gaze_da.method.boxes import Point
from shared_core.data.quarantine import Quarantine
from shared_core.data.tables import read_records
from shared_core.errors import DataError

Row = tuple[int, list[str]]

COLUMNS = 7
SMOOTHING = 11
"""Frames of the moving average over the head boxes."""

UPSTREAM_SEED = 42
"""Of the authors' sampling of rows."""


def read(
    root: Path,
    split: Split,
    quarantine: Quarantine,
    *,
    fraction: float = 1.0,
    smoothing: bool = True,
) -> Annotations:
    """The people of VideoAttentionTarget, track by track, in the order of the files' names.

    Args:
        root: the data set's folder.
        split: training or test.
        quarantine: what to do with rows that cannot be used.
        fraction: share of each track's rows that is kept, drawn as the authors draw theirs.
        smoothing: average each box over 11 frames of its track, as the data set's authors do.

    Raises:
        DataError: the folder is missing, or a row cannot be used.
    """
    folder = root / "annotations" / split
    tracks = sorted(folder.glob("*/*/*.txt"))
    if not tracks:
        raise DataError(folder, "none", expected="tracks, <show>/<clip>/<person>.txt")
    people: dict[Path, list[Sample]] = {track: [] for track in tracks}

    def parse(record: tuple[Path, Row]) -> Sample:
        track, row = record
        people[track].append(_person(root, track, row))
        return people[track][-1]

    # All tracks at once: the quarantine's limit is a share of the data set, not of a track.
    usable(((track, row) for track in tracks for row in read_records(track)), parse, quarantine)
    samples: list[Sample] = []
    for of_track in people.values():
        boxes = _smoothed(of_track) if smoothing else of_track
        samples += [boxes[row] for row in kept_rows(len(boxes), fraction)]
    return Annotations(samples)


def kept_rows(count: int, fraction: float) -> list[int]:
    """The rows of a track that are kept: all in order, or a fraction as the authors draw it.

    Theirs is `DataFrame.sample(frac=fraction, random_state=42)`: the first rows of a permutation.
    """
    if fraction == 1:
        return list(range(count))
    order = np.random.RandomState(UPSTREAM_SEED).permutation(count)  # theirs
    return [int(row) for row in order[: round(fraction * count)]]


def _person(root: Path, track: Path, row: Row) -> Sample:
    line, fields = row
    where = f"line {line}"
    if len(fields) < COLUMNS:
        raise DataError(track, f"{len(fields)}", where=where, expected=f"{COLUMNS} fields")
    names = ("head x0", "head y0", "head x1", "head y1", "gaze x", "gaze y")
    x0, y0, x1, y1, *gaze = (
        number(text, track, where, name) for name, text in zip(names, fields[1:7], strict=True)
    )
    point = _gaze((gaze[0], gaze[1]))
    show, clip = track.parts[-3:-1]
    picture = Path(show, clip, fields[0])
    if picture.suffix == "":
        picture = picture.with_suffix(".jpg")
    return Sample(
        name=f"{picture.as_posix()}:{track.stem}",
        image=str(root / "images" / picture),
        depth=str(root / "depths" / picture),
        group=show,
        dataset="videoattentiontarget",
        head=(x0, y0, x1, y1),
        head_unit="pixels",
        gazes=() if point is None else (point,),
        gaze_unit="pixels",
        eyes=None,
        inside=point is not None,
    )


def _gaze(point: Point) -> Point | None:
    """Outside is written -1, -1; a single negative coordinate is a target at the border."""
    return None if point == (-1, -1) else (max(point[0], 0.0), max(point[1], 0.0))


def _smoothed(samples: list[Sample]) -> list[Sample]:
    if not samples:
        return samples
    boxes = moving_average(np.array([sample.head for sample in samples]))
    heads = [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes.tolist()]
    return [replace(sample, head=head) for sample, head in zip(samples, heads, strict=True)]


def moving_average(boxes: Float64[np.ndarray, "frames 4"]) -> Float64[np.ndarray, "frames 4"]:
    """Mean over 11 frames, the first and the last box standing in for those beyond the ends."""
    reach = SMOOTHING // 2
    padded = np.pad(boxes, ((reach, reach), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, SMOOTHING, axis=0)
    return np.asarray(windows.mean(axis=-1))
