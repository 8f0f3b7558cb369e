"""What every `predict` does beside its network: where results go, and which are there already."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Protocol, TypeVar

from torch import nn

from shared_core.data.tables import read_json
from shared_core.errors import DataError, UsageError, UserError

DEPENDS_ON = "depends_on"
"""Key of a result's JSON under which stands what it was made of."""


def make_writable(folder: Path) -> None:
    """Make a folder and see that files can be written there, before hours are spent on results.

    Raises:
        DataError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise DataError(
            folder,
            f"cannot be written ({error.strerror or error})",
            remedy="Choose another folder: --out.",
        ) from error


def beginnings(sources: Sequence[Path], out: Path) -> dict[Path, Path]:
    """How the files about each source begin: `out/clip`, or `out/clip.mov` where a `clip.jpg` is beside it.

    Raises:
        UsageError: two files have one name; names both.
    """
    count = Counter(source.stem for source in sources)
    found = {
        source: out / (source.stem if count[source.stem] == 1 else source.name)
        for source in sources
    }
    seen: dict[Path, Path] = {}
    for source, begin in found.items():
        other = seen.setdefault(begin, source)
        if other is not source:
            raise UsageError(
                f"{other} and {source} would write the same files.\nGive them to two commands, with "
                "two --out folders."
            )
    return found


def digest(model: nn.Module) -> str:
    """What tells a network from one that was trained further and saved under the same name."""
    found = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        found.update(name.encode())
        found.update(tensor.cpu().contiguous().numpy())
    return found.hexdigest()[:16]


def is_finished(result: Path, depends_on: Mapping[str, Any]) -> bool:
    """Whether a result's JSON is there, whole, and was made of the same things."""
    if not result.is_file():
        return False
    try:
        content = read_json(result)
    except DataError:
        return False
    return isinstance(content, dict) and content.get(DEPENDS_ON) == depends_on


class Named(Protocol):
    """A file, or anything else that a command works on."""

    @property
    def name(self) -> str:
        """How it is called in messages."""


Source = TypeVar("Source", bound=Named)


def each(
    sources: Sequence[Source],
    work: Callable[[Source, str], None],
    failed: Callable[[Source, UserError], None],
    *,
    program: str,
) -> int:
    """Work on each source by itself: one that cannot be used does not stop the others.

    Args:
        sources: files, or what else has a name.
        work: takes one and how it is called in messages, such as `[2/7] clip.mp4`.
        failed: is told of a file that cannot be used, after the message was printed.
        program: begins each message.

    Returns:
        The exit status: 1 where a file could not be used.
    """
    status = 0
    for number, source in enumerate(sources, 1):
        name = f"[{number}/{len(sources)}] {source.name}"
        try:
            work(source, name)
        except UserError as error:
            status = 1
            sys.stderr.write(f"{program}: {name}: {error}\n")
            failed(source, error)
    return status
