"""Training runs in processes of their own, so that several are made at the same time."""

from __future__ import annotations

import subprocess
import sys

from shared_core.config import dump_yaml
from shared_core.errors import UsageError
from shared_core.files import replace_file
from shared_core.training.config import TrainSettings

_SHOWN = 8  # last lines of a process that failed


def train_apart(module: str, config: TrainSettings) -> None:
    """Make a run as the command does, in a process of its own; its settings lie beside its folder.

    Args:
        module: the package's import name, of which `python -m MODULE train` is the command.
        config: the run.

    Raises:
        UsageError: it failed; holds the last lines that it said.
    """
    settings = config.run.with_name(f"{config.run.name}.yaml")
    settings.parent.mkdir(parents=True, exist_ok=True)
    replace_file(settings, dump_yaml(config))
    line = [sys.executable, "-m", module, "train", "--config", str(settings)]
    outcome = subprocess.run(line, capture_output=True, text=True, check=False)
    if outcome.returncode:
        told = "\n".join(outcome.stderr.strip().splitlines()[-_SHOWN:])
        raise UsageError(f"{config.run}: its training ended with {outcome.returncode}:\n{told}")
