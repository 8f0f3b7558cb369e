"""Scores of clips by a network: each distinct frame is seen once, on any number of processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from asal_vrvqa.config import QualityModelConfig
from asal_vrvqa.data.frames import FrameStore
from asal_vrvqa.data.items import DistinctFrames, collate_frames, normalised
from asal_vrvqa.data.labels import Clip
from asal_vrvqa.model.network import QualityModel
from shared_core.data.loader import KeyedLoader, NeighboursPlan
from shared_core.data.quarantine import Quarantine
from shared_core.errors import NonFiniteError

MEANS, VARIANCES = 0, 1
"""Columns of a table of frames."""


@dataclass(frozen=True)
class ClipScores:
    """What a network says of clips.

    Attributes:
        score: of each clip; NaN where it was left out.
        sigma: the regressor's own, root mean square over the clip's frames; NaN where it has none.
        frames: scores of each clip's frames.
    """

    score: Float64[np.ndarray, " n"]
    sigma: Float64[np.ndarray, " n"]
    frames: list[Float64[np.ndarray, " T"]]


def store_of(config: QualityModelConfig, frames: Path, cache: Path | None = None) -> FrameStore:
    """Where the frames of a network of these settings are read from."""
    return FrameStore(frames, config.network, cache)


def frame_table(
    model: QualityModel,
    frames: DistinctFrames,
    *,
    batch_size: int = 4,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    quarantine: Quarantine | None = None,
) -> Float64[np.ndarray, "frames 2"]:
    """Mean and variance of the score of each frame; zeros for those that are left to other processes.

    The tables of all processes add up to the one that a single process makes, bit for bit. Frames that
    went to the quarantine are NaN.

    Args:
        model: in evaluation mode; `model.for_evaluation()` is the faster.
        frames: which.
        batch_size: frames in a pass.
        rank: this process.
        world: how many share the work.
        workers: loader processes.
        quarantine: what to do with frames that cannot be used.

    Raises:
        DataError: a frame cannot be used.
        NonFiniteError: a score is not finite.
    """
    table = np.zeros((len(frames), 2))
    plan = NeighboursPlan(len(frames), batch_size, rank, world)
    for rows in (blocks := plan.batches(0)):
        table[list(rows)] = np.nan
    if not blocks:
        return table
    loader = KeyedLoader(
        frames, plan, seed=0, collate=collate_frames, workers=workers, quarantine=quarantine
    )
    device = next(model.parameters()).device
    for (padded,) in loader.epoch():
        batch = padded.that_count()
        if not len(batch):
            continue
        with torch.inference_mode():
            scored = model.frame_scores(normalised(batch.frames.to(device)))
        numbers = batch.index.tolist()
        table[numbers, MEANS] = scored.mean[:, 0].double().cpu().numpy()
        table[numbers, VARIANCES] = np.nan
        if scored.log_variance is not None:
            table[numbers, VARIANCES] = scored.log_variance[:, 0].double().exp().cpu().numpy()
        if not np.isfinite(table[numbers, MEANS]).all():
            names = ", ".join(frames.keys[number].folder for number in numbers)
            raise NonFiniteError(f"a score of the frames of {names} is not finite.")
    return table


def clip_scores(frames: DistinctFrames, table: Float64[np.ndarray, "frames 2"]) -> ClipScores:
    """Scores of clips out of those of their frames: the mean."""
    means = [table[numbers, MEANS] for numbers in frames.of_clip]
    variances = [table[numbers, VARIANCES] for numbers in frames.of_clip]
    return ClipScores(
        score=np.array([m.mean() if len(m) else np.nan for m in means]),
        sigma=np.array([np.sqrt(v.mean()) if len(v) else np.nan for v in variances]),
        frames=means,
    )


def score_clips(
    model: QualityModel,
    clips: Sequence[Clip],
    store: FrameStore,
    *,
    batch_size: int = 4,
    workers: int = 0,
    quarantine: Quarantine | None = None,
) -> ClipScores:
    """Score clips with a network.

    Raises:
        DataError: a frame is missing or damaged.
        NonFiniteError: a score is not finite.
    """
    frames = DistinctFrames(clips, store, model.config.reading, quarantine=quarantine)
    table = frame_table(
        model, frames, batch_size=batch_size, workers=workers, quarantine=quarantine
    )
    return clip_scores(frames, table)
