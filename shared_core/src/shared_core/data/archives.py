"""Archives from anywhere, unpacked into one folder: all of it, or an error and nothing.

Only plain files and folders come out, with ordinary rights. Links, devices and names that lead
elsewhere are refused: a data set needs none of them.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, Literal, NamedTuple, cast

from shared_core.errors import DataError

FREE_BYTES = 64 * 2**20
"""Unpacked bytes that every archive may have, however small it is."""
MEMBER_BYTES = 512
"""What a member counts for besides its content: millions of empty files are a bomb as well."""
CHUNK_BYTES = 2**20

# What the readers raise; zipfile has RuntimeError for a missing password or an unknown method.
_DAMAGE = (
    OSError, EOFError, RuntimeError, zlib.error, LZMAError, tarfile.TarError, zipfile.BadZipFile
)  # fmt: skip


class _Member(NamedTuple):
    """One entry of an archive; `open` gives the content of a file."""

    name: str
    kind: Literal["file", "folder", "link", "device"]
    open: Callable[[], IO[bytes]]


def unpack(
    archive: Path | str, folder: Path | str, *, max_bytes: int = 2**40, max_ratio: float = 200.0
) -> Path:
    """Unpack a tar (plain, gzip, bzip2, xz) or zip archive into a new folder.

    The members go to a temporary folder beside it, which is renamed when it is complete.

    Args:
        archive: the archive; its kind is read from its content.
        folder: where to; must not exist, or be empty.
        max_bytes: limit of the unpacked size.
        max_ratio: limit of the unpacked size as a multiple of the archive's, beyond 64 MiB.

    Returns:
        The folder.

    Raises:
        DataError: the archive is damaged, encrypted or too large, or a member is a link or a
            device, leads out of the folder, or falls on another one where capitals do not count;
            names the member.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        raise DataError(archive, "there is no such file")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(folder, "it is not empty", remedy="Unpack into a new folder.")
    limit = min(max_bytes, max(FREE_BYTES, int(max_ratio * archive.stat().st_size)))
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.unpacking")
    try:
        temporary.mkdir(parents=True)
        _Unpacking(archive, temporary, limit).run()
        temporary.replace(folder)
    except OSError as error:
        raise DataError(
            folder,
            f"cannot be written ({error.strerror or error})",
            remedy="Choose a folder that you may write to, on a disk with free space.",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


class _Unpacking:
    """The way of one archive into one folder: what has come out, and how much still may."""

    def __init__(self, archive: Path, folder: Path, limit: int) -> None:
        self.archive = archive
        self.folder = folder
        self.limit = limit
        self.bytes = 0
        self.claimed: dict[str, tuple[str, bool]] = {}

    def run(self) -> None:
        with closing(_members(self.archive)) as members:
            while (member := self._next(members)) is not None:
                if member.kind not in ("file", "folder"):
                    raise self._refused(member, f"it is a {member.kind}")
                target = self.folder / self._claim(member)
                self._count(member, MEMBER_BYTES)
                if member.kind == "folder":
                    target.mkdir(parents=True, exist_ok=True)
                else:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    self._write(member, target)

    def _next(self, members: Iterator[_Member]) -> _Member | None:
        with _damage(self.archive):
            return next(members, None)

    def _claim(self, member: _Member) -> PurePosixPath:
        """The path of a member inside the folder, which no other member may fall on."""
        path = PurePosixPath(member.name)
        odd = (
            "\\" in member.name or "\0" in member.name or re.match("[A-Za-z]:[/\\\\]", member.name)
        )
        if path.is_absolute() or ".." in path.parts or odd:
            raise self._refused(member, "its name leads out of the folder")
        if not path.parts and member.kind == "file":
            raise self._refused(member, "it has no name")
        for depth in range(1, len(path.parts) + 1):
            own = "/".join(path.parts[:depth])
            is_file = member.kind == "file" and depth == len(path.parts)
            folded = unicodedata.normalize("NFC", own).casefold()
            other = self.claimed.get(folded)
            if other is not None and (is_file or other != (own, False)):
                raise self._refused(member, f"it falls on {other[0]!r}")
            self.claimed[folded] = (own, is_file)
        return path

    def _write(self, member: _Member, target: Path) -> None:
        with _damage(self.archive, member.name):
            source = member.open()
        with source, target.open("xb") as file:
            while True:
                with _damage(self.archive, member.name):
                    chunk = source.read(CHUNK_BYTES)
                if not chunk:
                    return
                self._count(member, len(chunk))
                file.write(chunk)

    def _count(self, member: _Member, size: int) -> None:
        self.bytes += size
        if self.bytes > self.limit:
            raise self._refused(member, f"with it more than {self.limit} bytes come out")

    def _refused(self, member: _Member, reason: str) -> DataError:
        return DataError(
            self.archive,
            f"refused, because {reason}",
            where=f"member {member.name!r}",
            remedy="Nothing was unpacked. If you trust the archive, unpack it by hand.",
        )


def _members(archive: Path) -> Generator[_Member]:
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            yield from _tar_members(tar)
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            yield from _zip_members(zipped)
    else:
        raise _damaged(archive, "neither tar nor zip")


def _tar_members(tar: tarfile.TarFile) -> Iterator[_Member]:
    for info in tar:
        kind: Literal["file", "folder", "link", "device"] = "device"
        if info.isreg():
            kind = "file"
        elif info.isdir():
            kind = "folder"
        elif info.issym() or info.islnk():
            kind = "link"
        yield _Member(info.name, kind, partial(_tar_content, tar, info))


def _tar_content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    return cast("IO[bytes]", tar.extractfile(info))  # None is for members other than plain files


def _zip_members(zipped: zipfile.ZipFile) -> Iterator[_Member]:
    for info in zipped.infolist():
        kind: Literal["file", "folder", "link", "device"] = "folder" if info.is_dir() else "file"
        unix = stat.S_IFMT(info.external_attr >> 16)
        if unix == stat.S_IFLNK:
            kind = "link"
        elif unix not in (0, stat.S_IFREG, stat.S_IFDIR):
            kind = "device"
        yield _Member(info.filename, kind, partial(zipped.open, info))


@contextmanager
def _damage(archive: Path, member: str = "") -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise _damaged(archive, str(error), member) from error


def _damaged(archive: Path, reason: str, member: str = "") -> DataError:
    return DataError(
        archive,
        f"it is damaged, cut short, encrypted or no archive ({reason})",
        where=f"member {member!r}" if member else "",
        remedy="Nothing was unpacked. Download it again, or unpack it by hand.",
    )
