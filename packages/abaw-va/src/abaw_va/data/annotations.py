"""Annotation texts of Aff-Wild2, and cutting a video where frames have no annotation.

A text has the header `valence,arousal` and then one line per frame, two numbers in [-1, 1] or -5 in
both columns. Line k below the header is frame k, counted from 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from abaw_va.data.layout import NOT_ANNOTATED, TARGETS, Labels, annotated
from shared_core.errors import DataError


def read_annotation(path: Path) -> np.ndarray:
    """Labels of every frame: float32 [frames, 2]; rows with a -5 are kept as they are.

    Raises:
        DataError: wrong header, a line that is not two numbers, a value outside [-1, 1] other than
            -5, or no line at all; names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, f"cannot be read as text ({error})") from error
    header = ",".join(TARGETS)
    if not lines or lines[0].replace(" ", "").lower() != header:
        found = repr(lines[0][:40]) if lines else "an empty file"
        raise DataError(path, found, where="line 1", expected=f"the header {header!r}")
    values = np.array(
        [_numbers(path, number, line) for number, line in enumerate(lines[1:], 2) if line.strip()],
        dtype=np.float32,
    )
    if not len(values):
        raise DataError(path, "holds no frame", remedy="Remove the file, or annotate its video.")
    annotated(path, "", values)
    return values


def _numbers(path: Path, number: int, line: str) -> tuple[float, float]:
    try:
        valence, arousal = (float(field) for field in line.split(","))
    except ValueError as error:
        raise DataError(
            path, repr(line[:40]), where=f"line {number}", expected="two numbers, valence,arousal"
        ) from error
    return valence, arousal


def runs(valid: np.ndarray) -> list[tuple[int, int]]:
    """Maximal runs of True in a boolean row, as (start, end) with `end` the last index inside.

    >>> runs(np.array([0, 1, 1, 0, 1], dtype=bool))
    [(1, 2), (4, 4)]
    """
    steps = np.diff(np.concatenate(([False], valid, [False])).astype(np.int8))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1) - 1
    return [(int(start), int(end)) for start, end in zip(starts, ends, strict=True)]


def cut(
    video: str, values: np.ndarray, frames_per_second: float = 30.0
) -> Iterator[tuple[str, Labels]]:
    """The annotated stretches of a video, each with its labels.

    A video that is annotated throughout keeps its id; one with any frame without annotation becomes
    `<video>_1`, `<video>_2`, ... in order. The id before the cut travels in `Labels.original`, for an
    underscore may belong to the id itself (`video10_1`).
    """
    valid = ~(values == NOT_ANNOTATED).any(axis=1)
    if valid.all():
        yield (
            video,
            Labels(len(values), values, valid, original=video, frames_per_second=frames_per_second),
        )
        return
    for number, (start, end) in enumerate(runs(valid), 1):
        stretch = slice(start, end + 1)
        yield (
            f"{video}_{number}",
            Labels(
                end + 1 - start, values[stretch], valid[stretch], video, start, frames_per_second
            ),
        )


def source_video(annotation: str, videos: set[str]) -> str:
    """The id of the video file that an annotation belongs to.

    Where two people are annotated in one video the annotation's id ends in `_left` or `_right`, and
    the video has no such ending.

    Raises:
        DataError: there is no such video.
    """
    for suffix in ("", "_left", "_right"):
        if suffix and not annotation.endswith(suffix):
            continue
        if (candidate := annotation.removesuffix(suffix)) in videos:
            return candidate
    raise DataError(annotation, "no video of this name", remedy="Check the folder with the videos.")
