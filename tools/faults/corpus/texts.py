"""Hostile JSON, CSV and YAML: text that crashes, hangs, swells, names other files or draws itself."""

from __future__ import annotations

MEBIBYTE = 2**20
SCRIPT = "<script>alert(1)</script>"
"""Must stand in a page of HTML only escaped."""
ATTRIBUTE = '"onmouseover="alert(2)'
"""Must not end the attribute that it stands in."""
FORMULAS = ("=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1+1", '=HYPERLINK("http://a.example","b")')
"""What a spreadsheet takes for a formula."""
LEFTWARDS = "\u202egnp.exe"
"""Looks as if it ended in .png."""

_DEEP = 1_000_000

VALUES: dict[str, bytes] = {
    "NaN": b"NaN",
    "-Infinity": b"-Infinity",
    "1e999": b"1e999",
    "a number of 5000 digits": b"9" * 5000,
    "a fraction of a million digits": b"0." + b"3" * 10**6,
    "lists, a million deep": b"[" * _DEEP + b"]" * _DEEP,
    "objects, a million deep": b'{"a":' * _DEEP + b"1" + b"}" * _DEEP,
    "lists, not closed": b"[" * _DEEP,
    "a lone surrogate": b'"\\ud800"',
    "a NUL": b'"a\\u0000b"',
    "a bare NUL": b'"a\0b"',
    "no UTF-8": b'"\xff\xfe"',
    "text cut short": b'"abc',
    "an object with a name twice": b'{"a": 1, "a": 2}',
    "null": b"null",
    "true": b"true",
    "an empty list": b"[]",
    "an empty object": b"{}",
    "a million commas": b"[" + b"," * _DEEP + b"]",
    "text of 20 MiB": b'"' + b"a" * (20 * MEBIBYTE) + b'"',
    "a formula": b"\"=cmd|' /C calc'!A0\"",
    "a name that runs leftwards": f'"{LEFTWARDS}"'.encode(),
    "a path that climbs": b'"../../../../etc/passwd"',
    "a device": b'"/dev/zero"',
    "a script": f'"{SCRIPT}"'.encode(),
}
"""Hostile values in the words of JSON; each may stand where a value of a row is expected."""

REFUSED = (
    "NaN", "-Infinity", "1e999", "a number of 5000 digits", "lists, a million deep",
    "objects, a million deep", "lists, not closed", "a bare NUL", "no UTF-8", "text cut short",
    "an object with a name twice", "a million commas", "a lone surrogate",
)  # fmt: skip
"""Those that are no JSON, or none that the house reads, wherever they stand."""

BROKEN_JSON: dict[str, bytes] = {
    "nothing": b"",
    "two documents": b"{} {}",
    "single quotes": b"{'a': 1}",
    "a comma at the end": b"[1,]",
    "a comment": b"[1] // one",
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "html": b"<!doctype html><title>404</title>",
}
"""Text that is no JSON as a whole."""


def csv_texts(header: str, row: str) -> dict[str, bytes]:
    """Hostile tables under a header.

    Args:
        header: names of the columns.
        row: a line that could be read; its first field is the one that becomes hostile.
    """
    rest = row.partition(",")[2]
    fields = {
        "a formula": FORMULAS[0],
        "a NUL": "a\0b",
        "a quote that does not close": '"a',
        "a quote inside": 'a"b',
        "20 MiB in a field": "a" * (20 * MEBIBYTE),
        "a name that runs leftwards": LEFTWARDS,
        "a path that climbs": "../../../../etc/passwd",
        "a device": "/dev/zero",
        "a script": SCRIPT,
        "nothing in a field": "",
        "a name of 5000 letters": "a" * 5000,
    }
    whole = {name: f"{header}\n{field},{rest}\n".encode() for name, field in fields.items()}
    first, *others = row.split(",")
    numbers = {
        f"{number[:9]} for every number": ",".join([first, *[number] * len(others)])
        for number in ("nan", "inf", "1e999", "-1e308", "9" * 5000)
    }
    filled = {name: f"{header}\n{line}\n".encode() for name, line in numbers.items()}
    return (
        whole
        | filled
        | {
            "no bytes": b"",
            "a header alone": f"{header}\n".encode(),
            "no UTF-8": f"{header}\n".encode() + b"\xff\xfe,1\n",
            "utf-16": f"{header}\n{row}\n".encode("utf-16"),
            "a header twice": f"{header},{header}\n{row},{row}\n".encode(),
            "too few fields": f"{header}\nx\n".encode(),
            "too many fields": f"{header}\n{row},1,2,3\n".encode(),
            "a million empty lines": f"{header}\n".encode() + b"\n" * 10**6,
            "a million commas": f"{header}\n".encode() + b"," * 10**6 + b"\n",
            "a million quotes": f"{header}\n".encode() + b'"' * 10**6 + b"\n",
            "carriage returns alone": f"{header}\r{row}\r".encode(),
        }
    )


REFUSED_TABLES = (
    "a NUL", "a quote that does not close", "20 MiB in a field", "nan for every number",
    "inf for every number", "1e999 for every number", "no bytes", "no UTF-8", "utf-16",
    "a header twice", "too few fields", "too many fields", "a million commas",
)  # fmt: skip
"""Those of `csv_texts` that no table may hold."""


YAML: dict[str, bytes] = {
    "a tag that calls": b"seed: !!python/object/apply:os.system ['touch CANARY']\n",
    "a tag of an object": b"seed: !!python/object:builtins.dict {}\n",
    "a tag of a module": b"seed: !!python/module:os ''\n",
    "a bomb of aliases": (
        b"a: &a [x, x, x, x, x, x, x, x, x]\n"
        + b"".join(
            b"%c: &%c [%s]\n" % (98 + n, 98 + n, b", ".join([b"*%c" % (97 + n)] * 9))
            for n in range(9)
        )
    ),
    "an alias of itself": b"a: &a [*a]\n",
    "a merge": b"a: &a {seed: 1}\nb:\n  <<: *a\n",
    "lists, 30 000 deep": b"a: " + b"[" * 30_000 + b"]" * 30_000 + b"\n",
    "maps, 5000 deep": b"".join(b" " * n + b"a:\n" for n in range(300)),
    "NaN": b"seed: .nan\n",
    "1e999": b"seed: 1e999\n",
    "a number of 5000 digits": b"seed: " + b"9" * 5000 + b"\n",
    "a name twice": b"seed: 1\nseed: 2\n",
    "an unknown name": b"sed: 1\n",
    "a NUL": b"seed: a\0b\n",
    "no UTF-8": b"seed: \xff\xfe\n",
    "a lone surrogate": b'seed: "\\ud800"\n',
    "two documents": b"seed: 1\n---\nseed: 2\n",
    "a list": b"- seed\n",
    "text alone": b"seed\n",
    "a list as a name": b"? [a, b]\n: 1\n",
    "tabs": b"\tseed: 1\n",
    "30 MiB": b"# " + b"a" * (30 * MEBIBYTE) + b"\nseed: 1\n",
    "a script": f"{SCRIPT}: 1\n".encode(),
}
"""Hostile settings."""

READ_SETTINGS = ("a tag of nothing",)
"""Those that may be read."""
