"""Cross-validation folds of the training videos.

Many random deals are tried; of the hundred whose folds differ least in frames, the one is taken whose
folds differ least in how many frames lie in each range of valence and arousal. People are never
divided: all stretches of a video go into one fold.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from abaw_va.config import FoldsConfig
from abaw_va.data.layout import TARGETS, Labels, read_targets, targets_path
from shared_core.commands import say
from shared_core.data.loader import generator
from shared_core.data.tables import write_json
from shared_core.errors import DataError

RANGES = (-1.0, 0.0, 0.4, 1.0)
"""Borders of the ranges whose share is balanced, for valence and for arousal alike."""

SHORTLIST = 100
"""Deals of nearly equal frames among which the shares decide."""


def describe(labels: Mapping[str, Labels]) -> tuple[list[str], np.ndarray]:
    """Original videos, and for each its frames and its counts per target and range: int64 [videos, 7]."""
    rows: dict[str, np.ndarray] = {}
    for of_video in labels.values():
        if of_video.values is None:
            continue
        counts = [
            np.histogram(of_video.values[of_video.valid, column], bins=RANGES)[0]
            for column in range(len(TARGETS))
        ]
        row = np.concatenate([[of_video.length], *counts])
        rows[of_video.original] = rows.get(of_video.original, 0) + row
    return list(rows), np.array(list(rows.values()), np.int64)


def deal(table: np.ndarray, folds: int, tries: int, draw: torch.Generator) -> np.ndarray:
    """Fold of each video, int64 [videos], from 0.

    Args:
        table: frames and counts of each video, int64 [videos, 7], as `describe` gives them.
        folds: number of folds; their numbers of videos differ by one at most.
        tries: random deals.
        draw: where they come from.
    """
    seats = np.arange(len(table)) * folds // len(table)  # equal numbers, the larger folds last
    best: list[tuple[int, int, np.ndarray]] = []
    for number in range(tries):
        order = torch.randperm(len(table), generator=draw).numpy()
        frames = np.bincount(seats, weights=table[order, 0], minlength=folds)
        best.append((int(np.ptp(frames)), number, order))
        if len(best) == 2 * SHORTLIST:
            best = sorted(best, key=lambda entry: entry[:2])[:SHORTLIST]
    shortlist = sorted(best, key=lambda entry: entry[:2])[:SHORTLIST]
    chosen = min(shortlist, key=lambda entry: _imbalance(table[entry[2], 1:], seats, folds))
    result = np.empty(len(table), np.int64)
    result[chosen[2]] = seats
    return result


def _imbalance(counts: np.ndarray, seats: np.ndarray, folds: int) -> int:
    """Sum over targets and ranges of (largest - smallest count of a fold)."""
    sums = np.stack([counts[seats == fold].sum(axis=0) for fold in range(folds)])
    return int(np.ptp(sums, axis=0).sum())


def prepare(config: FoldsConfig) -> Path:
    """Write `targets/folds.json` of a data root.

    Raises:
        DataError: the training set has fewer videos than folds.
    """
    source = targets_path(config.data, "train")
    videos, table = describe(read_targets(source))
    if len(videos) < config.folds:
        raise DataError(
            source,
            f"{len(videos)} videos",
            expected=f"at least one for each of {config.folds} folds",
        )
    fold_of = deal(table, config.folds, config.tries, generator(config.seed))
    folds = [
        [video for video, own in zip(videos, fold_of, strict=True) if own == fold]
        for fold in range(config.folds)
    ]
    path = config.data / "targets" / "folds.json"
    write_json(path, {"folds": folds, "seed": config.seed, "tries": config.tries})
    return path


def command(config: FoldsConfig) -> None:
    """`abaw-va prepare folds`."""
    say(f"written: {prepare(config)}")
