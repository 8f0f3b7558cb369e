"""Data sets in their published layouts and networks so small that a whole run takes seconds."""

from __future__ import annotations

import csv
import pickle
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gaze_da.config import Network, TrainConfig
from shared_core.testing.data import shared_data

SIZES = ((120, 90), (64, 100), (96, 96))
"""Width and height of the pictures, in turn."""

SMALL = Network(
    width=16,
    scene_layers=(1, 1, 1, 1, 1),
    depth_layers=(1, 1, 1, 1, 1),
    face_layers=(1, 1, 1, 1, 1),
    input_size=64,
    output_size=24,
)


def write_picture(path: Path, size: tuple[int, int], seed: int, *, grey: bool = False) -> None:
    """A smooth picture of noise; a depth map where it is grey."""
    draw = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (5, 6) if grey else (5, 6, 3)
    coarse = Image.fromarray(draw.integers(0, 256, shape, dtype=np.uint8))
    coarse.resize(size, Image.Resampling.BICUBIC).save(path, quality=95)


def gazefollow_row(
    picture: str, person: int, size: tuple[int, int], draw: np.random.Generator, inout: int | None
) -> str:
    """A row of the annotations; without `inout`, of the test set."""
    x, y = draw.uniform(0.2, 0.6, 2)
    gaze = draw.uniform(0.05, 0.95, 2) if inout != 0 else (-1, -1)
    box = (x * size[0], y * size[1], (x + 0.2) * size[0], (y + 0.25) * size[1])
    fields = [picture, person, 0.1, 0.1, 0.5, 0.8, x + 0.1, y + 0.12, *gaze, *box]
    fields += [] if inout is None else [inout]
    return ",".join(
        [*(f"{f:.5f}" if isinstance(f, float) else str(f) for f in fields), "made", "m"]
    )


def write_gazefollow(root: Path, *, train: int, test: int, seed: int) -> Path:
    """GazeFollow extended: two people in every third picture, every fourth looks outside."""
    draw = np.random.default_rng(seed)
    rows: dict[str, list[str]] = {"train": [], "test": []}
    for split, folder, count in (("train", "train", train), ("test", "test2", test)):
        for number in range(count):
            size = SIZES[number % len(SIZES)]
            picture = f"{folder}/00000000/{number:08d}.jpg"
            write_picture(root / picture, size, seed + number)
            depth = picture.replace(folder, {"train": "depth", "test2": "depth2"}[folder], 1)
            write_picture(root / depth, size, seed + 500 + number, grey=True)
            for person in range(1 + (number % 3 == 0)):
                if split == "train":
                    inout = int(number % 4 != 3)
                    rows[split].append(gazefollow_row(picture, person, size, draw, inout))
                    continue
                first = gazefollow_row(picture, person, size, draw, None).split(",")
                for _ in range(1 + number % 3):  # annotators
                    first[8:10] = [f"{value:.5f}" for value in draw.uniform(0.1, 0.9, 2)]
                    rows[split].append(",".join(first))
    for split, lines in rows.items():
        (root / f"{split}_annotations_release.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="session")
def gazefollow_root(tmp_path_factory):
    """A GazeFollow of twelve training and six test pictures."""
    return write_gazefollow(tmp_path_factory.mktemp("gazefollow"), train=12, test=6, seed=0)


@pytest.fixture(scope="session")
def vat_root(tmp_path_factory):
    """A VideoAttentionTarget: two shows for training, two for testing, one clip each of 12 frames."""
    root = tmp_path_factory.mktemp("vat")
    draw = np.random.default_rng(1)
    for split, shows in (("train", ("Alpha", "Beta")), ("test", ("Gamma", "Delta"))):
        for place, show in enumerate(shows):
            size, lines = SIZES[place], []
            for frame in range(12):
                name = f"{frame:08d}.jpg"
                write_picture(root / "images" / show / "1_12" / name, size, 100 + frame)
                depth = root / "depths" / show / "1_12" / name
                write_picture(depth, size, 200 + frame, grey=True)
                x, y = 10 + frame, 12
                gaze = (-1, -1) if frame % 4 == 3 else draw.integers(2, 60, 2)
                lines.append(f"{name},{x},{y},{x + 20},{y + 22},{gaze[0]},{gaze[1]}")
            for person in ("s00", "s01"):
                track = root / "annotations" / split / show / "1_12" / f"{person}.txt"
                track.parent.mkdir(parents=True, exist_ok=True)
                track.write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="session")
def goo_root(tmp_path_factory):
    """The picture folder of a GOO-Real with pickled annotations; depth as PNG."""
    root = tmp_path_factory.mktemp("goo") / "finalrealdatasetImgsV3"
    draw = np.random.default_rng(2)
    for split, stem, count in (("1", "oneshotrealhumansNew", 8), ("2", "testrealhumansNew", 5)):
        rows = []
        for number in range(count):
            name = Path(split) / "cam1" / f"cam00001_img{number:05d}.jpg"
            write_picture(root / name, (80, 60), 300 + number)
            depth = root.with_name(f"{root.name}_depth") / name.with_suffix(".png")
            write_picture(depth, (80, 60), 400 + number, grey=True)
            boxes = draw.uniform(0, 400, (4, 2))
            boxes = np.concatenate([boxes, boxes + 60], axis=1)
            gazed = int(draw.integers(4))
            rows.append(
                {
                    "filename": str(name).replace("/", "\\"),
                    "hx": 320.0,
                    "hy": np.float64(200.0),
                    "gaze_cx": float(boxes[gazed, [0, 2]].mean()),
                    "gaze_cy": float(boxes[gazed, [1, 3]].mean()),
                    "gazeIdx": gazed,
                    "ann": {"bboxes": boxes, "labels": np.array([3, 5, 7, 9])},
                }
            )
        (root.parent / f"{stem}.pickle").write_bytes(pickle.dumps(rows, protocol=2))
    return root


@pytest.fixture(scope="session")
def tiny(gazefollow_root):
    """Makes the settings of a short run: `tiny(run=..., head_da=True, target_dataset_dir=...)`."""

    def settings(**changes):
        plain = {
            "source_dataset_dir": gazefollow_root,
            "network": SMALL,
            "epochs": 2,
            "batch_size": 4,
            "lr": 1e-3,
            "val_fraction": 0.2,
            "threads": 1,
            "device": "cpu",
            "trackers": (),
            "test": False,
        }
        return TrainConfig(**{**plain, **changes})

    return settings


@pytest.fixture
def no_report(monkeypatch):
    """Drawing a report takes longer than a tiny run."""
    monkeypatch.setattr("shared_core.training.folder.run_report", lambda folder: None)
    monkeypatch.setattr("gaze_da.learner.run_report", lambda folder: None)


def write_real_tracks(root: Path, *, per_show: int | None = None) -> None:
    """The real test rows of VideoAttentionTarget in the published layout.

    A picture that comes again in the table begins another person's track.

    Args:
        root: the data set's folder to write.
        per_show: rows of each show that are kept, the first ones; None: all.
    """
    table = shared_data("gaze-da", "vat_style", "videoattentiontarget_extended_test.csv")
    tracks: dict[tuple[str, int], list[list[str]]] = defaultdict(list)
    times: dict[str, int] = defaultdict(int)
    with table.open(newline="") as file:
        for path, *numbers in csv.reader(file):
            folder, _, frame = path.rpartition("/")
            tracks[folder, times[path]].append([frame, *numbers])
            times[path] += 1
    kept: dict[str, int] = defaultdict(int)
    for (folder, person), rows in tracks.items():
        show = folder.partition("/")[0]
        if per_show is not None:
            rows = rows[: per_show - kept[show]]
        if not rows:
            continue
        kept[show] += len(rows)
        path = root / "annotations" / "test" / folder / f"s{person:02d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(",".join(fields) for fields in rows) + "\n")


@pytest.fixture(scope="session")
def real_tracks():
    """Writes the real rows of VideoAttentionTarget: `real_tracks(root, per_show=50)`."""
    return write_real_tracks
