"""What can be chosen when a data root is prepared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shared_core.config import setting
from shared_core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class AnnotationsConfig:
    """Turn Aff-Wild2 annotation texts into the targets of a data root."""

    annotations: Path
    """Folder that holds Train_Set and Validation_Set, each with one text per video."""
    data: Path
    """Data root to write."""
    test_list: Path | None = None
    """Text with one test video per line."""
    videos: Path | None = None
    """Folder with the video files; needed for the lengths of test videos."""
    test_length: Literal["frames", "frames+1"] = "frames+1"
    """Frames of a test video: as decoded, or one more, as the official labels of Aff-Wild2 have."""


@dataclass(frozen=True, kw_only=True)
class TablesConfig:
    """Turn tables with one row per frame (features, valence, arousal) into a data root."""

    tables: Path
    """Folder of CSV files, one per video, with the columns `valence` and `arousal`."""
    data: Path
    """Data root to write."""
    features: tuple[str, ...]
    """Features as NAME=COLUMN,COLUMN,...; a column may be a pattern, such as au=AU*."""
    val: tuple[str, ...] = ()
    """Names of the tables for validation, without .csv; the others are for training."""
    test: tuple[str, ...] = ()
    """Names of the tables for testing; their labels are left out."""
    frames_per_second: float = 30.0
    """Rate of the rows, for smoothing windows in seconds."""

    def __post_init__(self) -> None:
        """Refuse features that name no column.

        Raises:
            ConfigError: names the field.
        """
        for feature in self.features:
            name, _, columns = feature.partition("=")
            if not name or not columns:
                raise ConfigError("features", feature, "NAME=COLUMN,COLUMN,...")
        if not self.features:
            raise ConfigError("features", self.features, "at least one feature")


@dataclass(frozen=True, kw_only=True)
class FoldsConfig:
    """Deal the training videos into folds of equal length and equal share of emotions."""

    data: Path
    """Data root, prepared."""
    folds: int = 5
    """Number of folds."""
    tries: int = 10_000
    """Random deals among which the best is taken."""
    seed: int = setting(0)
    """Key of the random deals."""

    def __post_init__(self) -> None:
        """Refuse fewer than two folds.

        Raises:
            ConfigError: names the field.
        """
        if self.folds < 2:
            raise ConfigError("folds", self.folds, "2 or more")
        if self.tries < 1:
            raise ConfigError("tries", self.tries, "1 or more")
