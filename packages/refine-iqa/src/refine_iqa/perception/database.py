"""`prepare perception-db`: pristine images into distorted ones, with questions about what was done to them.

    out/images/photo_0.png     version 0 of photo.png, or of a photo of another format
    out/items/photo.png.json   what was done to each version; written last, so that a source is whole
    out/train.jsonl            the questions with their solutions, a row each
    out/manifest.json          the settings, every version, and the sources that are left out

Everything is drawn from the seed, the name of the source, and the number of the version alone: workers, order
and interruptions change no byte. A source that is whole is not made again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from refine_iqa import __version__
from refine_iqa.config import PerceptionConfig
from refine_iqa.perception.distortions import FAMILIES, SEVERITIES, Box, Pixels, apply
from refine_iqa.perception.questions import question
from shared_core.commands import say
from shared_core.data.atomic import replacing
from shared_core.data.images import list_images, open_picture
from shared_core.data.quarantine import Quarantine
from shared_core.data.tables import read_json, write_json, write_jsonl
from shared_core.errors import DataError
from shared_core.predicting import DEPENDS_ON, beginnings, is_finished, make_writable

TABLE, MANIFEST = "train.jsonl", "manifest.json"

LONGEST_SIDE, SHORTEST_SIDE = 768, 64
"""A larger source is reduced first: the model sees 151,200 pixels, and a blur of a few pixels in a photo of
12 million would be gone. A narrower one has no room for boxes."""

AREAS = (0.05, 0.5)
"""Least and greatest share of the picture that a box takes."""

_LONGEST_RATIO = 2.0  # of a box's sides, with those of the picture as the unit
_VISIBLE = 2.0  # root mean square deviation, 8-bit levels: a brightened white wall has none
_TRIES = 40
_WHITE = (255, 255, 255)
_SAVING: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG", "compress_level": 3},
    "jpg": {"format": "JPEG", "quality": 95},
}


@dataclass(frozen=True, kw_only=True)
class Item:
    """A distorted version of a source.

    Attributes:
        image: its file, below `out`.
        source: name of the pristine file.
        type: one of the `FAMILIES`.
        severity: 1 (faint) to 5 (strong).
        box: x1, y1, x2, y2 in pixels, ends exclusive; None: distorted everywhere.
        size: width and height in pixels.
    """

    image: str
    source: str
    type: str
    severity: int
    box: Box | None
    size: tuple[int, int]


def command(config: PerceptionConfig) -> int:
    """`refine-iqa prepare perception-db`.

    Returns:
        The exit status: 1 where a source was left out.

    Raises:
        DataError: there are no images; or, with `on_bad_row` raise, one cannot be used.
        UsageError: two images have one name.
    """
    sources = list_images(config.images)
    begins = beginnings(sources, Path("images"))
    make_writable(config.out)
    left_out = Quarantine(config.on_bad_row, limit_share=1.0)
    items: list[Item] = []
    with closing(_made(config, begins)) as every:
        for made in every:
            if isinstance(made, DataError):
                left_out.bad(made, of=len(sources))
            else:
                items += made
    if not items:
        raise DataError(config.images, "none", expected="an image that can be used")
    rows = list(rows_of(items, config))
    write_jsonl(config.out / TABLE, rows)
    manifest = _settings(config) | {
        "tasks": config.tasks,
        "multiple_choice": config.multiple_choice,
        "left_out": left_out.to_json(),
        "items": [asdict(item) for item in items],
    }
    write_json(config.out / MANIFEST, manifest)
    for row in left_out.rows:
        say(f"left out: {row.message}")
    say(f"{len(items)} images and {len(rows)} questions written to {config.out / TABLE}")
    return int(bool(left_out.rows))


def rows_of(items: Iterable[Item], config: PerceptionConfig) -> Iterator[dict[str, Any]]:
    """The table's rows: of each item, one for each task; grounding only where there is a box."""
    for item in items:
        for task in config.tasks:
            if task == "grounding" and item.box is None:
                continue
            draw = generator(config.seed, item.image, task)
            yield {
                "image": item.image,
                "question": question(
                    task, item.type, multiple_choice=config.multiple_choice, draw=draw
                ),
                "task": task,
                "solution": {"type": item.type, "severity": item.severity, "box": item.box},
                "size": item.size,
            }


def distorted(
    picture: Pixels, draw: np.random.Generator, *, local_share: float
) -> tuple[Pixels, str, int, Box | None] | None:
    """A picture with a drawn distortion that can be seen.

    Args:
        picture: pristine; `SHORTEST_SIDE` or more pixels wide and high.
        draw: where family, severity, box and noise come from.
        local_share: probability of a box.

    Returns:
        The picture, the family, the severity and the box (None: everywhere); or None where nothing that was
        drawn can be seen, as on a plain picture.
    """
    names = list(FAMILIES)
    for _ in range(_TRIES):
        family = names[draw.integers(len(names))]
        severity = int(draw.integers(SEVERITIES[0], SEVERITIES[-1] + 1))
        is_local = draw.random() < local_share
        box = drawn_box(picture.shape[1], picture.shape[0], draw) if is_local else None
        result = apply(family, severity, picture, box, draw)
        x1, y1, x2, y2 = box or (0, 0, picture.shape[1], picture.shape[0])
        change = result[y1:y2, x1:x2].astype(np.float32) - picture[y1:y2, x1:x2]
        if float(np.square(change).mean()) >= _VISIBLE**2:
            return result, family, severity, box
    return None


def drawn_box(width: int, height: int, draw: np.random.Generator) -> Box:
    """A box inside a picture, of a share of its area in `AREAS`, any share as likely as any other."""
    least, most = AREAS
    share = draw.uniform(least, most)
    ratio = _LONGEST_RATIO ** draw.uniform(-1, 1)
    across = min(width, max(1, round(width * math.sqrt(share * ratio))))
    down = round(share * width * height / across)
    area = width * height / across  # the rounded height must keep the share within its bounds
    down = min(max(down, math.ceil(least * area)), math.floor(most * area), height)
    x1 = int(draw.integers(width - across + 1))
    y1 = int(draw.integers(height - down + 1))
    return x1, y1, x1 + across, y1 + down


def generator(*key: int | str) -> np.random.Generator:
    """A generator that depends on `key` alone, such as (seed, name, index)."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def _made(
    config: PerceptionConfig, begins: Mapping[Path, Path]
) -> Generator[list[Item] | DataError, None, None]:
    """The items of each source in order, or why it cannot be used, made `workers` at a time."""
    console = Console(stderr=True)
    with ThreadPoolExecutor(config.workers) as threads:
        try:
            yield from track(
                threads.map(partial(_make, config), begins, begins.values()),
                "perception-db",
                len(begins),
                console=console,
                transient=True,
                disable=not console.is_terminal,
            )
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def _make(config: PerceptionConfig, source: Path, begin: Path) -> list[Item] | DataError:
    """Write the versions of a source, unless they are there."""
    try:
        record = config.out / "items" / f"{source.name}.json"
        depends_on = _settings(config) | {"sha256": _digest(source)}
        if is_finished(record, depends_on):
            items = [_item(values) for values in read_json(record)["items"]]
            if all((config.out / item.image).is_file() for item in items):
                return items
        picture = _pristine(source)
        items = [
            _version(config, source, f"{begin}_{index}.{config.format}", picture, index)
            for index in range(config.per_image)
        ]
        write_json(record, {DEPENDS_ON: depends_on, "items": [asdict(item) for item in items]})
    except DataError as error:
        return error
    return items


def _version(
    config: PerceptionConfig, source: Path, image: str, picture: Pixels, index: int
) -> Item:
    draw = generator(config.seed, source.name, index)
    made = distorted(picture, draw, local_share=config.local_share)
    if made is None:
        raise DataError(source, "no distortion can be seen on it", expected="a picture with detail")
    result, family, severity, box = made
    with replacing(config.out / image) as path:
        Image.fromarray(result).save(path, **_SAVING[config.format])
    return Item(
        image=image,
        source=source.name,
        type=family,
        severity=severity,
        box=box,
        size=(picture.shape[1], picture.shape[0]),
    )


def _pristine(source: Path) -> Pixels:
    picture = open_picture(source, background=_WHITE)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BICUBIC)
    if min(picture.size) < SHORTEST_SIDE:
        raise DataError(
            source,
            f"{picture.width} x {picture.height}",
            expected=f"{SHORTEST_SIDE} pixels or more each way, where the longer side has at most "
            f"{LONGEST_SIDE}",
        )
    return np.asarray(picture)


def _settings(config: PerceptionConfig) -> dict[str, Any]:
    """What the pixels depend on, beside the sources."""
    names = ("seed", "per_image", "local_share", "format")
    return {"version": __version__} | {name: getattr(config, name) for name in names}


def _item(values: dict[str, Any]) -> Item:
    box = values["box"]
    return Item(**values | {"box": box and tuple(box), "size": tuple(values["size"])})


def _digest(source: Path) -> str:
    try:
        with source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(source, f"cannot be read ({error.strerror})") from error
