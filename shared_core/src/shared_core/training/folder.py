"""The run folder on disk, as process 0 sees it: claimed, described, exported, finished."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shared_core.config import differences, dump_yaml, fingerprint, numbers
from shared_core.errors import MissingExtraError, RunFolderError
from shared_core.faultpoints import reach
from shared_core.files import replace_file
from shared_core.launch.environment import environment
from shared_core.lock import LOCK_FILE, FolderLock
from shared_core.reporting.report import run_report

_log = logging.getLogger(__name__)


class RunFolder:
    """One run's folder; see `training.run` for what lies in it.

    Args:
        path: made when it is claimed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FolderLock(path / LOCK_FILE)

    def claim(self, config: Any, *, program: str, resume: bool) -> dict[str, Any] | None:
        """Take the folder for a run, and describe the run in it where that is not done yet.

        Returns:
            The summary of the run, if it is finished.

        Raises:
            RunFolderError: another process writes here, or the folder holds a run and `resume` is
                False, or one of other settings; names those that differ.
            OSError: the folder cannot be written.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock.take()
        mine = {
            "program": program,
            "fingerprint": fingerprint(config),
            "numbers": numbers(config),
        }
        held = self._read("fingerprint.json")
        if held is not None:
            self._compare(held, mine, resume)
            summary = self._read("summary.json")
            if summary is not None and not (self.path / "report.html").exists():
                self._report()  # the run was killed just before
            return summary
        self._write("config.yaml", dump_yaml(config))
        self.write_json("environment.json", environment())
        # The last of the three: with it the folder holds a run.
        self.write_json("fingerprint.json", mine)
        return None

    def release(self) -> None:
        """Let another process take the folder."""
        self._lock.drop()

    def write_json(self, name: str, value: Any) -> None:
        """Write a file of the folder, whole or not at all."""
        self._write(name, json.dumps(value, indent=1) + "\n")

    def export(self, write: Callable[[Path], None]) -> None:
        """Replace `model/` by what `write` puts into the folder it is given."""
        staging, target = self.path / ".model.writing", self.path / "model"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        write(staging)
        reach("export")
        shutil.rmtree(target, ignore_errors=True)
        staging.rename(target)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write how the run ended, and its report."""
        self.write_json("summary.json", summary)
        self._report()

    def _report(self) -> None:
        try:
            run_report(self.path)
        except MissingExtraError as error:
            _log.warning("No report is written: %s", error)

    def _compare(self, held: Mapping[str, Any], mine: Mapping[str, Any], resume: bool) -> None:
        if not resume:
            raise RunFolderError(
                f"{self.path}: this folder holds a run. "
                "Continue it with --resume, or choose another --run folder."
            )
        if held["program"] != mine["program"]:
            raise RunFolderError(f"{self.path}: this folder holds a run of {held['program']}.")
        if held["fingerprint"] != mine["fingerprint"]:
            changed = "\n  ".join(differences(held["numbers"], mine["numbers"]))
            raise RunFolderError(
                f"{self.path}: the run began with other settings than --resume gives it:\n"
                f"  {changed}\n"
                "Give it the old ones, or choose another --run folder."
            )

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None

    def _write(self, name: str, text: str) -> None:
        replace_file(self.path / name, text)
