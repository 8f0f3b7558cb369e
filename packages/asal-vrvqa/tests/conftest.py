"""A small data set in the published layout, and networks so small that a whole run takes seconds."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from asal_vrvqa.config import Network, Replay, TrainConfig

SMALL = Network(parts=2, channels=4, height=64, width=64)
"""32 x parts rows; bands of 46 columns of 64."""

CATEGORIES = ("CG", "Landscape", "Sports", "Others")
SOURCES = 4
"""Videos of each category: with a train ratio of 0.75, three to train and one to test on."""


def write_dataset(root: Path, *, seconds: int = 15, height: int = 64, width: int = 64) -> Path:
    """Labels and frames: brightness and grain of a clip follow its score, so there is something to learn."""
    draw = np.random.default_rng(0)
    labels = root / "labels"
    labels.mkdir(parents=True)
    rows, categories = ["VideoName,MOS"], ["video_names,category"]
    scores: dict[str, float] = {}
    for category in CATEGORIES:
        for number in range(SOURCES):
            source = f"{category[0]}_{category}{number}.mp4"
            categories.append(f"{source},{category}")
            for start in "AB":
                score = float(draw.uniform(1.2, 4.8))
                scores[f"{start}_{source}"] = score
                folder = root / "frames" / f"{start}_{source}"
                folder.mkdir(parents=True)
                for second in range(seconds):
                    grain = draw.normal(0, 60 - 12 * score, (height, width, 3))
                    frame = np.clip(40 * score + grain, 0, 255).astype(np.uint8)
                    Image.fromarray(frame).save(folder / f"{second:03d}.png")
    for time in (7, 15):
        for folder, score in scores.items():
            rows.append(f"{time}_{folder},{score + (0.1 if time == 15 else 0):.6f}")
    (labels / "infoAB_all.csv").write_text("\n".join(rows) + "\n")
    (labels / "categorized_videos.csv").write_text("\n".join(categories) + "\n")
    return root


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """Folder with `labels` and `frames`."""
    return write_dataset(tmp_path_factory.mktemp("vrvqw"))


@pytest.fixture(scope="session")
def tiny(dataset):
    """Makes the settings of a short run: `tiny(run=..., strategy="er")`."""

    def settings(**changes):
        plain = {
            "labels": dataset / "labels",
            "frames": dataset / "frames",
            "tasks": CATEGORIES[:3],
            "train_ratio": 0.75,
            "network": SMALL,
            "replay": Replay(buffer_size=6, minibatch=3),
            "epochs": 2,
            "batch_size": 4,
            "lr": 1e-3,
            "threads": 1,
            "device": "cpu",
            "trackers": (),
        }
        return TrainConfig(**{**plain, **changes})

    return settings


@pytest.fixture
def no_report(monkeypatch):
    """Drawing a report takes longer than a tiny run."""
    monkeypatch.setattr("shared_core.training.folder.run_report", lambda folder: None)


def fill(module: torch.nn.Module) -> None:
    """The reference weights, from the checksum of each name."""
    for key, value in module.state_dict().items():
        if not value.is_floating_point():
            continue
        drawn = 0.02 * named_noise(key, *value.shape)
        if key.endswith("running_var"):
            drawn = 1 + drawn.abs()
        elif value.dim() == 1 and key.endswith(".weight"):
            drawn = 1 + drawn
        value.copy_(drawn)


def named_noise(name: str, *shape: int) -> torch.Tensor:
    """Standard normal, from the checksum of a name."""
    draw = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return torch.randn(*shape, generator=draw)


@pytest.fixture(scope="session")
def filled():
    """Fills a network with the reference weights."""
    return fill


@pytest.fixture(scope="session")
def video():
    """The reference inputs by name and shape: `video("small_video", 2, 7, 3, 128, 256)`."""
    return lambda name, *shape: named_noise(f"input:{name}", *shape)
