"""Videos of the data root as aligned rows of features and labels, read slice by slice.

Nothing is held in memory but the labels: features stay in their files, of which slices are mapped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from abaw_va.data.layout import Labels, features_path, read_targets, targets_path
from abaw_va.data.statistics import Standardizer, TrainingStatistics, standardizer
from shared_core.data.features import FeatureFile, check_finite
from shared_core.data.tables import read_json
from shared_core.errors import DataError


@dataclass(frozen=True)
class Video:
    """One video, or one annotated stretch of a video.

    Attributes:
        id: its name in the data root.
        split: whose files hold it: train, val or test.
        labels: its annotation.
    """

    id: str
    split: str
    labels: Labels

    @property
    def length(self) -> int:
        """Number of frames."""
        return self.labels.length


class VideoSet:
    """Videos with their features side by side and their labels.

    Args:
        root: data root (see `abaw_va.data.layout`).
        videos: which videos, in order.
        features: feature names; their columns follow one another in this order.
        normalise: names of the features that are standardised.
        method: `trn`, with the statistics of all training frames, or `batch`, with those of each video.

    Raises:
        DataError: a file is missing or damaged, a video is missing from a feature file, or the number
            of feature rows is not the number of labels.
    """

    def __init__(
        self,
        root: Path,
        videos: Sequence[Video],
        features: Sequence[str],
        *,
        normalise: Iterable[str] = (),
        method: str = "trn",
    ) -> None:
        self.root = root
        self.videos = tuple(videos)
        self.features = tuple(features)
        self.method = method
        self._files = {
            (split, feature): _open(root, split, feature)
            for split in dict.fromkeys(video.split for video in self.videos)
            for feature in self.features
        }
        self._check()
        self.widths = tuple(
            self._files[self.videos[0].split, feature].width for feature in self.features
        )
        self.width = sum(self.widths)
        self._standardizers: dict[str, Standardizer] = {
            feature: standardizer(root, feature, method)
            for feature in self.features
            if feature in set(normalise)
        }

    def __len__(self) -> int:
        return len(self.videos)

    def name(self, index: int) -> str:
        """The id of a video, for messages."""
        return self.videos[index].id

    @cached_property
    def lengths(self) -> np.ndarray:
        """Frames of each video: int64 [videos]."""
        return np.array([video.length for video in self.videos], np.int64)

    def training_statistics(
        self,
    ) -> tuple[Float[np.ndarray, " width"], Float[np.ndarray, " width"]]:
        """Mean and scale by which the columns are standardised; 0 and 1 where they are not."""
        mean, scale = np.zeros(self.width, np.float32), np.ones(self.width, np.float32)
        column = 0
        for feature, width in zip(self.features, self.widths, strict=True):
            statistics = self._standardizers.get(feature)
            if isinstance(statistics, TrainingStatistics):
                mean[column : column + width] = statistics.mean
                scale[column : column + width] = statistics.scale
            column += width
        return mean, scale

    def read(
        self, index: int, start: int, stop: int, padded_to: int | None = None
    ) -> Float[np.ndarray, "frames width"]:
        """Features of frames [start, stop) of a video, standardised where asked for, float32.

        Args:
            index: the video's number.
            start: first frame.
            stop: the frame after the last.
            padded_to: frames of the video with zeros appended, which may then be read as well. The
                method `batch` counts them and standardises them too (`compat.norm_padding`).

        Raises:
            DataError: a value is NaN or infinite; names the file, the video, the row and the column.
        """
        video = self.videos[index]
        end = stop if padded_to is None else max(start, min(stop, video.length))
        rows = np.zeros((stop - start, self.width), np.float32)
        column = 0
        for feature, width in zip(self.features, self.widths, strict=True):
            file = self._files[video.split, feature]
            part = rows[:, column : column + width]
            real = part[: end - start]
            if end > start:
                real[:] = file.read(video.id, start, end)
            check_finite(real, file.path, f"video {video.id}", first_row=start)
            if feature in self._standardizers:
                counted = part if self.method == "batch" else real
                self._standardizers[feature].apply(counted, file, video.id, padded_to)
            column += width
        return rows

    def labels(
        self, index: int, start: int, stop: int
    ) -> tuple[Float[np.ndarray, "frames 2"], Bool[np.ndarray, " frames"]]:
        """Valence and arousal of frames [start, stop), and which of them are annotated."""
        labels = self.videos[index].labels
        valid = labels.valid[start:stop]
        if labels.values is None:
            return np.zeros((stop - start, 2), np.float32), valid
        return np.where(valid[:, None], labels.values[start:stop], 0.0).astype(np.float32), valid

    def _check(self) -> None:
        for video in self.videos:
            for feature in self.features:
                file = self._files[video.split, feature]
                rows = file.length(video.id)
                if rows != video.length:
                    raise DataError(
                        file.path,
                        f"{rows}",
                        where=f"video {video.id}",
                        expected=f"{video.length} rows, one per label",
                        remedy="Extract the feature again, or cut it to the length of the labels.",
                    )


def _open(root: Path, split: str, feature: str) -> FeatureFile:
    path = features_path(root, split, feature)
    if not path.is_file():
        known = sorted(p.stem.removeprefix(f"{split}_") for p in path.parent.glob(f"{split}_*.h5"))
        close = get_close_matches(feature, known, n=1)
        hint = f"Did you mean {close[0]!r}? " if close else ""
        raise DataError(
            path,
            f"no feature {feature!r} for the split {split!r}",
            remedy=f"{hint}There is: {', '.join(known) or 'none'}. `abaw-va extract` makes features.",
        )
    return FeatureFile(path)


def split_videos(root: Path, split: str) -> list[Video]:
    """The videos of a split, in the order of its targets file.

    Raises:
        DataError: as `read_targets`.
    """
    if not root.is_dir():
        raise DataError(root, "no such folder", remedy="Make a data root with `abaw-va prepare`.")
    labels = read_targets(targets_path(root, split))
    return [Video(name, split, of_video) for name, of_video in labels.items()]


def fold_videos(root: Path, fold: int) -> tuple[list[Video], list[Video]]:
    """Training and validation videos of a cross-validation fold, as views of the official files.

    Fold k validates on the k-th list of `targets/folds.json` and trains on the other lists and the
    official validation set, as the authors do; no feature is copied.

    Raises:
        DataError: no folds were made, there is no such fold, or a listed video is missing.
    """
    path = root / "targets" / "folds.json"
    remedy = "Make the folds with `abaw-va prepare folds`."
    if not path.is_file():
        raise DataError(path, "no such file", remedy=remedy)
    content = read_json(path)
    folds = content.get("folds") if isinstance(content, dict) else None
    if not isinstance(folds, list):
        raise DataError(path, "no `folds`", remedy=remedy)
    if not 1 <= fold <= len(folds):
        raise DataError(path, f"fold {fold}", expected=f"a fold from 1 to {len(folds)}")
    train = split_videos(root, "train")
    known = {video.labels.original for video in train}
    listed = {name for names in folds for name in names}
    if strangers := sorted(listed - known):
        raise DataError(
            path,
            f"video {strangers[0]!r} is not in the training set",
            remedy=remedy,
        )
    held_out = set(folds[fold - 1])
    return (
        [video for video in train if video.labels.original not in held_out]
        + split_videos(root, "val"),
        [video for video in train if video.labels.original in held_out],
    )
