"""Tables and records as text: CSV, JSON, JSON lines; errors name the line, writing is whole.

What is read may come from anywhere, so sizes are limited and a value that JSON cannot express (NaN,
1e999) is refused; what is written never holds one: NaN becomes null.
"""

from __future__ import annotations

import csv
import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TextIO

from shared_core.data.atomic import replacing
from shared_core.errors import DataError
from shared_core.files import as_text

MAX_LINE = 16 * 2**20
"""Characters of the longest line that is read."""
MAX_JSON = 2**30
"""Bytes of the largest JSON file that is read."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_COMPUTED = ("=", "+", "-", "@", "\t", "\r")  # how a formula begins
_QUOTED_OR_CONSTANT = re.compile(r'"(?:[^"\\]++|\\.)*+"|(-?Infinity|NaN)', re.DOTALL)


class Row(NamedTuple):
    """A line of a table: its number in the file, from 1, and its values by column."""

    line: int
    values: dict[str, Any]


def read_csv(
    path: Path | str, columns: Mapping[str, Callable[[str], Any]], *, delimiter: str = ","
) -> Iterator[Row]:
    """Read named columns of a CSV file with a header, row by row; other columns are passed over.

    Args:
        path: UTF-8, with or without a byte order mark.
        columns: {name: type}, the type being `str`, `int`, `float` (finite), or any function that
            takes the text and raises ValueError for what it does not accept.
        delimiter: what stands between the fields; spaces after it are dropped.

    Yields:
        `Row(line, {name: value})`, the line being the one that the row ends on.

    Raises:
        DataError: the file is missing, not UTF-8, without one of the columns, or a row has too few
            or too many fields or a value of another type; names the line and the column.
    """
    path = Path(path)
    records = read_records(path, delimiter=delimiter)
    header = [name.strip() for name in next(records, (0, []))[1]]
    places = _places(path, header, columns)
    for line, fields in records:
        if len(fields) != len(header):
            raise DataError(
                path,
                f"{len(fields)}",
                where=f"line {line}",
                expected=f"{len(header)} fields, as in the header",
            )
        yield Row(
            line,
            {
                name: _convert(path, line, name, columns[name], fields[place])
                for name, place in places.items()
            },
        )


def read_records(path: Path | str, *, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Read the fields of a CSV file without a header, row by row; blank lines are passed over.

    Yields:
        The line that the row ends on, from 1, and its fields as text.

    Raises:
        DataError: the file is missing or not UTF-8, or its quotes do not close.
    """
    path = Path(path)
    with _opened(path) as file:
        # What the csv module objects to is found here first, with a limit of our own.
        reader = csv.reader(
            _lines(path, file), delimiter=delimiter, skipinitialspace=True, strict=True
        )
        while (fields := _next_record(path, reader)) is not None:
            if fields:
                yield reader.line_num, fields


def read_json(path: Path | str) -> Any:
    """Read a JSON file; refuses NaN, infinities, repeated names, and what is too large or too deep.

    Raises:
        DataError: names the file, and the line and column where there is one.
    """
    path = Path(path)
    with _opened(path) as file:
        if path.stat().st_size > MAX_JSON:
            raise DataError(path, f"{path.stat().st_size}", expected=f"at most {MAX_JSON} bytes")
        try:
            text = file.read()
        except UnicodeDecodeError as error:
            raise _not_utf8(path, error) from error
    return _parse(path, text, "")


def read_jsonl(path: Path | str) -> Iterator[tuple[int, Any]]:
    """Read a JSON lines file: (line number from 1, value) for each line that is not blank.

    Raises:
        DataError: as `read_json`, naming the line.
    """
    path = Path(path)
    with _opened(path) as file:
        for number, line in enumerate(_lines(path, file), start=1):
            if line.strip():
                yield number, _parse(path, line, f"line {number}")


def write_csv(path: Path | str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV file with a header, whole or not at all; None and NaN become empty fields.

    A text that a spreadsheet would compute, such as the name of a file that begins with `=`, has a `'` before
    it, by which a spreadsheet knows text.

    Raises:
        DataError: the file cannot be written.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_cell(row[name]) for name in columns])


def write_json(path: Path | str, value: Any) -> None:
    """Write a JSON file, indented, whole or not at all; see `jsonable` for what becomes of values.

    Raises:
        DataError: the file cannot be written.
    """
    with replacing(path) as temporary:
        text = json.dumps(jsonable(value), indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def write_jsonl(path: Path | str, values: Iterable[Any]) -> None:
    """Write a JSON lines file, whole or not at all; `values` may be a generator.

    Raises:
        DataError: the file cannot be written.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for value in values:
            file.write(json.dumps(jsonable(value), ensure_ascii=False, allow_nan=False) + "\n")


def _cell(value: Any) -> Any:
    plain = jsonable(value)
    if not isinstance(plain, str) or not plain.startswith(_COMPUTED):
        return plain
    try:
        float(plain)
    except ValueError:
        return f"'{plain}"
    return plain  # a number with its sign


def jsonable(value: Any) -> Any:
    """A value as JSON has it: NaN and infinities None, paths text, arrays and tuples lists.

    What UTF-8 cannot hold is escaped (`shared_core.files.as_text`).

    Raises:
        TypeError: a type that JSON has no word for.
    """
    if isinstance(value, str | Path):
        return as_text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {as_text(str(key)): jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(inner) for inner in value]
    if hasattr(value, "tolist"):  # numpy's and torch's arrays and scalars
        return jsonable(value.tolist())
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _opened(path: Path) -> TextIO:
    try:
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})") from error


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    number = 1
    try:
        while line := file.readline(MAX_LINE + 1):
            where = f"line {number}"
            if len(line) > MAX_LINE:
                raise DataError(path, "more", where=where, expected=f"{MAX_LINE} characters")
            if "\0" in line:
                raise DataError(path, "a NUL byte", where=where, expected="text")
            yield line
            number += 1
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from error


def _not_utf8(path: Path, error: UnicodeDecodeError) -> DataError:
    byte = error.object[error.start]
    return DataError(
        path, f"the byte 0x{byte:02x}", expected="UTF-8 text", remedy="Save it as UTF-8."
    )


def _next_record(path: Path, reader: Any) -> list[str] | None:
    try:
        record: list[str] | None = next(reader, None)
    except csv.Error as error:
        raise DataError(path, f"{error}", where=f"line {reader.line_num}") from error
    return record


def _places(path: Path, header: list[str], columns: Iterable[str]) -> dict[str, int]:
    for name in columns:
        if header.count(name) == 1:
            continue
        if name in header:
            raise DataError(path, f"two columns {name!r}", where="line 1")
        near = difflib.get_close_matches(name, header, n=1)
        raise DataError(
            path,
            f"{', '.join(header) or 'none'}" + (f" (nearest: {near[0]!r})" if near else ""),
            where="line 1",
            expected=f"a column {name!r}",
        )
    return {name: header.index(name) for name in columns}


def _convert(path: Path, line: int, name: str, kind: Callable[[str], Any], text: str) -> Any:
    try:
        return _number(text) if kind is float else kind(text)
    except ValueError as error:
        known = {float: "a finite number", int: "a whole number"}
        raise DataError(
            path,
            repr(text[:80]),
            where=f"line {line}, column {name}",
            expected=known.get(kind, f"a value ({error})"),  # type: ignore[call-overload]
        ) from error


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value


def _parse(path: Path, text: str, where: str) -> Any:
    try:
        value = json.loads(
            text, parse_constant=_refuse, parse_float=_number, object_pairs_hook=_distinct
        )
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError as error:
        raise DataError(path, "it is nested too deeply", where=where) from error
    except json.JSONDecodeError as error:
        place = where or f"line {error.lineno}"
        raise DataError(
            path, error.msg, where=f"{place}, column {error.colno}", expected="JSON"
        ) from error
    except _ConstantError as error:
        place = _place_of_constant(text, where)
        raise DataError(path, f"{error}", where=place, expected="JSON") from error
    except UnicodeEncodeError as error:
        raise DataError(path, "half a character", where=where, expected="text") from error
    except ValueError as error:
        raise DataError(path, f"{error}", where=where, expected="JSON") from error


def _place_of_constant(text: str, where: str) -> str:
    """The place of the first NaN or infinity outside of quotes."""
    found = next(match for match in _QUOTED_OR_CONSTANT.finditer(text) if match[1])
    line = text.count("\n", 0, found.start()) + 1
    column = found.start() - text.rfind("\n", 0, found.start())
    return f"{where or f'line {line}'}, column {column}"


class _ConstantError(ValueError):
    """NaN or an infinity."""


def _refuse(constant: str) -> NoReturn:
    raise _ConstantError(f"{constant}, which JSON does not have")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} twice in one object")
    return result
