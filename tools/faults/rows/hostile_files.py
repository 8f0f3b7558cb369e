"""Damaged and hostile files through the core's readers, which all packages read with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tools.faults.corpus import arrays, pictures, texts, videos
from tools.faults.corpus.archives import EVIL, hostile_archives
from tools.faults.corpus.forks import Ended, warm
from tools.faults.row import Options, Row, Trials, expect
from tools.faults.subject import Subject
from tools.faults.table import Figure

READERS = "tools.faults.corpus.readers"
LONGEST_S = 1.0
"""Processor seconds that one file may cost."""
LARGEST = 3
"""Times a file's size that refusing it may cost in memory, beyond `FREE_BYTES`."""
FREE_BYTES = 16 * 2**20
"""Memory that is not counted: buffers of the libraries, whatever the file."""


class Case(NamedTuple):
    """A file, and whether it may be read: there are whole files among the odd ones."""

    name: str
    path: Path
    may_be_read: bool = False


def _media(folder: Path) -> Iterator[tuple[str, Case]]:
    for number, (name, make) in enumerate(pictures.DAMAGED.items()):
        path = folder / f"picture{number}.png"
        path.write_bytes(make())
        yield "image", Case(f"picture: {name}", path)
    for number, (name, write) in enumerate(videos.DAMAGED.items()):
        path = folder / f"video{number}.mp4"
        write(path)
        yield "video", Case(f"video: {name}", path)
    for number, (name, fill) in enumerate(arrays.UNUSABLE.items()):
        path = folder / f"features{number}.h5"
        fill(path)
        yield "features", Case(f"HDF5: {name}", path)


def media(subject: Subject, options: Options) -> Figure:
    """Pictures, videos and feature files that cannot be used."""
    return _all("hostile-media", MEDIA_WANTED, subject, _media(options.folder))


def archives(subject: Subject, options: Options) -> Figure:
    """Archives that lead out of their folder, or are bombs."""
    trials = Trials("hostile-archive", subject, ARCHIVES_WANTED)
    longest = 0.0
    for name, path in hostile_archives(options.folder / "archives").items():
        before = _tree(options.folder)
        with trials.trial(name):
            ended = warm(READERS)("archive", path)
            longest = max(longest, ended.cpu)
            expect(ended.status == 1 and not ended.crashed, ended.last)
            expect(EVIL in ended.told.lower(), f"the member is not named: {ended.last}")
            left = _tree(options.folder) - before
            expect(not left, f"it left {sorted(map(str, left))[:3]}")
            expect(not list(Path("/tmp").glob(f"{EVIL}-faults*")), "it wrote outside")
    return trials.figure(f"most CPU {longest:.2f} s")


def _tree(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")} - {Path("archives/unpacked")}


def _texts(folder: Path) -> Iterator[tuple[str, Case]]:
    for kind, ending, cases in (
        ("json", "json", _json_texts()),
        ("jsonl", "jsonl", _json_lines()),
        ("csv", "csv", texts.csv_texts("path,score", "a.png,3.5").items()),
        ("yaml", "yaml", texts.YAML.items()),
    ):
        for number, (name, content) in enumerate(cases):
            path = folder / f"{kind}{number}.{ending}"
            path.write_bytes(content)
            yield kind, Case(f"{kind}: {name}", path, may_be_read=not _must_be_refused(kind, name))


def _json_texts() -> Iterable[tuple[str, bytes]]:
    yield from texts.BROKEN_JSON.items()
    for name, value in texts.VALUES.items():
        yield name, b'[{"image": ' + value + b', "solution": 3.5}]'


def _json_lines() -> Iterable[tuple[str, bytes]]:
    for name, value in texts.VALUES.items():
        yield name, b'{"image": "a.png", "solution": 3}\n{"image": ' + value + b"}\n"


def _must_be_refused(kind: str, name: str) -> bool:
    if kind in ("json", "jsonl"):
        return name in texts.REFUSED or name in texts.BROKEN_JSON
    if kind == "csv":
        return name in texts.REFUSED_TABLES
    return name not in texts.READ_SETTINGS


def text(subject: Subject, options: Options) -> Figure:
    """JSON, CSV and YAML."""
    return _all("hostile-text", TEXT_WANTED, subject, _texts(options.folder))


def _all(row: str, wanted: str, subject: Subject, cases: Iterable[tuple[str, Case]]) -> Figure:
    trials = Trials(row, subject, wanted)
    found: list[Ended] = []
    for kind, case in cases:
        with trials.trial(case.name):
            found.append(warm(READERS)(kind, case.path))
            _judge(found[-1], case)
    longest = max((one.cpu for one in found), default=0.0)
    largest = max((one.grown for one in found), default=0) / 2**20
    return trials.figure(f"most CPU {longest:.2f} s, most memory {largest:.0f} MiB")


def _judge(ended: Ended, case: Case) -> None:
    expect(not ended.crashed, f"it crashed: {ended.last}")
    allowed = (0, 1, 2) if case.may_be_read else (1, 2)
    expect(ended.status in allowed, f"it was not refused: {ended.last}")
    if ended.status:
        expect(case.path.name in ended.told, f"the file is not named: {ended.last}")
        expect(videos.SECRET not in ended.told, "another file was read")
        size = case.path.stat().st_size
        expect(
            ended.grown <= LARGEST * size + FREE_BYTES,
            f"{ended.grown} bytes of memory for a file of {size}",
        )
    expect(ended.cpu <= LONGEST_S, f"{ended.cpu:.2f} s of CPU")


MEDIA_WANTED = "refused by name, within 1 s of CPU and 3x memory"
ARCHIVES_WANTED = "0 bytes outside or left, member named"
TEXT_WANTED = "0 crashes, none > 1 s of CPU, refused within 3x memory"

ROWS = (
    Row(name="hostile-media", wanted=MEDIA_WANTED, run=media, per_package=False),
    Row(name="hostile-archive", wanted=ARCHIVES_WANTED, run=archives, per_package=False),
    Row(name="hostile-text", wanted=TEXT_WANTED, run=text, per_package=False),
)
