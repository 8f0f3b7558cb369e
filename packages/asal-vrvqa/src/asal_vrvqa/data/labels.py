"""The labels of VR-VQW, or of any data in its layout: clips, their scores, their scene categories.

    infoAB_all.csv            VideoName,MOS          7_A_A_Bay.mp4,3.47
    categorized_videos.csv    video_names,category   A_Bay.mp4,Landscape    (or .xlsx, as published)

A clip's name says how long it is watched (7 or 15 seconds), from which start direction (A or B), and
which source video it is.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from asal_vrvqa.config import Scale
from shared_core.data.quarantine import Quarantine
from shared_core.data.tables import read_records
from shared_core.errors import DataError

LABELS = "infoAB_all.csv"
CATEGORIES = ("categorized_videos.csv", "categorized_videos.xlsx")
CONDITIONS = ("7_A", "7_B", "15_A", "15_B")
"""Viewing time and start, in the authors' order."""

_NAME = re.compile(r"(7|15)_([AB])_(.+)")
_LARGEST_XML = 64 << 20
_SCORE_NAMES = ("MOS", "score")
_CATEGORY_NAMES = (("video_names", "Video Names"), ("category", "Category"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A source video, watched for some seconds from a start direction.

    Attributes:
        name: such as 7_A_A_Bay.mp4; unique.
        seconds: viewing time, 7 or 15.
        start: start direction, A or B.
        source: the video; its clips are not independent of each other.
        score: mean opinion score, or what else the labels hold.
        category: kind of scene; empty where nobody says.
    """

    name: str
    seconds: int
    start: str
    source: str
    score: float
    category: str = ""

    @property
    def folder(self) -> str:
        """Its frame folder, which both viewing times share."""
        return f"{self.start}_{self.source}"

    @property
    def condition(self) -> str:
        """Viewing time and start, such as 15_A."""
        return f"{self.seconds}_{self.start}"

    @property
    def step(self) -> int:
        """Seconds from one of its frames to the next."""
        return 1 if self.seconds == 7 else 2


def parse_name(name: str, path: Path, where: str) -> tuple[int, str, str]:
    """Viewing time, start and source of a clip's name.

    Raises:
        DataError: it is not of the form 7_A_<source> or 15_B_<source>.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise DataError(
            path,
            repr(name),
            where=where,
            expected="a name of the form 7_A_<video>, 7_B_, 15_A_ or 15_B_<video>",
        )
    return int(match[1]), match[2], match[3]


def read_clips(
    folder: Path, scale: Scale | None = None, quarantine: Quarantine | None = None
) -> list[Clip]:
    """All clips of a labels folder, in the order of the file.

    Args:
        folder: with `infoAB_all.csv`, and the categories where there are any.
        scale: range of the scores; one outside of it is an error. None: MOS, 1 to 5.
        quarantine: what to do with rows that cannot be used; None: the first is raised.

    Raises:
        DataError: a file or column is missing; a name, score or category cannot be used.
    """
    path = folder / LABELS
    quarantine = quarantine or Quarantine("raise")
    categories = read_categories(folder)
    records = list(_table(path, (("VideoName",), _SCORE_NAMES)))
    clips: dict[str, Clip] = {}
    for line, (name, text) in records:
        try:
            clip = _clip(path, f"row {line}", name, text, scale or Scale(), categories)
            if name in clips:
                raise DataError(path, "a second row of it", where=f"row {line}, {name}")
        except DataError as error:
            quarantine.bad(error, of=len(records))
            continue
        clips[name] = clip
    if not clips:
        raise DataError(path, "no clips", expected="a row for each: VideoName,MOS")
    return list(clips.values())


def _clip(
    path: Path, where: str, name: str, text: str, scale: Scale, categories: dict[str, str]
) -> Clip:
    seconds, start, source = parse_name(name, path, where)
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not scale.low <= score <= scale.high:
        raise DataError(
            path,
            repr(text),
            where=f"{where}, {name}",
            expected=f"a score ({scale.name}) from {scale.low:g} to {scale.high:g}",
            remedy="Mend the row, or declare another range: --scale.low, --scale.high.",
        )
    return Clip(
        name=name,
        seconds=seconds,
        start=start,
        source=source,
        score=score,
        category=categories.get(source, ""),
    )


def read_categories(folder: Path) -> dict[str, str]:
    """Scene category of each source; empty where the folder has no such file.

    Reads a CSV, or the workbook as it is published, with either spelling of the headers.

    Raises:
        DataError: the file is damaged, or lacks a column.
    """
    path = next((folder / name for name in CATEGORIES if (folder / name).is_file()), None)
    if path is None:
        return {}
    if path.suffix == ".csv":
        return {source: category for _, (source, category) in _table(path, _CATEGORY_NAMES)}
    rows = list(_sheet(path))
    columns = _columns(path, rows[0] if rows else [], _CATEGORY_NAMES)
    return {row[columns[0]]: row[columns[1]] for row in rows[1:] if len(row) > max(columns)}


def _table(path: Path, names: Sequence[Sequence[str]]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line numbers, and fields of the columns that have one of each set of names."""
    records = read_records(path)
    _, header = next(records, (1, []))
    columns = _columns(path, header, names)
    for line, fields in records:
        if not any(fields):
            continue
        if len(fields) <= max(columns):
            raise DataError(
                path, f"{len(fields)} fields", where=f"row {line}", expected=f"{len(header)}"
            )
        yield line, tuple(fields[column].strip() for column in columns)


def _columns(path: Path, header: Sequence[str], names: Sequence[Sequence[str]]) -> list[int]:
    stripped = [field.strip().removeprefix("\ufeff") for field in header]
    found = []
    for spellings in names:
        column = next((stripped.index(name) for name in spellings if name in stripped), None)
        if column is None:
            wanted = " or ".join(spellings)
            raise DataError(path, f"{stripped}", where="header", expected=f"a column {wanted}")
        found.append(column)
    return found


def _sheet(path: Path) -> Iterator[list[str]]:
    """Rows of a workbook's first sheet, as text.

    Libraries refuse the published file because of an attribute that its program writes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            texts = _texts(_member(archive, path, "xl/sharedStrings.xml"), "si")
            sheet = _member(archive, path, "xl/worksheets/sheet1.xml")
        yield from _rows(sheet, texts)
    except (zipfile.BadZipFile, KeyError, IndexError, ValueError, expat.ExpatError) as error:
        raise DataError(
            path,
            f"no workbook that can be read ({error})",
            remedy="Save it as categorized_videos.csv with the headers video_names,category.",
        ) from error


def _member(archive: zipfile.ZipFile, path: Path, name: str) -> bytes:
    size = archive.getinfo(name).file_size
    if size > _LARGEST_XML:
        raise DataError(path, f"{size} bytes", where=name, expected=f"at most {_LARGEST_XML}")
    return archive.read(name)


def _texts(xml: bytes, element: str) -> list[str]:
    """The text inside each element of this name."""
    found: list[str] = []
    reading = _Reading(xml)
    for tag, _, text in reading.elements(element):
        if tag == element:
            found.append(text)
    return found


def _rows(xml: bytes, texts: Sequence[str]) -> Iterator[list[str]]:
    row: dict[int, str] = {}
    for tag, attributes, text in _Reading(xml).elements("c", "row"):
        if tag == "c":
            shared = attributes.get("t") == "s"
            row[_column(attributes["r"])] = texts[int(text)] if shared and text else text
        else:
            yield [row.get(column, "").strip() for column in range(max(row, default=-1) + 1)]
            row = {}


def _column(reference: str) -> int:
    """0 for A7, 26 for AA7."""
    number = 0
    for letter in reference.rstrip("0123456789"):
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


class _Reading:
    """A small reader of XML that refuses entities, with which a file could blow itself up."""

    def __init__(self, xml: bytes) -> None:
        self._found: list[tuple[str, dict[str, str], str]] = []
        self._open: list[tuple[str, dict[str, str], list[str]]] = []
        self._xml = xml

    def elements(self, *names: str) -> list[tuple[str, dict[str, str], str]]:
        """Name, attributes and text of the elements of these names, as they end."""
        parser = expat.ParserCreate()
        parser.EntityDeclHandler = self._refuse
        parser.StartElementHandler = lambda name, attributes: self._begin(names, name, attributes)
        parser.CharacterDataHandler = self._text
        parser.EndElementHandler = lambda name: self._end(names, name)
        parser.Parse(self._xml, True)
        return self._found

    def _begin(self, names: tuple[str, ...], name: str, attributes: dict[str, str]) -> None:
        if name in names:
            self._open.append((name, attributes, []))

    def _text(self, text: str) -> None:
        for _, _, pieces in self._open:
            pieces.append(text)

    def _end(self, names: tuple[str, ...], name: str) -> None:
        if name in names:
            tag, attributes, pieces = self._open.pop()
            self._found.append((tag, attributes, "".join(pieces)))

    def _refuse(self, *_: object) -> NoReturn:
        raise ValueError("it declares entities")
