"""Mean and standard deviation of features, and standardising with them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np

from abaw_va.data.layout import features_path, statistics_path
from shared_core.data.features import (
    FeatureFile,
    Group,
    check_finite,
    read_groups,
    write_groups,
)
from shared_core.errors import DataError

ROWS_AT_ONCE = 16384
"""Rows that a pass over a feature holds in memory."""


class Standardizer(Protocol):
    """Brings features to mean 0 and standard deviation 1; a constant column becomes 0."""

    def apply(
        self, rows: np.ndarray, file: FeatureFile, video: str, padded_to: int | None = None
    ) -> None:
        """Standardise rows [n, width] of a video in place.

        Args:
            rows: any of the video's.
            file: where they are from.
            video: its key in the file.
            padded_to: frames of the video with zeros appended, for statistics that count these
                (`compat.norm_padding`).
        """


class ColumnSums:
    """Running mean and sum of squared deviations of columns, in float64 (Chan's update)."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self.mean = np.zeros(width)
        self.squares = np.zeros(width)

    def add(self, rows: np.ndarray) -> None:
        """Take in rows [n, width]."""
        if not len(rows):
            return
        rows = rows.astype(np.float64)
        mean = rows.mean(axis=0)
        total = self.count + len(rows)
        shift = mean - self.mean
        self.squares += ((rows - mean) ** 2).sum(axis=0) + shift**2 * self.count * len(rows) / total
        self.mean += shift * len(rows) / total
        self.count = total

    def with_zeros(self, count: int) -> ColumnSums:
        """These sums with so many rows of zeros beside them."""
        total = self.count + count
        both = ColumnSums(len(self.mean))
        both.count = total
        both.mean = self.mean * self.count / total
        both.squares = self.squares + self.mean**2 * self.count * count / total
        return both

    def scale(self, ddof: int) -> np.ndarray:
        """Standard deviation of each column; 1 where a column is constant."""
        deviation = np.sqrt(self.squares / max(self.count - ddof, 1))
        return np.asarray(np.where(deviation > 0, deviation, 1.0))


class TrainingStatistics:
    """Statistics over all training frames (method `trn`): population standard deviation."""

    def __init__(self, mean: np.ndarray, scale: np.ndarray) -> None:
        self.mean = mean.astype(np.float32)
        self.scale = np.where(scale > 0, scale, 1.0).astype(np.float32)

    def apply(
        self,
        rows: np.ndarray,
        file: FeatureFile,
        video: str,
        padded_to: int | None = None,  # noqa: ARG002  padding has no part in them
    ) -> None:
        """Standardise rows [n, width] in place.

        Raises:
            DataError: the statistics are of another width.
        """
        if rows.shape[1] != len(self.mean):
            raise DataError(
                file.path,
                f"{rows.shape[1]}",
                where=f"video {video}",
                expected=f"{len(self.mean)} columns, as its training statistics have",
                remedy="Remove the statistics file, so that it is made again.",
            )
        rows -= self.mean
        rows /= self.scale


class VideoStatistics:
    """Statistics over each video (method `batch`): sample standard deviation, of real frames only."""

    def __init__(self) -> None:
        self._of: dict[tuple[Path, str], ColumnSums] = {}

    def apply(
        self, rows: np.ndarray, file: FeatureFile, video: str, padded_to: int | None = None
    ) -> None:
        """Standardise rows [n, width] of a video in place; with `padded_to`, rows of padding too.

        Raises:
            DataError: a value of the video is not finite.
        """
        key = (file.path, video)
        if key not in self._of:
            whole = ColumnSums(file.width)
            add_video(whole, file, video)
            self._of[key] = whole
        sums = self._of[key]
        if padded_to is not None:
            sums = sums.with_zeros(padded_to - sums.count)
        rows -= sums.mean.astype(np.float32)
        rows /= sums.scale(ddof=1).astype(np.float32)


def standardised_by_itself(rows: np.ndarray) -> np.ndarray:
    """Rows [n, width] of one video, standardised by their own statistics (method `batch`)."""
    sums = ColumnSums(rows.shape[1])
    sums.add(rows)
    return np.asarray((rows - sums.mean) / sums.scale(ddof=1), np.float32)


def add_video(sums: ColumnSums, file: FeatureFile, video: str) -> None:
    """Take a whole video into `sums`, piece by piece.

    Raises:
        DataError: a value is NaN or infinite; names the file, the video, the row and the column.
    """
    for start in range(0, file.length(video), ROWS_AT_ONCE):
        rows = file.read(video, start, min(start + ROWS_AT_ONCE, file.length(video)))
        check_finite(rows, file.path, f"video {video}", first_row=start)
        sums.add(rows)


def standardizer(root: Path, feature: str, method: str) -> Standardizer:
    """The standardizer of a feature; training statistics are computed once and kept in the data root."""
    if method == "batch":
        return VideoStatistics()
    path = statistics_path(root, feature)
    if not path.is_file():
        return _measure(root, feature, path)
    arrays = read_groups(path).get("train", Group({})).arrays
    if not {"mean", "std"} <= arrays.keys():
        raise DataError(
            path,
            "no `train/mean` and `train/std`",
            remedy="Remove it; it is made again from the training set.",
        )
    return TrainingStatistics(np.asarray(arrays["mean"]), np.asarray(arrays["std"]))


def _measure(root: Path, feature: str, path: Path) -> TrainingStatistics:
    """One pass over the training frames; the result is kept where the data root can be written."""
    source = FeatureFile(features_path(root, "train", feature))
    sums = ColumnSums(source.width)
    for video in source.keys:
        add_video(sums, source, video)
    statistics = TrainingStatistics(sums.mean, sums.scale(ddof=0))
    group = Group({"mean": statistics.mean, "std": statistics.scale})
    # A read-only data root costs one pass over the feature in each run, nothing else.
    with suppress(DataError):
        write_groups(path, [("train", group)])
    return statistics
