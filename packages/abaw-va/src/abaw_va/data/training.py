"""The videos that a run learns from and is judged on, and their batches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from abaw_va.config import TrainConfig
from abaw_va.data.batches import ChunkBatch, ChunkDataset, collate
from abaw_va.data.chunks import ChunkPlan, StreamPlan, UpstreamPlan, upstream_lengths
from abaw_va.data.videos import Video, VideoSet, fold_videos, split_videos
from shared_core.data.loader import KeyedLoader
from shared_core.data.quarantine import Quarantine


def video_sets(config: TrainConfig) -> tuple[VideoSet, VideoSet]:
    """Training and validation videos: the official sets, or those of a cross-validation fold.

    Raises:
        DataError: a file is missing or damaged, or features and labels do not fit together.
    """
    if config.fold is None:
        train, val = split_videos(config.data, "train"), split_videos(config.data, "val")
    else:
        train, val = fold_videos(config.data, config.fold)

    def opened(videos: Sequence[Video]) -> VideoSet:
        return VideoSet(
            config.data,
            videos,
            config.features,
            normalise=config.normalise,
            method=config.norm_method,
        )

    return opened(train), opened(val)


def training_loader(
    config: TrainConfig, videos: VideoSet, *, carries_state: bool, rank: int = 0, world: int = 1
) -> KeyedLoader[Any, ChunkBatch]:
    """Batches of chunks in the order that suits the network."""
    chunk_length = config.model.chunk_length
    dataset = ChunkDataset(
        videos,
        chunk_length,
        random_offset=config.random_offset and not carries_state,
        seed=config.seed,
        padded=(
            partial(upstream_lengths, videos.lengths, config.batch_size, config.seed)
            if config.compat.norm_padding
            else None
        ),
    )
    kind = UpstreamPlan if config.compat.sampler else StreamPlan if carries_state else ChunkPlan
    return KeyedLoader(
        dataset,
        kind(dataset.chunks, config.batch_size, config.seed),
        seed=config.seed,
        # One shape for all batches, or a compiled network would be compiled again and again.
        collate=partial(collate, pad_to=chunk_length if config.compile else None),
        accumulate=config.accumulate,
        workers=config.workers,
        rank=rank,
        world=world,
        quarantine=Quarantine(config.on_bad_row),
    )
