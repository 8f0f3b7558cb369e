"""The core's readers as a program whose words are a reader and a file; see `forks`.

It ends as a package's program does: 0 where the file is read, 1 or 2 with one message, and with a
traceback where the reader has a fault.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

from shared_core.checkpoints.weights import load_legacy
from shared_core.config import load_yaml
from shared_core.data.archives import unpack
from shared_core.data.features import FeatureFile, check_finite
from shared_core.data.images import read_image
from shared_core.data.tables import read_csv, read_json, read_jsonl
from shared_core.data.video import frames
from shared_core.errors import DataError, UserError
from shared_core.testing.tiny_config import TinyConfig

LENGTH = 12
"""Labelled frames of the one video of a feature file."""


def _features(path: str) -> None:
    file = FeatureFile(Path(path))
    for key in file.keys:
        if file.length(key) != LENGTH:
            raise DataError(path, f"{file.length(key)}", where=key, expected=f"{LENGTH} rows")
        check_finite(file.read(key), path, key)


def _table(path: str) -> None:
    deque(read_csv(Path(path), {"path": str, "score": float}), maxlen=0)


READERS: dict[str, Callable[[str], object]] = {
    "json": lambda path: read_json(Path(path)),
    "jsonl": lambda path: deque(read_jsonl(Path(path)), maxlen=0),
    "csv": _table,
    "yaml": lambda path: load_yaml(TinyConfig, Path(path)),
    "image": lambda path: read_image(Path(path)),
    "video": lambda path: deque(frames(Path(path)), maxlen=0),
    "features": _features,
    "archive": lambda path: unpack(Path(path), Path(path).with_name("unpacked") / "here"),
    "weights": lambda path: load_legacy(Path(path)),
}
"""What opens a file, by its kind."""


def main(words: list[str]) -> int:
    """Read one file; the exit status."""
    kind, path = words
    try:
        READERS[kind](path)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    return 0
