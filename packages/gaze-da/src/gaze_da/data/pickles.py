"""Pickled annotations, read without running anything in them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from shared_core.errors import DataError

MAX_BYTES = 2**30
"""Size of the largest file that is read."""

_NUMPY = {
    "_reconstruct": np.ndarray.__reduce__(np.empty(0))[0],
    "scalar": np.float64(0).__reduce__()[0],
    "_frombuffer": np.empty(0).__reduce_ex__(5)[0],
    "ndarray": np.ndarray,
    "dtype": np.dtype,
}
"""What arrays and numbers of numpy are rebuilt with, under the names of its versions 1 and 2."""

_NUMPY_MODULES = {
    "numpy",
    *(f"numpy.{core}.{part}" for core in ("core", "_core") for part in ("multiarray", "numeric")),
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module in _NUMPY_MODULES and name in _NUMPY:
            return _NUMPY[name]
        if (module, name) == ("_codecs", "encode"):  # how Python 2 wrote bytes
            return _encoded
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _encoded(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding}")
    return text.encode("latin1")


def read_pickled_dicts(path: Path) -> list[dict[str, Any]]:
    """Read a pickled list of dicts that holds containers, text, numbers and arrays alone.

    Raises:
        DataError: the file is missing, too large or damaged, asks for anything that could run, or
            holds something else.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(path, f"{path.stat().st_size}", expected=f"at most {MAX_BYTES} bytes")
        with path.open("rb") as file:
            content = _Reader(file, encoding="latin1").load()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})") from error
    except (
        pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, KeyError,
        AttributeError, ImportError, MemoryError, OverflowError, RecursionError,
    ) as error:  # fmt: skip
        raise DataError(
            path,
            f"it is damaged, or more than containers, text, numbers and arrays ({error})",
            remedy="Nothing in it was run. Download it again, or write the annotations as JSON lines.",
        ) from error
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise DataError(path, type(content).__name__, expected="a pickled list of dicts")
    return content
