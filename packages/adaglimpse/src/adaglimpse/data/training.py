"""The batches that a run learns from."""

from __future__ import annotations

from typing import Any

from adaglimpse.config import AUGMENTATIONS, TrainConfig
from adaglimpse.data.items import ImageBatch, ImageDataset, SampledPlan, collate
from adaglimpse.data.layouts import ImageSet
from adaglimpse.data.patches import PatchSampler, UpstreamStream
from shared_core.data.loader import BatchPlan, KeyedLoader, ShuffledPlan
from shared_core.data.quarantine import Quarantine
from shared_core.errors import DataError


def training_loader(
    config: TrainConfig,
    images: ImageSet,
    *,
    quarantine: Quarantine | None = None,
    rank: int = 0,
    world: int = 1,
    pin: bool = False,
) -> KeyedLoader[Any, ImageBatch]:
    """Full batches of training images, changed at random; with random patches for pretraining.

    Args:
        config: the run's settings.
        images: to learn from.
        quarantine: what to do with images that cannot be used.
        rank: of this process.
        world: number of processes.
        pin: for copies to a GPU.

    Raises:
        DataError: there are fewer images than a batch holds.
    """
    dataset = ImageDataset(
        images.samples,
        task=config.task,
        size=config.image_size,
        kind=AUGMENTATIONS[config.dataset, config.task] if config.augment else None,
        shear=config.shear,
        sampler=_sampler(config),
        labels_above=config.labels_above,
        in_memory=config.in_memory,
    )
    count = config.num_samples or len(dataset)
    if count < config.batch_size:
        raise DataError(
            config.data_dir,
            f"{count}",
            expected=f"{config.batch_size} training images or more, a batch",
            remedy="Take a smaller --batch-size, or draw images several times: --num-samples.",
        )
    return KeyedLoader(
        dataset,
        _plan(config, len(dataset)),
        seed=config.seed,
        collate=collate,
        accumulate=config.accumulate,
        workers=config.workers,
        rank=rank,
        world=world,
        pin=pin,
        quarantine=quarantine,
    )


def _plan(config: TrainConfig, size: int) -> BatchPlan:
    if config.num_samples is None:
        return ShuffledPlan(size, config.batch_size, config.seed, drop_last=True)
    return SampledPlan(size, config.num_samples, config.batch_size, config.seed, drop_last=True)


def _sampler(config: TrainConfig) -> PatchSampler | UpstreamStream | None:
    if not config.pretraining:
        return None
    kind = UpstreamStream if config.compat.pretraining_stream else PatchSampler
    return kind(config.num_glimpses, config.glimpse_grid_size, config.image_size)
