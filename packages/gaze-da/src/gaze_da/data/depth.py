"""Depth pictures of a data set or a folder: batched, resumable, each file whole or not there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from gaze_da.config import DepthConfig
from gaze_da.data.gazefollow import DEPTH_FOLDERS
from gaze_da.data.goo import depth_root
from gaze_da.data.pictures import depth_picture
from gaze_da.depth_models import DepthModel
from shared_core.commands import say
from shared_core.data.atomic import replacing
from shared_core.data.images import SUFFIXES, open_picture
from shared_core.data.tables import read_json, write_json
from shared_core.errors import DataError, RunFolderError
from shared_core.launch.devices import chosen_device

NOTE = "depth.json"
"""File beside the depth that says what made it: maps of two models must not be mixed."""

Job = tuple[Path, Path]
"""A picture, and the file of its depth."""


def roots(config: DepthConfig) -> list[Job]:
    """Folders of pictures, and where the depth of each goes.

    Raises:
        DataError: there is no such folder.
    """
    data = config.data
    if config.dataset == "gazefollow":
        pairs = [(data / pictures, data / depth) for pictures, depth in DEPTH_FOLDERS.items()]
    elif config.dataset == "videoattentiontarget":
        pairs = [(data / "images", data / "depths")]
    elif config.dataset == "goo":
        pairs = [(data.resolve(), depth_root(data))]
    else:
        out = config.out or data.resolve().with_name(f"{data.resolve().name}_depth")
        pairs = [(data, out)]
    found = [pair for pair in pairs if pair[0].is_dir()]
    if not found:
        expected = " or ".join(str(pictures) for pictures, _ in pairs)
        raise DataError(data, "none", expected=f"a folder of pictures, {expected}")
    return found


def jobs(pictures: Path, depth: Path, kind: str) -> list[Job]:
    """Every picture below a folder, sorted, and the file of its depth, which may lie below it too.

    Raises:
        DataError: two pictures would have one file of depth.
    """
    made = depth.resolve()
    found = sorted(
        path
        for path in pictures.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not path.name.startswith(".")
        and made not in path.resolve().parents
    )
    picture_of: dict[Path, Path] = {}
    for path in found:
        output = depth / path.relative_to(pictures)
        if kind != "jpg":
            output = output.with_suffix(".png")
        other = picture_of.setdefault(output, path)
        if other is not path:
            raise DataError(
                path,
                f"{other.name} beside it, whose depth would be the same {output.name}",
                expected="pictures whose names differ in more than the suffix",
                remedy="Rename one, or write --format jpg, which keeps the suffix.",
            )
    return [(path, output) for output, path in picture_of.items()]


def command(config: DepthConfig) -> int:
    """`gaze-da prepare depth`: what cannot be read is listed at the end, and all else is done."""
    places = roots(config)
    model = DepthModel(
        config.model,
        revision=config.revision,
        device=chosen_device(config.device),
        precision=config.precision,
    )
    made_by = {"model": model.name, "format": config.format, "precision": config.precision}
    todo: list[Job] = []
    done = 0
    found = [jobs(pictures, depth, config.format) for pictures, depth in places]
    if not any(found):
        raise DataError(config.data, "none", expected="pictures in it")
    for (_, depth), every in zip(places, found, strict=True):
        _refuse_a_mixture(depth, made_by)
        open_ones = [job for job in every if not job[1].is_file()]
        done += len(every) - len(open_ones)
        todo += open_ones
    if done:
        say(f"{done} are there already")
    errors = make(todo, model, config)
    for error in errors:
        say(f"left out: {error}")
    say(f"{len(todo) - len(errors)} depth pictures written, {len(errors)} pictures cannot be read")
    return int(bool(errors))


def _refuse_a_mixture(depth: Path, made_by: dict[str, str]) -> None:
    """What is there must have been made alike; a folder without a note is taken as somebody's own."""
    note = depth / NOTE
    if note.is_file():
        before = read_json(note)
        if before != made_by:
            raise RunFolderError(
                f"{depth}: its depth was made by {before}, and not by {made_by}. Finish it with those "
                "settings, or remove the folder."
            )
        return
    if depth.is_dir() and any(depth.iterdir()):
        raise RunFolderError(
            f"{depth}: there is depth that something else made. Move it away, and begin again."
        )
    write_json(note, made_by)


def make(todo: Sequence[Job], model: DepthModel, config: DepthConfig) -> list[DataError]:
    """Write the depth of pictures; returns what went wrong, a picture each.

    Threads decode ahead of the model and write behind it; at most four batches are in memory.
    """
    errors: list[DataError] = []
    console = Console(stderr=True)
    progress = Progress(console=console, transient=True, disable=not console.is_terminal)
    with ThreadPoolExecutor(config.workers) as threads, progress:
        task = progress.add_task("depth", total=len(todo))
        writing: deque[Future[None]] = deque()
        # A user's own pictures are looked at upright; data sets count pixels as they are stored.
        read = partial(_read, upright=config.dataset == "folder")
        decoded = _decoded(todo, read, threads, 2 * config.batch_size)
        while batch := list(islice(decoded, config.batch_size)):
            errors += [found for _, found in batch if isinstance(found, DataError)]
            good = [(job, found) for job, found in batch if isinstance(found, np.ndarray)]
            maps = model([picture for _, picture in good]) if good else []
            for (job, _), depth in zip(good, maps, strict=True):
                writing.append(threads.submit(_write, job[1], depth, config.format))
            while len(writing) > config.batch_size:
                writing.popleft().result()
            progress.advance(task, len(batch))
        for written in writing:
            written.result()
    return errors


def _decoded(
    todo: Sequence[Job],
    read: Callable[[Path], np.ndarray],
    threads: ThreadPoolExecutor,
    ahead: int,
) -> Iterator[tuple[Job, np.ndarray | DataError]]:
    """Each picture, or why it cannot be read, in order."""
    waiting: deque[tuple[Job, Future[np.ndarray]]] = deque()
    for job in todo:
        waiting.append((job, threads.submit(read, job[0])))
        if len(waiting) > ahead:
            yield _answer(*waiting.popleft())
    while waiting:
        yield _answer(*waiting.popleft())


def _answer(job: Job, reading: Future[np.ndarray]) -> tuple[Job, np.ndarray | DataError]:
    try:
        return job, reading.result()
    except DataError as error:
        return job, error


def _read(path: Path, *, upright: bool) -> np.ndarray:
    return np.array(open_picture(path, upright=upright))


def _write(path: Path, depth: np.ndarray, kind: str) -> None:
    picture = depth_picture(depth, bits=16 if kind == "png16" else 8)
    encoder = "PNG" if path.suffix.lower() == ".png" else "JPEG"
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, encoder, quality=95)  # PNG ignores the quality
