"""The data root: which file holds what, as the processed features were published.

    targets/{train,val}_valid_targets.h5   <id>/{valence [n], arousal [n], length, special}
    targets/test_valid_targets.h5          <id>/{length, special}
    targets/folds.json                     {"folds": [[id, ...], ...]} for cross-validation
    features/{split}_<feature>.h5          <id>/fts [n, width]
    features/mean_std_on_trn/<feature>.h5  train/{mean [width], std [width]}

`<id>` is a video, or `<video>_<k>` for the k-th annotated stretch of one that has frames without
annotation. Row k is frame k of that stretch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from shared_core.data.features import Group, read_groups, write_groups
from shared_core.errors import DataError

Split = Literal["train", "val", "test"]

TARGETS = ("valence", "arousal")
"""Column order of every label and prediction."""

NOT_ANNOTATED = -5.0
"""What Aff-Wild2 writes where a frame has no annotation."""


def targets_path(root: Path, split: str) -> Path:
    """File with the labels of a split."""
    return root / "targets" / f"{split}_valid_targets.h5"


def features_path(root: Path, split: str, feature: str) -> Path:
    """File with one feature of a split."""
    return root / "features" / f"{split}_{feature}.h5"


def statistics_path(root: Path, feature: str) -> Path:
    """File with the mean and standard deviation of a feature over all training frames."""
    return root / "features" / "mean_std_on_trn" / f"{feature}.h5"


@dataclass(frozen=True)
class Labels:
    """The annotation of one video or stretch.

    Attributes:
        length: number of frames.
        values: valence and arousal, float32 [length, 2], in [-1, 1]; None for a test video.
        valid: frames that have an annotation, bool [length].
        original: the video's id before it was cut.
        start: frame of the original video that row 0 is.
        frames_per_second: rate of the rows, so that windows in seconds can be turned into frames.
    """

    length: int
    values: np.ndarray | None
    valid: np.ndarray
    original: str
    start: int = 0
    frames_per_second: float = 30.0


def read_targets(path: Path) -> dict[str, Labels]:
    """Labels by id, in the file's (alphabetical) order.

    Raises:
        DataError: the file is missing or damaged, holds no video, a length is not that of its labels,
            or a label lies outside [-1, 1] and is not -5.
    """
    if not path.is_file():
        raise DataError(
            path, "no such file", remedy="Make it with `abaw-va prepare`, or check --data."
        )
    labels = {name: _labels(path, name, group) for name, group in read_groups(path).items()}
    if not labels:
        raise DataError(path, "holds no video", remedy="Run `abaw-va prepare` on your annotations.")
    return labels


def _labels(path: Path, name: str, group: Group) -> Labels:
    where = f"video {name}"
    arrays, attributes = group.arrays, group.attributes
    wanted = ["length", *(TARGETS if TARGETS[0] in arrays else ())]
    if missing := [array for array in wanted if array not in arrays]:
        raise DataError(path, f"no {missing[0]!r}", where=where, expected=" and ".join(wanted))
    length = int(np.asarray(arrays["length"]))
    valid = np.zeros(length, dtype=bool)
    values = None
    if len(wanted) > 1:
        columns = [np.asarray(arrays[target], np.float32) for target in TARGETS]
        if any(column.shape != (length,) for column in columns):
            found = " and ".join(str(column.size) for column in columns)
            raise DataError(
                path, f"{found} labels", where=where, expected=f"{length}, as `length` says"
            )
        values = np.stack(columns, axis=1)
        valid = annotated(path, where, values)
    return Labels(
        length=length,
        values=values,
        valid=valid,
        original=str(attributes.get("original", name)),
        start=int(attributes.get("start", 0)),
        frames_per_second=float(attributes.get("frames_per_second", 30.0)),
    )


def annotated(path: Path | str, where: str, values: np.ndarray) -> np.ndarray:
    """Which rows of labels [n, 2] have an annotation: bool [n], False where a column is -5.

    Raises:
        DataError: a value is neither in [-1, 1] nor -5; names the first such row.
    """
    missing = values == NOT_ANNOTATED
    wrong = ~missing & ~(np.abs(values) <= 1.0)  # NaN is wrong too
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise DataError(
            path,
            f"{values[row, column]:g} for {TARGETS[column]}",
            where=f"{where}, row {row}".lstrip(", "),
            expected="a value in [-1, 1], or -5 for a frame without annotation",
            remedy="Correct the annotation, or mark the frame with -5 in both columns.",
        )
    return np.asarray(~missing.any(axis=1))


def write_targets(path: Path, videos: Mapping[str, Labels]) -> None:
    """Write a targets file whole or not at all.

    Raises:
        DataError: the folder cannot be written, or there is no video.
    """
    if not videos:
        raise DataError(path, "there is no video to write")
    write_groups(path, ((name, _group(name, labels)) for name, labels in videos.items()))


def _group(name: str, labels: Labels) -> Group:
    arrays: dict[str, ArrayLike] = {"length": labels.length}
    if labels.values is not None:
        arrays |= {target: labels.values[:, column] for column, target in enumerate(TARGETS)}
        arrays["special"] = int(name != labels.original)
    return Group(
        arrays,
        {
            "original": labels.original,
            "start": labels.start,
            "frames_per_second": labels.frames_per_second,
        },
    )
