"""Faults to inject: damaged files, a full disk, pickles that would run code."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch


def truncate(path: Path, length: int | None = None) -> None:
    """Cut a file to `length` bytes; by default to half, negative counts from its end."""
    size = path.stat().st_size
    kept = size // 2 if length is None else length
    os.truncate(path, kept if kept >= 0 else size + kept)


def flip_bit(path: Path, position: int | None = None, bit: int = 0) -> None:
    """Flip one bit in place, by default in the middle byte; the size stays."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if position is None else position] ^= 1 << bit
    path.write_bytes(data)


def fails_before_update(monkeypatch: pytest.MonkeyPatch, learner: type, number: int) -> None:
    """Let the next run of a learner's class fail before its update of this number, from 1; only once.

    The `OSError` says "the power is gone".
    """
    update, made = vars(learner)["update"], 0

    def interrupted(self: Any, micro_batches: Any, hands: Any) -> Any:
        nonlocal made
        made += 1
        if made == number:
            monkeypatch.setattr(learner, "update", update)
            raise OSError("the power is gone")
        return update(self, micro_batches, hands)

    monkeypatch.setattr(learner, "update", interrupted)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of `size` bytes at `folder`; skips the test where none can be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("a small file system can only be mounted by root on Linux")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_disk(folder: Path, leave: int = 0) -> Path:
    """Fill the file system of `folder` up to about `leave` bytes; returns the file that does it.

    Only for a `small_disk`: refuses a file system with more than 1 GiB free.
    """
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    assert free < 1 << 30, "this would fill a real disk"
    filler = folder / "filler"
    filler.write_bytes(bytes(max(0, free - leave)))
    return filler


class Call:
    """Pickles as a call of `function(*arguments)`, which any unguarded loader would make."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.function, self.arguments


def hostile_checkpoints(folder: Path, touched: Path) -> dict[str, Path]:
    """Files that would create `touched`, if a loader ran the code in them; by what they do.

    Shells, eval, exec, file writes, processes, imports, class instances and nesting inside tensors'
    dicts; as torch zip archive, torch legacy file, bare pickles of all protocols, tar and npy-like.
    """
    code = f"open({str(touched)!r}, 'w').close()"
    shell = f'{sys.executable} -c "{code}"'
    calls = {
        "os.system": Call(os.system, shell),
        "eval": Call(eval, code),
        "exec": Call(exec, code),
        "open": Call(open, str(touched), "w"),
        "subprocess": Call(subprocess.check_call, [sys.executable, "-c", code]),
        "path": Call(Path.touch, touched),
        "nested": {"state_dict": {"weight": torch.zeros(2), "bias": Call(eval, code)}},
        "in-a-list": [torch.zeros(1), (Call(exec, code),)],
        "as-a-key": {Call(eval, f"{code} or 'key'"): torch.zeros(1)},
        "getattr": Call(getattr, Call(__import__, "os"), "system"),
    }
    made: dict[str, Path] = {}
    for name, payload in calls.items():
        for kind, write in _WRITERS.items():
            path = folder / f"{name}-{kind}.pth"
            path.write_bytes(write(payload))
            made[f"{name} in {kind}"] = path
    return made


def _torch(payload: object, *, archive: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(payload, buffer, _use_new_zipfile_serialization=archive)
    return buffer.getvalue()


def _tar(payload: object) -> bytes:
    """The oldest format of torch: a tar with pickles named sys_info, pickle, tensors, storages."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            data = pickle.dumps(payload, protocol=2)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _compressed(payload: object) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(payload, protocol=2))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/data/0", bytes(1 << 20))
    return buffer.getvalue()


_WRITERS: dict[str, Callable[[object], bytes]] = {
    "zip": lambda payload: _torch(payload, archive=True),
    "legacy": lambda payload: _torch(payload, archive=False),
    "pickle-0": lambda payload: pickle.dumps(payload, protocol=0),
    "pickle-2": lambda payload: pickle.dumps(payload, protocol=2),
    "pickle-5": lambda payload: pickle.dumps(payload, protocol=5),
    "tar": _tar,
    "bomb": _compressed,
}
