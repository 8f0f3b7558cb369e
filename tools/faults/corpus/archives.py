"""Archives that would write elsewhere, or write too much, if they were unpacked as they ask."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from shared_core.testing.archives import tar_of, zip_of

EVIL = "evil"
"""Part of the name of every member that must not come out."""
BOMB_BYTES = 80 * 2**20
"""What the bombs hold of zeros, in archives of a few hundred kilobytes."""

_GOOD = {"README": b"read me", "images/00001.jpg": b"\xff" * 3000}
_ELSEWHERE = (
    f"../{EVIL}",
    f"images/../../{EVIL}",
    f"/tmp/{EVIL}-faults",
    f"..\\{EVIL}",
    f"C:\\{EVIL}",
)


def hostile_archives(folder: Path) -> dict[str, Path]:
    """Write them into a folder; {what it is: archive}. Each holds a member whose name has `EVIL`."""
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, Path] = {}
    writers: dict[str, Callable[[Path, list[tuple[str, bytes]]], Path]] = {
        "tar": lambda path, members: tar_of(path, members),
        "tar.gz": lambda path, members: tar_of(path, members, "w:gz"),
        "zip": lambda path, members: zip_of(path, members),
    }
    for kind, write in writers.items():
        for number, name in enumerate(_ELSEWHERE):
            path = folder / f"elsewhere-{number}.{kind}"
            made[f"{name} in {kind}"] = write(path, [*_GOOD.items(), (name, b"evil")])
        clash = [(f"a/{EVIL}", b"1"), (f"A/{EVIL.upper()}", b"2")]
        made[f"case clash in {kind}"] = write(folder / f"clash.{kind}", clash)
        through = [(EVIL, b"a file"), (f"{EVIL}/inside", b"a file in it")]
        made[f"a file as folder in {kind}"] = write(folder / f"through.{kind}", through)
    for name, special in _TAR_KINDS.items():
        for target in ("../../secret", "/etc/passwd"):
            path = folder / f"{name}-{target.count('.')}.tar"
            made[f"{name} to {target}"] = _special(path, special, target)
    made["symbolic link in zip"] = _zip_link(folder / "link.zip")
    made["bomb in tar.gz"] = tar_of(folder / "bomb.tar.gz", {EVIL: bytes(BOMB_BYTES)}, "w:gz")
    made["bomb in zip"] = zip_of(folder / "bomb.zip", {EVIL: bytes(BOMB_BYTES)})
    made["zip that lies about its size"] = _lying(folder / "lying.zip")
    return made


_TAR_KINDS = {
    "symbolic link": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "character device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE,
    "pipe": tarfile.FIFOTYPE,
}


def _special(path: Path, kind: bytes, target: str) -> Path:
    """A tar whose link or device is followed by a file that would be written through it."""
    info = tarfile.TarInfo(EVIL)
    info.type, info.linkname = kind, target
    with tarfile.open(tar_of(path, _GOOD), "a") as tar:
        tar.addfile(info)
        tar.addfile(tarfile.TarInfo(f"{EVIL}/through"), io.BytesIO(b""))
    return path


def _zip_link(path: Path) -> Path:
    info = zipfile.ZipInfo(EVIL)
    info.create_system, info.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(zip_of(path, _GOOD), "a") as zipped:
        zipped.writestr(info, "../../secret")
    return path


def _lying(path: Path) -> Path:
    size = 500_000
    zip_of(path, {EVIL: bytes(size)})
    told, true = (10).to_bytes(4, "little"), size.to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(true, told))
    return path
