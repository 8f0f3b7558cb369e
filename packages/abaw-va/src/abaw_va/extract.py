"""Features of a data root from its raw videos: faces and sound, row by row with the labels."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from abaw_va.config import ExtractConfig
from abaw_va.data.annotations import source_video
from abaw_va.data.layout import features_path
from abaw_va.data.videos import Video, split_videos
from abaw_va.features.mapping import fit_length
from abaw_va.features.stream import VideoFeatures
from abaw_va.perception import (
    Perceiver,
    refuse_unused_weights,
)
from shared_core.commands import say
from shared_core.config import fingerprint
from shared_core.data.atomic import replacing
from shared_core.data.faces import Person
from shared_core.data.features import write_features
from shared_core.errors import DataError
from shared_core.files import VIDEO_SUFFIXES, find_files
from shared_core.launch.devices import chosen_device

_PERSONS: dict[str, Person] = {"_left": "left", "_right": "right"}


def extract(config: ExtractConfig) -> list[Path]:
    """Write `features/<split>_<feature>.h5` for every feature that is not there yet.

    A video is decoded once for all features and all its annotated stretches. `<id>_left` and
    `<id>_right` are two people of the video `<id>`: each gets the features of his or her own face, and
    the same sound. A video's rows are cut to its labels, or its last row is repeated up to them: the
    labels of Aff-Wild2 go one frame beyond most videos.

    Rows wait in a hidden folder beside the files until a split is done: memory holds one video, and
    an extraction that was cut off goes on where it was, when called again with the same settings.

    Returns:
        The files written.

    Raises:
        DataError: a video is missing or damaged; the files of the splits before are complete.
        UsageError: a feature is unknown or needs weights.
    """
    refuse_unused_weights(config, config.features)
    files = {path.stem: path for path in find_files([config.videos], VIDEO_SUFFIXES, "video")}
    written: list[Path] = []
    for split in config.splits:
        paths = {name: features_path(config.data, split, name) for name in config.features}
        todo = {name: path for name, path in paths.items() if not path.is_file()}
        for name in sorted(paths.keys() - todo.keys()):
            say(f"there already, left alone: {paths[name]}")
        if todo:
            _extract_split(config, split, todo, files)
            written += todo.values()
    return written


def _extract_split(
    config: ExtractConfig, split: str, paths: dict[str, Path], files: dict[str, Path]
) -> None:
    perceive = Perceiver(config, list(paths), chosen_device(config.device))
    videos = split_videos(config.data, split)
    waiting = config.data / "features" / f".{split}-{fingerprint(config)[:12]}"

    def rows_of(name: str, video: Video) -> Path:
        return waiting / name / f"{video.id}.npy"

    left = [v for v in videos if not all(rows_of(name, v).is_file() for name in paths)]
    for video, seen in _perceived(left, files, perceive):
        for name in paths:
            with replacing(rows_of(name, video)) as temporary, temporary.open("wb") as file:
                np.save(file, _aligned(seen, name, video))
    for name, path in paths.items():
        write_features(path, ((video.id, np.load(rows_of(name, video))) for video in videos))
    shutil.rmtree(waiting)


def _perceived(
    videos: list[Video], files: dict[str, Path], perceive: Perceiver
) -> Iterator[tuple[Video, VideoFeatures]]:
    """Each video with its features; stretches of one person's video share one pass."""
    known = set(files)
    last: tuple[str, VideoFeatures] | None = None
    for number, video in enumerate(videos, 1):
        original = video.labels.original
        if last is None or last[0] != original:
            source = source_video(original, known)
            person = _PERSONS.get(original.removeprefix(source))
            show = f"{video.split} {number}/{len(videos)} {original}"
            last = (original, perceive(files[source], show, person))
        yield video, last[1]


def _aligned(seen: VideoFeatures, name: str, video: Video) -> np.ndarray:
    start = video.labels.start
    if start >= len(seen.times_s):
        raise DataError(
            video.id,
            f"{len(seen.times_s)} frames in the video",
            expected=f"more than {start}, where these labels begin",
            remedy="Check that the video belongs to the annotation.",
        )
    return fit_length(seen.rows[name][start : start + video.length], video.length)


def command(config: ExtractConfig) -> None:
    """`abaw-va extract`."""
    for path in extract(config):
        say(f"written: {path}")
