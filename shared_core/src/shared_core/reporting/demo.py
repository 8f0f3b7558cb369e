"""What every demo does beside its method: its folder, an interval over seeds, and what it tells."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from scipy import stats

from shared_core.commands import say
from shared_core.errors import DataError, RunFolderError
from shared_core.files import replace_file
from shared_core.launch.environment import devices
from shared_core.launch.ranks import cores
from shared_core.metrics.measure import Measure
from shared_core.reporting.demo_file import Demo, Picture
from shared_core.reporting.figures import Svg
from shared_core.reporting.page import MEDIA_TYPES, Page, Section
from shared_core.reporting.report import REPORT

_PICTURES = "pictures"
_LARGEST = 4 << 20  # bytes of a picture


def is_demo(folder: Path, program: str) -> bool:
    """Whether a folder is one that a program's demo has made."""
    return _mark(folder, program).is_file()


def clear(folder: Path, program: str) -> None:
    """Empty a folder of what an earlier demo left, and never of anything else.

    Raises:
        RunFolderError: the folder holds something that no demo wrote.
    """
    if folder.exists() and any(folder.iterdir()) and not is_demo(folder, program):
        raise RunFolderError(f"{folder}: this folder is no earlier demo's. Choose another --out.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    text = "This folder is replaced by the next demo.\n"
    _mark(folder, program).write_text(text, encoding="utf-8")


def _mark(folder: Path, program: str) -> Path:
    return folder / f".{program}-demo"


def over_seeds(values: Sequence[float], *, higher_is_better: bool = True) -> Measure:
    """Mean of one value per seed, with its 95 % interval (Student's t).

    Raises:
        ValueError: fewer than two values have no interval.
    """
    if len(values) < 2:
        raise ValueError("an interval over seeds needs two seeds or more")
    mean = float(np.mean(values))
    error = float(np.std(values, ddof=1)) / len(values) ** 0.5
    reach = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return Measure(
        value=mean, low=mean - reach, high=mean + reach, higher_is_better=higher_is_better
    )


class _Sized(Protocol):
    def numel(self) -> int: ...


class _Module(Protocol):
    def parameters(self) -> Iterable[_Sized]: ...


def parameters_of(model: _Module) -> int:
    """How many numbers a model has learnt; those that two layers share count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def machine(device: str) -> str:
    """What a demo ran on, in words: the GPU's name, or the CPU's cores.

    Args:
        device: `cpu` or `cuda` (see `shared_core.launch.devices.chosen_device`).
    """
    if device != "cpu" and (found := devices()):
        return str(found[0]["name"])
    return f"{cores()} CPU cores"


def write_picture(
    folder: Path, name: str, content: bytes | Svg, *, alt: str, caption: str
) -> Picture:
    """Keep a picture of the report as a file, from which the index of all demos takes it.

    Args:
        folder: the demo's folder.
        name: of the file, without its suffix.
        content: a PNG's bytes, or what `reporting.figures` drew.
        alt: what it shows, for who cannot see it.
        caption: below it.

    Raises:
        OSError: it cannot be written.
    """
    drawn = isinstance(content, Svg)
    file = f"{_PICTURES}/{name}.{'svg' if drawn else 'png'}"
    (folder / _PICTURES).mkdir(exist_ok=True)
    replace_file(folder / file, content.as_file() if isinstance(content, Svg) else content)
    return Picture(file=file, alt=alt, caption=caption)


def add_picture(section: Section, folder: Path, picture: Picture) -> None:
    """Put a kept picture into a page.

    Raises:
        DataError: it is absent, too large, or leads out of the demo's folder.
    """
    path = folder / picture.file
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(path, "a link out of it", expected="a picture below the demo's folder")
    try:
        if (size := path.stat().st_size) > _LARGEST:
            raise DataError(path, f"{size} bytes", expected=f"a picture of at most {_LARGEST}")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})") from error
    section.picture(content, MEDIA_TYPES[path.suffix], alt=picture.alt, caption=picture.caption)


def publish(folder: Path, page: Page, demo: Demo) -> None:
    """Write a demo's report and what it tells the index, and say what may be claimed.

    Raises:
        DataError: something cannot be written.
        MissingExtraError: the extra `report` is not installed.
    """
    path = page.write(folder / REPORT)
    demo.write(folder)
    for claim in demo.claims:
        say(claim)
    say(f"{demo.seconds:.0f} s; open {path}")
