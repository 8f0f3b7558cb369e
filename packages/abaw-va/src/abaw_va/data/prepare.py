"""Making a data root from annotation texts, or from tables with one row per frame."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from abaw_va.config import AnnotationsConfig, TablesConfig
from abaw_va.data.annotations import cut, read_annotation, source_video
from abaw_va.data.layout import (
    TARGETS,
    Labels,
    annotated,
    features_path,
    targets_path,
    write_targets,
)
from shared_core.commands import say
from shared_core.data.archives import unpack
from shared_core.data.features import write_features
from shared_core.data.tables import read_csv
from shared_core.errors import DataError
from shared_core.files import VIDEO_SUFFIXES, find_files

SETS = {"train": "Train_Set", "val": "Validation_Set"}
"""Folder of each split among the annotations."""


def from_annotations(config: AnnotationsConfig) -> list[Path]:
    """Read every annotation text, cut where frames have no annotation, and write the targets.

    Returns:
        The files written.

    Raises:
        DataError: a folder is missing or empty, an archive is damaged or would write outside its
            folder, or an annotation is wrong; nothing is written then.
    """
    with _unpacked(config.annotations) as folder:
        sets = _folder_of_sets(config.annotations, folder)
        splits = {split: _annotated_split(sets / name) for split, name in SETS.items()}
    if config.test_list is not None:
        splits["test"] = _test_split(config, config.test_list)
    paths = []
    for split, videos in splits.items():
        paths.append(targets_path(config.data, split))
        write_targets(paths[-1], videos)
    return paths


@contextmanager
def _unpacked(annotations: Path) -> Iterator[Path]:
    """The folder itself, or that of an archive, unpacked for as long as it is needed."""
    if annotations.is_dir():
        yield annotations
        return
    # Messages about a text name the archive, for what they show of the path is what it holds.
    with TemporaryDirectory(prefix=f"{annotations.name}-") as folder:
        yield unpack(annotations, Path(folder, "content"))


def _folder_of_sets(annotations: Path, folder: Path) -> Path:
    """The folder below `folder` that holds a folder for each split; of several, that of VA."""

    def holds_sets(path: Path) -> bool:
        return all((path / name).is_dir() for name in SETS.values())

    if holds_sets(folder):
        return folder
    found = [path.parent for path in sorted(folder.rglob(SETS["train"]))]
    found = [path for path in found if holds_sets(path) and "__MACOSX" not in path.parts]
    if len(found) > 1:
        found = [path for path in found if path.name.upper().startswith("VA")]
    if len(found) != 1:
        raise DataError(
            annotations,
            "several" if found else "none",
            expected=f"one folder with {' and '.join(SETS.values())}",
            remedy="Point --annotations at the folder that holds the two, or at their archive.",
        )
    return found[0]


def _annotated_split(folder: Path) -> dict[str, Labels]:
    videos = {
        name: labels
        for text in sorted(folder.glob("*.txt"))
        for name, labels in cut(text.stem, read_annotation(text))
    }
    if not videos:
        raise DataError(
            folder,
            "no annotated frame in any text (*.txt)",
            remedy="Point --annotations at the folder that holds Train_Set and Validation_Set.",
        )
    return videos


def _test_split(config: AnnotationsConfig, test_list: Path) -> dict[str, Labels]:
    from shared_core.data.video import frame_times

    try:
        lines = test_list.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(test_list, f"cannot be read as text ({error})") from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise DataError(test_list, "names no video", expected="one video per line")
    if config.videos is None:
        raise DataError(
            test_list,
            "the lengths of test videos are unknown",
            remedy="Name the folder with the video files: --videos.",
        )
    files = {path.stem: path for path in find_files([config.videos], VIDEO_SUFFIXES, "video")}
    extra = 1 if config.test_length == "frames+1" else 0
    videos = {}
    for name in names:
        length = len(frame_times(files[source_video(name, set(files))])) + extra
        videos[name] = Labels(length, None, np.zeros(length, dtype=bool), original=name)
    return videos


def from_tables(config: TablesConfig) -> list[Path]:
    """Read every table and write targets and features.

    Frames without annotation (-5) are cut out, as for annotation texts.

    Returns:
        The files written.

    Raises:
        DataError: the folder or a named table or column is missing, a label or a feature value is wrong;
            nothing is written then.
    """
    tables = {path.stem: path for path in find_files([config.tables], (".csv",), "table")}
    for name in (*config.val, *config.test):
        if name not in tables:
            raise DataError(config.tables, f"no table {name}.csv", remedy="Check --val and --test.")
    columns = dict(entry.split("=", 1) for entry in config.features)
    targets: dict[str, dict[str, Labels]] = {}
    features: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for name, path in tables.items():
        split = "val" if name in config.val else "test" if name in config.test else "train"
        labels, rows = _read_table(path, columns, labelled=split != "test")
        length = len(next(iter(rows.values())))
        for stretch, of_stretch in _stretches(name, labels, length, config.frames_per_second):
            targets.setdefault(split, {})[stretch] = of_stretch
            part = slice(of_stretch.start, of_stretch.start + of_stretch.length)
            for feature, values in rows.items():
                features.setdefault((split, feature), {})[stretch] = values[part]
    if "train" not in targets:
        raise DataError(config.tables, "no table for training", remedy="Check --tables and --val.")
    paths = []
    for (split, feature), videos in features.items():
        paths.append(features_path(config.data, split, feature))
        write_features(paths[-1], videos)
    for split, of_split in targets.items():
        paths.append(targets_path(config.data, split))
        write_targets(paths[-1], of_split)
    return paths


def _stretches(
    name: str, labels: np.ndarray | None, length: int, rate: float
) -> list[tuple[str, Labels]]:
    if labels is None:
        unlabelled = np.zeros(length, dtype=bool)
        return [(name, Labels(length, None, unlabelled, name, frames_per_second=rate))]
    return list(cut(name, labels, rate))


def _read_table(
    path: Path, features: dict[str, str], *, labelled: bool
) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
    """Labels [rows, 2], or None, and each feature [rows, width]."""
    header = _header(path)
    chosen = {name: _matching(path, header, patterns) for name, patterns in features.items()}
    wanted: dict[str, type] = dict.fromkeys(TARGETS if labelled else (), float)
    for columns in chosen.values():
        wanted |= dict.fromkeys(columns, float)
    table = [row.values for row in read_csv(path, wanted)]
    if not table:
        raise DataError(path, "holds no row", remedy="Remove the table, or fill it.")

    def block(columns: Sequence[str]) -> np.ndarray:
        return np.array([[row[column] for column in columns] for row in table], np.float32)

    rows = {name: block(columns) for name, columns in chosen.items()}
    if not labelled:
        return None, rows
    labels = block(TARGETS)
    annotated(path, "", labels)
    return labels, rows


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        return [name.strip() for name in next(csv.reader(file, skipinitialspace=True), [])]


def _matching(path: Path, header: Sequence[str], patterns: str) -> list[str]:
    """Columns that match the comma-separated patterns, in the header's order; never a label's."""
    names = [pattern.strip() for pattern in patterns.split(",")]
    columns = [column for column in header if column not in TARGETS]
    for pattern in names:
        if not any(fnmatchcase(column, pattern) for column in columns):
            raise DataError(
                path,
                f"no column matches {pattern!r}",
                remedy=f"The columns beside the labels are: {', '.join(columns)}. "
                "Every CSV file of the folder is read as a video's table.",
            )
    return [column for column in columns if any(fnmatchcase(column, name) for name in names)]


def annotations_command(config: AnnotationsConfig) -> None:
    """`abaw-va prepare annotations`."""
    _tell(from_annotations(config))


def tables_command(config: TablesConfig) -> None:
    """`abaw-va prepare tables`."""
    _tell(from_tables(config))


def _tell(paths: Sequence[Path]) -> None:
    for path in paths:
        say(f"written: {path}")
