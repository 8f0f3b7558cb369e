"""A look at every row, picture and depth file of a data set; lists all that cannot be used."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from rich.console import Console
from rich.progress import track

from gaze_da.config import CheckConfig, Reading
from gaze_da.data.pictures import find_depth, read_depth
from gaze_da.data.samples import Sample, Split, read_annotations
from shared_core.commands import say
from shared_core.data.images import image_size, open_picture
from shared_core.data.quarantine import Quarantine
from shared_core.data.tables import write_json
from shared_core.errors import DataError


@dataclass(frozen=True)
class Found:
    """What a check of one split came to.

    Attributes:
        counts: rows, people, pictures, and what was left out on purpose.
        problems: what cannot be used, a sentence each.
    """

    counts: dict[str, int]
    problems: list[str]


def check(config: CheckConfig, split: Split) -> Found:
    """Look at a split."""
    quarantine = Quarantine("quarantine", limit_share=1.0)
    try:
        annotations = read_annotations(
            config.dataset, config.data, split, quarantine=quarantine, vat_smoothing=False
        )
    except DataError as error:  # no annotations, or not one that can be used
        problems = [*(row.message for row in quarantine.rows), str(error)]
        return Found({"problems": len(problems)}, problems)
    samples = annotations.samples
    problems = [row.message for row in quarantine.rows]
    of_picture: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        of_picture[sample.image].append(sample)
    console = Console(stderr=True)
    with ThreadPoolExecutor(config.workers) as threads:
        looked = threads.map(lambda people: list(_problems(people, config)), of_picture.values())
        for found in track(
            looked,
            f"{split}",
            len(of_picture),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ):
            problems += found
    doubles = [name for name, times in Counter(s.name for s in samples).items() if times > 1]
    problems += [f"{name}: annotated more than once" for name in doubles]
    counts = {
        "people": len(samples),
        "pictures": len(of_picture),
        "looking inside": sum(sample.inside for sample in samples),
        "looking outside": sum(not sample.inside for sample in samples),
        "inverted head boxes, which are turned": sum(_is_inverted(sample) for sample in samples),
        **annotations.dropped,
        "problems": len(problems),
    }
    return Found(counts, problems)


def _is_inverted(sample: Sample) -> bool:
    x0, y0, x1, y1 = sample.head
    return x1 < x0 or y1 < y0


def _problems(people: list[Sample], config: CheckConfig) -> Iterator[str]:
    """What is wrong with one picture, its depth, and the people in it."""
    picture, depth = people[0].image, people[0].depth
    try:
        width, height = image_size(picture)
        if config.decode:
            open_picture(picture, upright=False)
    except DataError as error:
        yield str(error)
    else:
        for sample in people:
            try:
                sample.placed(width, height, Reading())
            except DataError as error:
                yield str(error)
    if config.depth:
        try:
            (read_depth if config.decode else find_depth)(depth)
        except DataError as error:
            yield str(error)


def command(config: CheckConfig) -> int:
    """`gaze-da prepare check`; 1 where something cannot be used."""
    found = {split: check(config, split) for split in config.splits}
    for name, of_split in found.items():
        for what, count in of_split.counts.items():
            say(f"{name:<6} {what:<40} {count:>9}")
    for of_split in found.values():
        for problem in of_split.problems:
            say(problem)
    if config.out is not None:
        write_json(
            config.out,
            {s: {"counts": f.counts, "problems": f.problems} for s, f in found.items()},
        )
        say(f"written to {config.out}")
    return int(any(of_split.problems for of_split in found.values()))
