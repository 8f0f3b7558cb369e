"""The people that a run learns from and is judged on, and their batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gaze_da.config import DatasetName, TrainConfig
from gaze_da.data.items import GazeDataset, collate
from gaze_da.data.pairs import PairedPlan, Pairs, collate_pairs
from gaze_da.data.samples import Annotations, Sample, Split, read_annotations
from gaze_da.data.splits import split_validation
from shared_core.data.loader import KeyedLoader, ShuffledPlan
from shared_core.data.quarantine import Quarantine


def people_of(
    config: TrainConfig, domain: str, split: Split, quarantine: Quarantine | None = None
) -> Annotations:
    """The people of the source or of the target, as the settings have them.

    Raises:
        DataError: the annotations are missing or cannot be used.
    """
    return read_annotations(
        *_place(config, domain),
        split,
        quarantine=quarantine,
        vat_fraction=config.vat_fraction,
        vat_smoothing=config.vat_smoothing,
    )


def people_to_test(
    config: TrainConfig, domain: str, quarantine: Quarantine | None = None
) -> list[Sample]:
    """The people of a test set as its usual protocols want them: all, whatever was trained on.

    Raises:
        DataError: the annotations are missing or cannot be used.
    """
    return read_annotations(*_place(config, domain), "test", quarantine=quarantine).samples


def _place(config: TrainConfig, domain: str) -> tuple[DatasetName, Path]:
    """Layout and root of the source or of the target."""
    if domain == "target" and config.target_dataset_dir is not None:
        return config.target_dataset or config.source_dataset, config.target_dataset_dir
    return config.source_dataset, config.source_dataset_dir


def opened(
    config: TrainConfig, samples: Sequence[Sample], *, training: bool = False
) -> GazeDataset:
    """People as the network is to see them, with random changes when they train it."""
    return GazeDataset(
        samples,
        config.network,
        config.reading,
        augment=config.augment if training else None,
        compat=config.compat if training else None,
        reduced_decoding=config.reduced_decoding and training,
    )


def training_loader(
    config: TrainConfig,
    source: GazeDataset,
    target: GazeDataset | None = None,
    *,
    quarantine: Quarantine | None = None,
    rank: int = 0,
    world: int = 1,
    pin: bool = False,
) -> KeyedLoader[Any, Any]:
    """Batches of the source or, with a target, of pairs; `pin` for copies to a GPU."""
    shared = {
        "seed": config.seed,
        "accumulate": config.accumulate,
        "workers": config.workers,
        "rank": rank,
        "world": world,
        "pin": pin,
        "quarantine": quarantine,
    }
    if target is None:
        plan = ShuffledPlan(len(source), config.batch_size, config.seed)
        return KeyedLoader(source, plan, collate=collate, **shared)  # type: ignore[arg-type]
    # The adversary's batch norm wants rows: a short last batch is left out, if it is not the only one.
    drop_last = config.head_da and len(source) >= config.batch_size
    paired = PairedPlan(len(source), len(target), config.batch_size, config.seed, drop_last)
    return KeyedLoader(Pairs(source, target), paired, collate=collate_pairs, **shared)  # type: ignore[arg-type]


def training_people(
    config: TrainConfig, judged_by: str, quarantine: Quarantine
) -> tuple[list[Sample], list[Sample]]:
    """The labelled people to learn from, and those that choose the checkpoint.

    Args:
        config: the run's settings.
        judged_by: domain whose test set chooses, where `compat.select_on_test` asks for it.
        quarantine: what to do with rows that cannot be used.

    Raises:
        DataError: the annotations are missing or cannot be used, or there are too few groups.
    """
    people = people_of(config, "source", "train", quarantine).samples
    if not config.compat.select_on_test:
        return split_validation(people, config.val_fraction, config.seed)
    of_test = Quarantine(config.on_bad_row)
    chosen_by = people_of(config, judged_by, "test", of_test).samples
    quarantine.merge(of_test.rows)
    return people, chosen_by
