"""What reading an epoch from disk costs in memory: the process's own, not the file's mapped pages.

The features are sparse files, which take next to nothing on the disk and are read like others. Each
measurement has a process of its own.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from abaw_va.config import TrainConfig
from abaw_va.data.batches import ChunkBatch, Item, collate
from abaw_va.data.layout import Labels, features_path, targets_path, write_targets
from abaw_va.data.training import training_loader
from abaw_va.data.videos import VideoSet, split_videos
from tools.bench.timing import Row

FEATURES = {"affectnet": 342, "vggish": 128, "wav2vec": 768}
VIDEOS = 353
FRAMES, FEWER_FRAMES = 1_500_000, 150_000
ALLOWED_MB = 300
ALLOWED_GROWTH = 1.1


def measure() -> list[Row]:
    """Memory that an epoch takes, against what is allowed and against a tenth of the frames."""
    few, many = (_measure(frames) for frames in (FEWER_FRAMES, FRAMES))
    name = f"memory of an epoch of {FRAMES:.1e} frames"
    note = f"RssAnon; read in {many.seconds:.0f} s of CPU time; labels are held before"
    return [
        replace(Row.within(name, many.megabytes, ALLOWED_MB, unit="MB"), note=note),
        Row.at_most(
            f"{name}, that of {FEWER_FRAMES:.1e}",
            many.megabytes,
            few.megabytes,
            times=ALLOWED_GROWTH,
            unit="MB",
        ),
    ]


@dataclass(frozen=True)
class _Epoch:
    """What reading came to: the largest rise of RssAnon, and CPU time."""

    megabytes: float
    seconds: float


def _measure(frames: int) -> _Epoch:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _write_root(root, frames)
        # A fresh interpreter: what this one has used and given back would hide a rise.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(_read_epoch, root).result()


def _read_epoch(root: Path) -> _Epoch:
    """One epoch as training reads it, the network aside; the labels are in memory before."""
    config = TrainConfig(data=root)
    videos = VideoSet(root, split_videos(root, "train"), config.features)
    loader = training_loader(config, videos, carries_state=False)
    before = peak = _own_megabytes()

    def collate_and_look(items: Sequence[Item]) -> ChunkBatch:
        nonlocal peak
        batch = collate(items)
        peak = max(peak, _own_megabytes())  # both the chunks and their batch are there
        return batch

    loader.collate = collate_and_look
    start = time.process_time()
    for _ in loader.epoch():
        pass
    return _Epoch(peak - before, time.process_time() - start)


def _own_megabytes() -> float:
    """Anonymous memory of this process: neither mapped files nor shared memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("/proc/self/status has no line RssAnon: this benchmark needs Linux.")


def _write_root(root: Path, frames: int) -> None:
    """A data root of videos between half and one and a half times the mean length."""
    shares = np.linspace(0.5, 1.5, VIDEOS)
    borders = np.rint(np.concatenate(([0.0], np.cumsum(shares / shares.sum()))) * frames)
    lengths = {f"v{i:03d}": int(n) for i, n in enumerate(np.diff(borders))}
    draw = np.random.default_rng(0)
    write_targets(
        targets_path(root, "train"),
        {
            video: Labels(
                n, draw.uniform(-1, 1, (n, 2)).astype(np.float32), np.ones(n, bool), original=video
            )
            for video, n in lengths.items()
        },
    )
    for feature, width in FEATURES.items():
        _write_sparse(features_path(root, "train", feature), lengths, width)


def _write_sparse(path: Path, lengths: Mapping[str, int], width: int) -> None:
    """A feature file of zeros that were never written: holes, which take no room on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.CONTIGUOUS)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(path, "w") as file:
        for video, length in lengths.items():
            group, space = file.create_group(video), h5py.h5s.create_simple((length, width))
            h5py.h5d.create(group.id, b"fts", h5py.h5t.IEEE_F16LE, space, layout)
