"""Published benchmarks: which files their opinions are in, on which scale, and how they are split.

Nothing is downloaded. In every file that is read here a higher value is a better quality: CSIQ and
LIVE publish differences (DMOS), but `csiq_all.txt` holds 1 - DMOS, and `live_all.txt` 111.77 - DMOS.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from refine_iqa.data.labels import Label, Part, Reader, clips, lines, table
from refine_iqa.data.solutions import Scale
from shared_core.errors import DataError, UsageError

TEST_SHARE, VAL_SHARE = 0.2, 0.1
"""Of a benchmark's references, or of its rows where nothing repeats."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What is known of a benchmark.

    Attributes:
        name: as the command line has it.
        labels: its label file, and the part that the file's rows are where it has several files.
        reader: reads such a file.
        scale: range of its opinion scores.
        higher_is_better: direction of its scores, as the file has them.
        video: whether it rates videos; else images.
        folders: where its media may lie below the root; the first that has the first of them.
        pattern: finds `reference`, `distortion` and `level` in a name, where the name tells them.
    """

    name: str
    labels: Mapping[str, Part | None]
    reader: Reader
    scale: Scale
    higher_is_better: bool = True
    video: bool = False
    folders: tuple[str, ...] = ("", "images")
    pattern: str = ""

    def parse(self, name: str) -> dict[str, str]:
        """The `reference`, `distortion` and `level` that a name tells, as far as it does."""
        match = re.search(self.pattern, name) if self.pattern else None
        return {key: text for key, text in match.groupdict().items() if text} if match else {}

    def group_of(self, name: str) -> str | None:
        """The reference that a name is a version of; None where the benchmark repeats none."""
        return self.parse(name).get("reference")


@dataclass(frozen=True, kw_only=True)
class BenchmarkItem:
    """A rated image or video.

    Attributes:
        name: as the label file has it.
        path: below the root.
        mos: mean opinion score on the benchmark's scale.
        group: the reference that it is a version of; None where the benchmark repeats none.
        distortion: name or number of its kind of distortion; None where nobody tells.
        level: severity, 1 (faint) and up; None where nobody tells.
        split: published, or by `deal`.
    """

    name: str
    path: Path
    mos: float
    group: str | None = None
    distortion: str | None = None
    level: int | None = None
    split: Part | None = None


@dataclass(frozen=True)
class BenchmarkTable:
    """Rated images or videos of a benchmark, in the order of its label file."""

    benchmark: Benchmark
    items: tuple[BenchmarkItem, ...]


def read_benchmark(
    name: str, root: Path, *, split: Part | Literal["all"] = "all", labels: Path | None = None
) -> BenchmarkTable:
    """Read a benchmark's opinions; its images or videos are not looked at.

    Args:
        name: one of `BENCHMARKS`.
        root: folder of its images or videos.
        split: which items.
        labels: its label file; None: that of its usual name, in `root` (PIPAL: both files, where both
            are there).

    Raises:
        UsageError: there is no such benchmark.
        DataError: there is no label file; it cannot be read; a score is outside the scale; or the split
            has no items.
    """
    benchmark = BENCHMARKS.get(name)
    if benchmark is None:
        raise UsageError(f"there is no benchmark {name!r}; known: {', '.join(BENCHMARKS)}")
    files = [labels] if labels else _label_files(benchmark, root)
    items: list[BenchmarkItem] = []
    for file in files:
        part = benchmark.labels.get(file.name) if len(files) > 1 else None
        found = list(benchmark.reader(file))
        if not found:
            raise DataError(file, "none", expected=f"rows of {name}")
        folder = _folder(benchmark, root, found[0].name)
        items += [_item(benchmark, file, folder, label, part) for label in found]
    dealt = items if items[0].split else deal(items)
    chosen = tuple(item for item in dealt if split in ("all", item.split))
    if not chosen:
        there = ", ".join(sorted({str(item.split) for item in dealt}))
        raise DataError(files[0], f"only {there}", expected=f"items of the split {split}")
    return BenchmarkTable(benchmark, chosen)


def deal(items: Sequence[BenchmarkItem]) -> list[BenchmarkItem]:
    """Split items 7 : 1 : 2 into train, val and test; all versions of a reference go together.

    References (or names, for items without) are ordered by the sha256 of `refine-iqa/<reference>`: the
    first fifth is test, the next tenth val. A split depends on names alone, so that figures compare.
    """
    units = sorted(
        {_unit(item) for item in items},
        key=lambda unit: hashlib.sha256(f"refine-iqa/{unit}".encode()).digest(),
    )
    tests, vals = round(TEST_SHARE * len(units)), round(VAL_SHARE * len(units))
    part_of: dict[str, Part] = {
        unit: "test" if place < tests else "val" if place < tests + vals else "train"
        for place, unit in enumerate(units)
    }
    return [replace(item, split=part_of[_unit(item)]) for item in items]


def _unit(item: BenchmarkItem) -> str:
    return item.group or item.name


def _label_files(benchmark: Benchmark, root: Path) -> list[Path]:
    found = [root / name for name in benchmark.labels if (root / name).is_file()]
    if not found:
        raise DataError(
            root,
            "none",
            expected=f"the label file of {benchmark.name}: {' or '.join(benchmark.labels)}",
            remedy="Put it there, or name it with --labels.",
        )
    return found


def _folder(benchmark: Benchmark, root: Path, name: str) -> Path:
    folders = [root / folder for folder in benchmark.folders]
    return next((folder for folder in folders if (folder / name).is_file()), root)


def _item(
    benchmark: Benchmark, file: Path, folder: Path, label: Label, part: Part | None
) -> BenchmarkItem:
    scale = benchmark.scale
    if not scale.low <= label.mos <= scale.high:
        raise DataError(
            file,
            f"{label.mos:g}",
            where=label.where,
            expected=f"a score from {scale.low:g} to {scale.high:g}",
        )
    told = benchmark.parse(label.name)
    return BenchmarkItem(
        name=label.name,
        path=folder / label.name,
        mos=label.mos,
        group=told.get("reference"),
        distortion=told.get("distortion"),
        level=int(told["level"]) if "level" in told else None,
        split=part or label.split,
    )


_NUMBERED = r"(?P<reference>[IiA]\d+)_(?P<distortion>\d+)_(?P<level>\d+)\."
_BENCHMARKS = (
    Benchmark(
        name="koniq",
        labels={"koniq10k_distributions_sets.csv": None},
        reader=table(
            "image_name",
            "MOS",
            split="set",
            parts={"training": "train", "validation": "val", "test": "test"},
        ),
        scale=Scale(0, 100),
        folders=("", "1024x768", "512x384"),
    ),
    Benchmark(
        name="spaq",
        labels={"meta_info_SPAQDataset.csv": None},
        reader=table("Image name", "MOS"),
        scale=Scale(0, 100),
        folders=("", "TestImage"),
    ),
    Benchmark(
        name="kadid",
        labels={"kadid10k_label.txt": None},
        reader=lines(0, 1),
        scale=Scale(1, 5),
        pattern=_NUMBERED,
    ),
    Benchmark(
        name="livec",
        labels={"clive_all.txt": None},
        reader=lines(0, 1, "\t"),
        scale=Scale(0, 100),
    ),
    Benchmark(
        name="agiqa",
        labels={"agiqa3k_data.csv": None},
        reader=table("name", "mos_quality"),
        scale=Scale(0, 5),
    ),
    Benchmark(
        name="csiq",
        labels={"csiq_all.txt": None},
        reader=lines(0, 1, "\t"),
        scale=Scale(0, 1),
        pattern=r"(?P<reference>[^/.]+)\.(?P<distortion>[^/.]+)\.(?P<level>\d+)\.[^/.]+$",
    ),
    Benchmark(
        name="pipal",
        labels={"pipal22_train.txt": "train", "pipal21_val.txt": "test"},
        reader=lines(0, 1),
        scale=Scale(800, 1900),  # an Elo rating has no bounds; these hold 868 to 1857
        folders=("", "images", "Distortion"),
        pattern=r"(?P<reference>A\d+)_(?P<distortion>\d+)_",  # the last number is no severity
    ),
    Benchmark(
        name="bid",
        labels={"bid_all.txt": None},
        reader=lines(0, 1, "\t"),
        scale=Scale(0, 5),
    ),
    Benchmark(
        name="live",
        labels={"live_all.txt": None},
        reader=lines(0, 1, "\t"),
        scale=Scale(0, 115),  # 111.77 - DMOS, and DMOS begins below 0
        pattern=r"^(?P<distortion>[^/]+)/",
    ),
    Benchmark(
        name="tid2013",
        labels={"mos_with_names.txt": None},
        reader=lines(1, 0, " "),
        scale=Scale(0, 9),
        folders=("", "distorted_images"),
        pattern=_NUMBERED,
    ),
    Benchmark(
        name="flive",
        labels={"labels_image.csv": None},
        reader=table("name", "mos"),
        scale=Scale(0, 100),
        folders=("", "database"),
    ),
    Benchmark(
        name="lsvq",
        labels={"labels_train_test.csv": None},
        reader=clips(
            table("name", "mos", split="is_test", parts={"True": "test", "False": "train"})
        ),
        scale=Scale(0, 100),
        video=True,
        folders=("", "videos"),
    ),
    Benchmark(
        name="konvid",
        labels={"KoNViD_1k_mos.csv": None},
        reader=clips(table("flickr_id", "mos")),
        scale=Scale(1, 5),
        video=True,
        folders=("", "KoNViD_1k_videos"),
    ),
    Benchmark(
        name="livevqc",
        labels={"labels.txt": None},  # name, seconds, frame rate, score
        reader=lines(0, 3),
        scale=Scale(0, 100),
        video=True,
        folders=("", "Video"),
    ),
)

BENCHMARKS: Mapping[str, Benchmark] = {benchmark.name: benchmark for benchmark in _BENCHMARKS}
"""The benchmarks that can be read, by name."""
