"""Training sets of many rows for each package, of which any number can be spoilt one by one."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import h5py

from shared_core.data.tables import read_json, write_json
from tools.faults.corpus import pictures


class Rows(ABC):
    """A data set in which a share of the rows can be made unusable.

    Attributes:
        changes: fields of the package's config that differ from the subject's.
        strict: why a bad label stops the run under each policy; empty where it does not.
    """

    changes: ClassVar[dict[str, Any]]
    strict: ClassVar[str] = ""

    def flags(self, whole: Path) -> tuple[str | Path, ...]:  # noqa: ARG002
        """Further words of the training; `whole` is the data set before anything was spoilt."""
        return ()

    @abstractmethod
    def write(self, folder: Path, seed: int) -> None:
        """Write a data set whose rows are all usable."""

    @abstractmethod
    def media(self, data: Path) -> Sequence[str]:
        """Names of what a training reads, each of which may be spoilt; errors tell them."""

    def spoil_media(self, data: Path, names: Sequence[str]) -> None:
        """Make the files, or the parts of files, of these names unusable."""
        for number, name in enumerate(names):
            pictures.spoil(data / name, number)

    def table(self, data: Path) -> Sequence[str]:  # noqa: ARG002  of those that have one
        """What errors tell of each row of the labels; none: the package has no table of labels."""
        return ()

    def spoil_table(self, data: Path, names: Sequence[str]) -> None:  # noqa: B027  as above
        """Make these rows of the labels unusable."""


class _Abaw(Rows):
    """Videos of 16 frames, in one file for each feature and one for the labels."""

    changes: ClassVar[dict[str, Any]] = {"epochs": 2, "max_steps": None}
    strict = (
        "its labels come from `prepare`, which checks each: a bad one means a damaged file, and "
        "stops the run under each policy"
    )
    names = tuple(f"v{number:03d}" for number in range(100))

    def write(self, folder: Path, seed: int) -> None:
        from abaw_va.synthetic import write_random_root

        splits = {"train": dict.fromkeys(self.names, 16), "val": {"u": 30, "w": 17}}
        write_random_root(folder, splits, {"pixels": 256, "logmel": 64}, seed=seed)

    def media(self, data: Path) -> Sequence[str]:  # noqa: ARG002
        return [f"video {name}" for name in self.names]

    def spoil_media(self, data: Path, names: Sequence[str]) -> None:
        with h5py.File(data / "features" / "train_logmel.h5", "a") as file:
            for number, name in enumerate(names):
                value = (float("nan"), float("inf"))[number % 2]
                file[name.removeprefix("video ")]["fts"][number % 16, 3] = value

    def table(self, data: Path) -> Sequence[str]:
        return self.media(data)

    def spoil_table(self, data: Path, names: Sequence[str]) -> None:
        with h5py.File(data / "targets" / "train_valid_targets.h5", "a") as file:
            for name in names:
                file[name.removeprefix("video ")]["valence"][4] = float("nan")


class _Glimpse(Rows):
    """Scenes in folders of classes; the folders are the labels."""

    changes: ClassVar[dict[str, Any]] = {"epochs": 2, "batch_size": 20}

    def write(self, folder: Path, seed: int) -> None:
        from adaglimpse.synthetic import write_dataset

        write_dataset(folder, "classification", train=100, val=10, size=32, seed=seed)

    def media(self, data: Path) -> Sequence[str]:
        return sorted(str(path.relative_to(data)) for path in data.glob("train/*/*.png"))


class _Asal(Rows):
    """Clips of three categories; a source's frames from one start are shared by two clips."""

    changes: ClassVar[dict[str, Any]] = {"epochs": 1, "train_ratio": 0.8}

    def write(self, folder: Path, seed: int) -> None:
        from asal_vrvqa.synthetic import write_dataset

        sources = dict.fromkeys(("CG", "Landscape", "Sports"), 10)
        write_dataset(folder, sources=sources, height=64, width=64, seed=seed)

    def media(self, data: Path) -> Sequence[str]:
        # A clip of 7 seconds sees this one wherever the jitter lets it begin.
        return sorted(str(path.relative_to(data)) for path in data.glob("frames/*/003.png"))

    def table(self, data: Path) -> Sequence[str]:
        lines = (data / "labels" / "infoAB_all.csv").read_text("utf-8").splitlines()[1:]
        return [line.partition(",")[0] for line in lines]

    def spoil_table(self, data: Path, names: Sequence[str]) -> None:
        path = data / "labels" / "infoAB_all.csv"
        bad = dict(zip(names, _in_turn(("nan", "1e999", "six", "9"), len(names)), strict=True))
        lines = [line.partition(",") for line in path.read_text("utf-8").splitlines()]
        path.write_text(
            "".join(f"{name},{bad.get(name, score)}\n" for name, _, score in lines), "utf-8"
        )


class _Gaze(Rows):
    """Drawn people in GazeFollow's layout, without a second domain."""

    changes: ClassVar[dict[str, Any]] = {
        "epochs": 2,
        "max_steps": None,
        "batch_size": 20,
        "evaluate_every": None,
        "target_dataset_dir": None,
        "head_da": False,
        "rgb_depth_da": False,
    }

    def write(self, folder: Path, seed: int) -> None:
        from gaze_da.synthetic import write_domain

        write_domain(folder / "source", "flat", {"train": 50, "test": 2}, seed=seed)

    def media(self, data: Path) -> Sequence[str]:
        found = data.glob("source/train/**/*.jpg")
        return sorted(str(path.relative_to(data)) for path in found)

    def table(self, data: Path) -> Sequence[str]:
        lines = (data / "source" / "train_annotations_release.txt").read_text("utf-8").splitlines()
        return [f"line {number}" for number in range(1, len(lines) + 1)]

    def spoil_table(self, data: Path, names: Sequence[str]) -> None:
        path = data / "source" / "train_annotations_release.txt"
        lines = path.read_text("utf-8").splitlines()
        for name, value in zip(names, _in_turn(("nan", "1e999", "x", ""), len(names)), strict=True):
            place = int(name.removeprefix("line ")) - 1
            fields = lines[place].split(",")
            lines[place] = ",".join([*fields[:8], value, *fields[9:]])
        path.write_text("\n".join(lines) + "\n", "utf-8")


class _Refine(Rows):
    """Rated pictures, two short completions each; it is evaluated on a table that stays whole."""

    changes: ClassVar[dict[str, Any]] = {
        "epochs": 1,
        "num_generations": 2,
        "num_iterations": 1,
        "max_completion_length": 16,
        "overlong_buffer": 8,
        "save_every": None,
    }

    def flags(self, whole: Path) -> tuple[str | Path, ...]:
        return ("--eval-data", whole / "pictures" / "table.json")

    def write(self, folder: Path, seed: int) -> None:
        from refine_iqa.model.tiny import build
        from refine_iqa.synthetic import write_table

        write_table(folder / "pictures", count=40, seed=seed)
        for name, text in (("think", "{question} Think."), ("plain", "{question} Score.")):
            (folder / name).write_text(text, encoding="utf-8")
        build(folder / "policy", "qwen2_5_vl")

    def media(self, data: Path) -> Sequence[str]:
        return sorted(str(path.relative_to(data)) for path in data.glob("pictures/*.png"))

    def table(self, data: Path) -> Sequence[str]:
        rows = read_json(data / "pictures" / "table.json")
        return [f"row {number}" for number in range(1, len(rows) + 1)]

    def spoil_table(self, data: Path, names: Sequence[str]) -> None:
        path = data / "pictures" / "table.json"
        rows = json.loads(path.read_text("utf-8"))
        bad = ({"solution": 99}, {"solution": "good"}, {"image": None}, {"solution": True})
        for name, change in zip(names, _in_turn(bad, len(names)), strict=True):
            rows[int(name.removeprefix("row ")) - 1] |= change
        write_json(path, rows)


def _in_turn(values: Sequence[Any], count: int) -> list[Any]:
    return [values[number % len(values)] for number in range(count)]


SETS: dict[str, Rows] = {
    "abaw_va": _Abaw(),
    "adaglimpse": _Glimpse(),
    "asal_vrvqa": _Asal(),
    "gaze_da": _Gaze(),
    "refine_iqa": _Refine(),
}
"""By import name of the package."""
