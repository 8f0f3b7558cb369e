"""`prepare check`: a look at every row of a table, and at every picture and video that it names."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track

from refine_iqa.config import CheckConfig
from refine_iqa.data.pictures import read_picture
from refine_iqa.data.rows import read_rows
from refine_iqa.data.video import FrameOptions, read_frames
from shared_core.commands import say
from shared_core.data.quarantine import Quarantine
from shared_core.data.tables import write_json
from shared_core.errors import DataError

_THREADS = 2  # Pillow and FFmpeg decode outside Python's lock; FFmpeg has threads of its own


@dataclass(frozen=True)
class Found:
    """What a look at a table came to.

    Attributes:
        rows: rows of the table.
        usable: those that can be used.
        tasks: usable rows of each task.
        pictures: images of the usable rows.
        videos: videos of the usable rows.
        lowest: lowest MOS of the usable rows; None without any.
        highest: highest MOS.
        problems: what cannot be used, a sentence each, beginning with its place.
    """

    rows: int = 0
    usable: int = 0
    tasks: dict[str, int] = field(default_factory=dict)
    pictures: int = 0
    videos: int = 0
    lowest: float | None = None
    highest: float | None = None
    problems: list[str] = field(default_factory=list)


def check(config: CheckConfig) -> Found:
    """Check every row of a table and decode what it names, as training would.

    Raises:
        DataError: the table itself cannot be read.
    """
    refused = Quarantine("quarantine", limit_share=1.0)
    rows = read_rows(config.data, data_root=config.data_root, quarantine=refused)
    console = Console(stderr=True)
    kinds = {path: row.is_video for row in rows for path in row.media}  # each is decoded once
    with ThreadPoolExecutor(_THREADS) as threads:
        looked = track(
            threads.map(partial(_fault, config=config), kinds, kinds.values()),
            config.data.name,
            len(kinds),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        faults = dict(zip(kinds, looked, strict=True))
    found = {row.where: [fault for path in row.media if (fault := faults[path])] for row in rows}
    usable = [row for row in rows if not found[row.where]]
    scores = [row.solution for row in usable if isinstance(row.solution, float)]
    return Found(
        rows=len(rows) + len(refused.rows),
        usable=len(usable),
        tasks=dict(Counter(row.task for row in usable)),
        pictures=sum(len(row.media) for row in usable if not row.is_video),
        videos=sum(row.is_video for row in usable),
        lowest=min(scores, default=None),
        highest=max(scores, default=None),
        problems=[row.message for row in refused.rows]
        + [f"{where}: {fault}" for where, inside in found.items() for fault in inside],
    )


def command(config: CheckConfig) -> int:
    """`refine-iqa prepare check`; 1 where something cannot be used."""
    found = check(config)
    for problem in found.problems:
        say(problem)
    say(f"{found.usable} of {found.rows} rows can be used: {_summary(found)}")
    if config.out is not None:
        write_json(config.out, asdict(found))
        say(f"written to {config.out}")
    return int(bool(found.problems))


def _fault(path: Path, is_video: bool, config: CheckConfig) -> str | None:
    """What is wrong with an image or video; None: nothing."""
    try:
        if is_video:
            read_frames(path, FrameOptions.of(config), cache=config.frame_cache)
        else:
            read_picture(path, min_pixels=config.min_pixels, max_pixels=config.max_pixels)
    except DataError as error:
        return str(error)
    return None


def _summary(found: Found) -> str:
    tasks = ", ".join(f"{count} {task}" for task, count in sorted(found.tasks.items()))
    range_ = "" if found.lowest is None else f", MOS {found.lowest:.2f} to {found.highest:.2f}"
    return f"{tasks or 'none'}; {found.pictures} images, {found.videos} videos{range_}"
