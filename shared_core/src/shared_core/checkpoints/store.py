"""The checkpoints of a run: each whole or absent, each verified before it is used.

    checkpoints/
      step-00000120/            one checkpoint
        model.safetensors ...   what the caller wrote
        manifest.json           step, note, best; size and sha256 of every file; sha256 of itself
      .step-00000240.writing/   being written; of no value, removed by the next save
      latest.json  best.json    pointers for people and scripts; the store trusts manifests

Saving: temporary folder, the caller's files, fsync and sha256 of each, manifest, rename, pointers,
prune. A power cut or a kill at any moment leaves the old checkpoints whole, and the new one whole
or absent.

One process writes; any number may read. A run with several processes saves in two phases, with a
barrier of the run between the lines:

    if main: store.begin(step)
    with store.writing(step) as folder: ...      # every rank writes its own files
    if main: store.commit(step, best=..., note=...)

Moments at which a fault test may kill the process (`shared_core.faultpoints`), in their order; the
first two are reached by every file that `save_weights` or `save_tree` writes:
`before:<file>`, `after:<file>`, `before-seal`, `before:manifest.json`, `after:manifest.json`,
`before-rename`, `before-pointer`, `after-pointer`, `after-prune`.
"""

from __future__ import annotations

import errno
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared_core.checkpoints.manifest import files_in, read_manifest, seal, verify
from shared_core.errors import CheckpointError, ConfigError
from shared_core.faultpoints import reach
from shared_core.files import replace_file, sync_folder

_NAME = re.compile(r"step-(\d{8,})")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NEARLY_FULL = (
    1 << 20
)  # bytes free below which a writer that gives no reason is taken to have had no room

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A checkpoint whose every byte was verified against its manifest.

    Attributes:
        step: the number of updates it was saved after.
        folder: where its files lie.
        note: what the run wrote beside it (position, score, fingerprint).
        best: whether it was the best so far when it was saved.
    """

    step: int
    folder: Path
    note: Mapping[str, Any]
    best: bool


class Store:
    """The folder of a run's checkpoints.

    Args:
        folder: made when the first checkpoint is saved.
        keep_last: how many of the newest are kept, 1 or more; the newest best is kept besides.
    """

    def __init__(self, folder: Path, keep_last: int = 3) -> None:
        if keep_last < 1:
            raise ConfigError("keep_last", keep_last, "1 or more checkpoints")
        self.folder = folder
        self.keep_last = keep_last

    # Writing

    def save(
        self,
        step: int,
        write: Callable[[Path], None],
        *,
        best: bool = False,
        note: Mapping[str, Any] | None = None,
    ) -> Path:
        """Save one checkpoint from one process, all three phases.

        Args:
            step: updates made so far; later ones in the folder are dropped (see `commit`).
            write: puts the files into the folder it is given; subfolders are allowed.
            best: this is the best so far.
            note: JSON values (finite numbers) to find again in `Saved.note`.

        Returns:
            The folder of the checkpoint.

        Raises:
            CheckpointError: the folder cannot be written, or the disk is full; nothing of the new
                checkpoint is left and the old ones are untouched.
        """
        self.begin(step)
        try:
            with self.writing(step) as folder:
                write(folder)
        except BaseException:
            self.abandon(step)
            raise
        return self.commit(step, best=best, note=note)

    def staging(self, step: int) -> Path:
        """Where a checkpoint is written before it is committed; the same on all ranks."""
        return self.folder / f".{_name(step)}.writing"

    def begin(self, step: int) -> Path:
        """First phase, on the main process: remove leftovers, make the staging folder."""
        staging = self.staging(step)
        with self._explained(staging):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.sweep()
            staging.mkdir()
        return staging

    @contextmanager
    def writing(self, step: int) -> Iterator[Path]:
        """Second phase, on every process that has files: yields the staging folder.

        Raises:
            CheckpointError: a file could not be written. Once all processes know, the main one
                calls `abandon`.
        """
        staging = self.staging(step)
        with self._explained(staging):
            yield staging

    def commit(
        self, step: int, *, best: bool = False, note: Mapping[str, Any] | None = None
    ) -> Path:
        """Third phase, on the main process, after all have written: seal, rename, point, prune.

        Training goes forward: checkpoints of later steps are those that were damaged and skipped
        when the run was resumed, and are dropped; so is a damaged one of this step.

        Raises:
            CheckpointError: as `save`.
        """
        staging, target = self.staging(step), self.folder / _name(step)
        try:
            with self._explained(staging):
                reach("before-seal")
                seal(staging, {"step": step, "best": best, "note": dict(note or {})})
                reach("before-rename")
                self._remove(target)
                staging.rename(target)
                sync_folder(self.folder)
        except BaseException:
            self.abandon(step)
            raise
        with self._explained(target):
            reach("before-pointer")
            best_step = self._newest_best(step)
            self._point("best", best_step)
            self._point("latest", step)
            reach("after-pointer")
            self._prune(step, best_step)
            reach("after-prune")
        return target

    def abandon(self, step: int) -> None:
        """Remove the staging folder of a checkpoint that could not be written."""
        shutil.rmtree(self.staging(step), ignore_errors=True)

    def sweep(self) -> None:
        """Remove what killed runs left half-written or half-removed; only the writer may."""
        for leftover in self.folder.glob(".step-*"):
            shutil.rmtree(leftover)

    def _point(self, name: str, step: int | None) -> None:
        if step is not None:
            pointer = json.dumps({"step": step, "folder": _name(step)}) + "\n"
            replace_file(self.folder / f"{name}.json", pointer)

    def _prune(self, step: int, best: int | None) -> None:
        past = [s for s in self.steps() if s <= step]
        for doomed in set(self.steps()) - {*past[-self.keep_last :], best}:
            self._remove(self.folder / _name(doomed))

    def _remove(self, checkpoint: Path) -> None:
        """Rename, then remove: a kill in between leaves none that looks whole and is not."""
        if checkpoint.exists():
            doomed = checkpoint.with_name(f".{checkpoint.name}.removing")
            checkpoint.rename(doomed)
            shutil.rmtree(doomed)

    @contextmanager
    def _explained(self, place: Path) -> Iterator[None]:
        """Turn what the system says about a write into a message with a remedy."""
        try:
            yield
        except OSError as error:
            raise self._unwritable(place, error) from error
        except RuntimeError as error:  # torch's own writer (sharded optimisers) hides the reason
            if _free(self.folder) > _NEARLY_FULL:
                raise
            raise self._unwritable(place, OSError(errno.ENOSPC, "no space left")) from error

    def _unwritable(self, place: Path, error: OSError) -> CheckpointError:
        if error.errno not in _FULL:
            return CheckpointError(
                error.filename or place,
                f"the checkpoint cannot be written ({error.strerror or error})",
                remedy="Make the folder writable, or choose another run folder. "
                "Checkpoints saved before are untouched.",
            )
        needed = max([_size(place), *(_size(self.folder / _name(s)) for s in self.steps())])
        return CheckpointError(
            place,
            f"the disk is full: a checkpoint of this run takes at least {needed} bytes, "
            f"{_free(self.folder)} were left",
            remedy="Checkpoints saved before are intact: free some space, or lower keep_last, "
            "and resume.",
        )

    # Reading

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, oldest first; none of them verified."""
        if not self.folder.is_dir():
            return []
        names = (_NAME.fullmatch(entry.name) for entry in self.folder.iterdir() if entry.is_dir())
        return sorted(int(name[1]) for name in names if name)

    def at(self, step: int) -> Saved:
        """Verify one checkpoint: every file there, none besides, sizes, then sha256.

        Raises:
            CheckpointError: there is none at this step, or it is damaged; names the file.
        """
        folder = self.folder / _name(step)
        manifest = read_manifest(folder)
        if manifest["step"] != step:
            raise CheckpointError(folder, f"that of step {manifest['step']}", expected="this step")
        verify(folder, manifest["files"])
        return Saved(step=step, folder=folder, note=manifest["note"], best=manifest["best"])

    def latest(self) -> Saved | None:
        """The newest whole checkpoint; a damaged one is skipped with a warning that names the file.

        Returns:
            None where no checkpoint has been saved yet.

        Raises:
            CheckpointError: there are checkpoints, and all are damaged: whether to start over is
                not decided here.
        """
        steps = self.steps()
        saved = self._newest("latest", steps)
        if saved is None and steps:
            raise CheckpointError(
                self.folder,
                f"all {len(steps)} checkpoints are damaged",
                remedy="Restore the folder from a copy, or remove it to start from the beginning.",
            )
        return saved

    def best(self) -> Saved | None:
        """The best whole checkpoint, or None; a damaged one is skipped with a warning."""
        return self._newest("best", [step for step in self.steps() if self._is_best(step)])

    def _newest(self, pointer: str, steps: list[int]) -> Saved | None:
        pointed = self._pointed(pointer)
        if pointed is not None and pointed > max(steps, default=-1):
            place = self.folder / _name(pointed)
            _log.warning("%s: gone or damaged, though %s.json names it.", place, pointer)
        for step in reversed(steps):
            try:
                return self.at(step)
            except CheckpointError as error:
                _log.warning("%s\nThe checkpoint before it is looked for.", error)
        return None

    def _newest_best(self, until: int) -> int | None:
        return max((s for s in self.steps() if s <= until and self._is_best(s)), default=None)

    def _is_best(self, step: int) -> bool:
        try:
            return bool(read_manifest(self.folder / _name(step))["best"])
        except CheckpointError:
            return False

    def _pointed(self, name: str) -> int | None:
        try:
            return int(json.loads((self.folder / f"{name}.json").read_text())["step"])
        except (OSError, ValueError, KeyError, TypeError):
            return None  # a pointer is a convenience: without it the manifests say all


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in files_in(folder))


def _free(folder: Path) -> int:
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free
