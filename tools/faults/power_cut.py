"""A model of a power cut, played through on the core's store: `python -m tools.faults.power_cut`.

The model: names (made, renamed, removed) reach the disk in the order in which they were given, up
to any of them; a file's content is there once the file was synced after its last change. Of what
was not synced, nothing is there, half of it, or all. So the folder is copied at each change and
each sync, and the copies are spoilt in these ways and opened.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any
from unittest.mock import patch

import torch

from shared_core.checkpoints.store import Store
from shared_core.checkpoints.tree import load_tree, save_tree
from shared_core.checkpoints.weights import load_weights, save_weights
from shared_core.errors import UserError

STEPS = (1, 2, 3, 4)
CHANGES = ("rename", "replace", "mkdir", "unlink", "rmdir", "fsync")
LEFT: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _content: b"",
    "half": lambda content: content[: len(content) // 2],
    "all": lambda content: content,
}
"""What is left of a file that was not synced."""


class Recorder:
    """Copies a folder at each change of its names and at each sync.

    Args:
        folder: what is watched.
        copies: where the copies go.
    """

    def __init__(self, folder: Path, copies: Path) -> None:
        self.folder, self.copies = folder, copies
        self.moments: list[tuple[str, Path, frozenset[str]]] = []
        """What happened, the copy made after it, and the files in it that were synced."""
        self.saved = 0
        """Step of the newest save that has returned."""
        self._synced: dict[tuple[int, int], bytes] = {}
        self._lock = RLock()
        self._copying = False

    def watch(self, name: str) -> Any:
        """Replaces a function of `os` by one that is recorded."""
        function = getattr(os, name)

        def recorded(*given: Any, **named: Any) -> Any:
            with self._lock:
                result = function(*given, **named)
                if not self._copying:  # a copy is made by the same functions
                    self._copying = True
                    try:
                        self._note(name, *given)
                    finally:
                        self._copying = False
                return result

        return patch.object(os, name, recorded)

    def _note(self, name: str, *given: Any) -> None:
        if name == "fsync":
            self._note_sync(given[0])
        if self.folder.exists():
            self._copy(name)

    def _note_sync(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        for path in self.folder.rglob("*"):
            if path.is_file() and _identity(path) == (status.st_dev, status.st_ino):
                self._synced[_identity(path)] = path.read_bytes()

    def _copy(self, name: str) -> None:
        made = self.copies / f"{len(self.moments):04d}-{self.saved}"
        synced = set()
        for path in sorted(self.folder.rglob("*")):
            inner = path.relative_to(self.folder)
            if path.is_dir():
                (made / inner).mkdir(parents=True, exist_ok=True)
                continue
            content = path.read_bytes()
            (made / inner).parent.mkdir(parents=True, exist_ok=True)
            (made / inner).write_bytes(content)
            if self._synced.get(_identity(path)) == content:
                synced.add(inner.as_posix())
        made.mkdir(parents=True, exist_ok=True)
        self.moments.append((name, made, frozenset(synced)))


def main(folder: Path, told: Path) -> None:
    """Save several checkpoints, cut the power at each moment, and write what was found."""
    recorder = Recorder(folder, folder.with_name("copies"))
    watching = [recorder.watch(name) for name in CHANGES]
    for one in watching:
        one.start()
    store = Store(folder, keep_last=1)
    for step in STEPS:
        store.save(step, partial(_write, step=step), best=step == 1)
        recorder.saved = step
    for one in watching:
        one.stop()
    found = [state for moment in recorder.moments for state in _cut(*moment, folder.parent)]
    told.write_text(json.dumps(found))


def _write(folder: Path, step: int) -> None:
    save_weights(folder / "model.safetensors", {"weight": torch.full((64,), float(step))}, {})
    save_tree(folder / "learner.safetensors", {"step": step, "state": torch.full((64,), 1.0)})
    (folder / "progress.json").write_text(json.dumps({"step": step}))


def _cut(name: str, copy: Path, synced: frozenset[str], scratch: Path) -> list[dict[str, str]]:
    """What is found after a cut at this moment, for each way to lose what was not synced."""
    saved = int(copy.name.partition("-")[2])
    lost = [
        path
        for path in sorted(copy.rglob("*"))
        if path.is_file() and path.relative_to(copy).as_posix() not in synced
    ]
    found = []
    for way, left in LEFT.items():
        after = scratch / "after"
        shutil.rmtree(after, ignore_errors=True)
        shutil.copytree(copy, after)
        for path in lost:
            damaged = after / path.relative_to(copy)
            damaged.write_bytes(left(damaged.read_bytes()))
        moment = f"{copy.name} after {name}, {way} of {len(lost)} files"
        found.append({"moment": moment, "fault": _fault(after, saved)})
    return found


def _fault(folder: Path, saved: int) -> str:
    """What is wrong with the folder after the cut: empty where the old or the new is there, whole."""
    try:
        latest = Store(folder).latest()
    except UserError as error:
        return str(error)
    if latest is None:
        return f"nothing is left of step {saved}" if saved else ""
    if latest.step not in (saved, saved + 1):
        return f"step {latest.step} is left, not {saved} or {saved + 1}"
    try:
        weight = load_weights(latest.folder / "model.safetensors")["weight"]
        step = load_tree(latest.folder / "learner.safetensors")["step"]
    except (UserError, OSError) as error:
        return f"step {latest.step} is not whole: {error}"
    whole = bool((weight == latest.step).all()) and step == latest.step
    return "" if whole else f"step {latest.step} is a mixture"


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
