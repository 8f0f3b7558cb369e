"""Archives: all of it or nothing, and never a byte outside the folder."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from shared_core.data import archives
from shared_core.data.archives import unpack
from shared_core.errors import DataError
from shared_core.testing.archives import tar_of, zip_of

GOOD = {"README": b"read me", "videos/a b/00001.jpg": b"\xff" * 3000, "videos/\u00e9.txt": b""}


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(archive: Path, message: str, **limits) -> None:
    """Unpacking raises `message`, and the folder beside the archive is as it was."""
    before = tree(archive.parent.parent)
    with pytest.raises(DataError, match=message):
        unpack(archive, archive.parent / "out", **limits)
    assert tree(archive.parent.parent) == before
    assert [p.name for p in archive.parent.iterdir()] == [archive.name]


@pytest.fixture
def room(tmp_path) -> Path:
    (tmp_path / "room").mkdir()
    return tmp_path / "room"


MAKERS = {
    "tar": lambda path, members: tar_of(path, members),
    "tar.gz": lambda path, members: tar_of(path, members, "w:gz"),
    "tar.bz2": lambda path, members: tar_of(path, members, "w:bz2"),
    "tar.xz": lambda path, members: tar_of(path, members, "w:xz"),
    "tar, pax": lambda path, members: tar_of(path, members, format=tarfile.PAX_FORMAT),
    "zip": zip_of,
    "zip, stored": lambda path, members: zip_of(path, members, zipfile.ZIP_STORED),
}
both = pytest.mark.parametrize("make", [tar_of, zip_of])


@pytest.mark.parametrize("kind", MAKERS)
def test_what_was_packed_comes_out(room, kind):
    archive = MAKERS[kind](room / "data", GOOD)
    assert unpack(archive, room / "deep" / "out") == room / "deep" / "out"
    assert tree(room / "deep" / "out") == GOOD
    assert [p.name for p in (room / "deep").iterdir()] == ["out"]
    assert not (room / "deep/out/README").stat().st_mode & 0o6111


def test_folders_and_dots_of_an_ordinary_tar_come_out(room):
    source = room.parent / "source"
    for name, content in GOOD.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    (source / "empty").mkdir()
    with tarfile.open(room / "data.tgz", "w:gz") as tar:
        tar.add(source, ".")
    (room / "out").mkdir()
    unpack(room / "data.tgz", room / "out")
    assert tree(room / "out") == GOOD
    assert (room / "out" / "empty").is_dir()


@both
@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "/tmp/evil", "..", "a/..", "..\\evil", "C:\\evil", "C:/evil"],
)
def test_a_name_that_leads_elsewhere_is_refused(room, make, name):
    archive = make(room / "data", {**GOOD, name: b"evil"})
    refused(archive, "member .*evil.*leads out of the folder|member '.*\\.\\.'.*leads out")


@both
@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("first", "second"),
    [("a/x", "A/X"), ("a/x", "A/y"), ("a", "a"), ("a", "a/b"), ("a/b", "a"), ("\u00e9", "e\u0301")],
)
def test_members_that_fall_on_each_other_are_refused(room, make, first, second):
    archive = make(room / "data", [(first, b"1"), (second, b"2")])
    refused(archive, "refused, because it falls on")


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "link"),
        (tarfile.LNKTYPE, "link"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"),
        (tarfile.FIFOTYPE, "device"),
    ],
)
@pytest.mark.parametrize("target", ["../../secret", "/etc/passwd", "README"])
def test_links_and_devices_in_a_tar_are_refused(room, kind, word, target):
    info = tarfile.TarInfo("trap")
    info.type = kind
    info.linkname = target
    with tarfile.open(tar_of(room / "data", GOOD), "a") as tar:
        tar.addfile(info)
        through = tarfile.TarInfo("trap/evil")
        tar.addfile(through, io.BytesIO(b""))
    refused(room / "data", f"member 'trap': refused, because it is a {word}")


def test_links_in_a_zip_are_refused(room):
    info = zipfile.ZipInfo("trap")
    info.create_system = 3
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(zip_of(room / "data", GOOD), "a") as zipped:
        zipped.writestr(info, "../../secret")
    refused(room / "data", "member 'trap': refused, because it is a link")


@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz", "zip"])
def test_a_bomb_is_refused_by_size_and_by_ratio(room, kind, monkeypatch):
    archive = MAKERS[kind](room / "data", {"small": b"x", "bomb": bytes(3_000_000)})
    refused(archive, "member 'bomb': .* more than 1000000 bytes come out", max_bytes=1_000_000)
    monkeypatch.setattr(archives, "FREE_BYTES", 100_000)
    refused(archive, r"member 'bomb': .* more than \d+ bytes come out", max_ratio=20)
    assert unpack(archive, room / "out", max_ratio=10_000) == room / "out"


def test_very_many_empty_members_are_a_bomb(room, monkeypatch):
    monkeypatch.setattr(archives, "FREE_BYTES", 100_000)
    archive = tar_of(room / "data", {f"{n}": b"" for n in range(300)}, "w:xz")
    refused(archive, "member '195': .* more than 100000 bytes come out", max_ratio=20)


def test_a_zip_that_lies_about_sizes_is_refused(room):
    zip_of(room / "data", {"bomb": bytes(500_000)})
    data = (room / "data").read_bytes()
    lied = data.replace((500_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    (room / "data").write_bytes(lied)
    refused(room / "data", "member 'bomb': it is damaged")


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.bz2", "tar.xz", "zip"])
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5])
def test_an_archive_that_is_cut_short_is_named(room, kind, keep):
    archive = MAKERS[kind](room / "data", {"a": os.urandom(20_000), "b": os.urandom(20_000)})
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * keep)])
    refused(archive, "it is damaged, cut short, encrypted or no archive")


def test_changed_content_and_a_password_are_named(room):
    archive = zip_of(room / "data", {"a": b"content" * 9}, zipfile.ZIP_STORED)
    good = archive.read_bytes()
    archive.write_bytes(good.replace(b"content", b"CONTENT", 1))
    refused(archive, "member 'a': it is damaged.*Bad CRC-32")
    # The first flag bit, in the local and the central header, says that a member is encrypted.
    encrypted = bytearray(good)
    encrypted[6] |= 1
    encrypted[good.rindex(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(encrypted)
    refused(archive, "member 'a': .*encrypted.*password required")


def test_a_missing_archive_a_text_and_a_full_folder_are_named(room):
    with pytest.raises(DataError, match="there is no such file"):
        unpack(room / "gone.zip", room / "out")
    (room / "text.zip").write_text("not found\n")
    refused(room / "text.zip", "neither tar nor zip")
    (room / "out").mkdir()
    (room / "out" / "mine").write_text("keep")
    archive = zip_of(room / "data", GOOD)
    with pytest.raises(DataError, match=r"out: it is not empty"):
        unpack(archive, room / "out")
    assert tree(room / "out") == {"mine": b"keep"}


def test_a_place_that_cannot_be_written_is_one_sentence(room):
    archive = zip_of(room / "data", GOOD)
    with pytest.raises(DataError, match="cannot be written"):
        unpack(archive, archive / "out")
    long_name = zip_of(room / "long", {"x" * 300: b""})
    with pytest.raises(DataError, match=r"cannot be written \(File name too long\)"):
        unpack(long_name, room / "out")
    assert sorted(p.name for p in room.iterdir()) == ["data", "long"]
