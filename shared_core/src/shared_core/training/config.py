"""The settings that every train command has; a package's own config inherits them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shared_core.config import setting
from shared_core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a run is made: its folder, its length, its updates, when it evaluates and saves."""

    run: Path = setting(Path("runs/run"), changes_numbers=False)
    """Run folder: everything the run writes lies in it."""
    resume: bool = setting(False, changes_numbers=False)
    """Continue the run in that folder from its last checkpoint."""
    seed: int = 0
    """Key of everything random: the order of the data, initial weights, dropout, augmentation."""
    epochs: int = 10
    """Passes over the training data."""
    max_steps: int | None = None
    """Stop after that many updates, before the epochs are over."""
    batch_size: int = 16
    """Items in an update, over all processes and micro-batches together."""
    accumulate: int = 1
    """Micro-batches that an update is cut into, to save memory; it follows their mean."""
    clip_norm: float | None = 5.0
    """Largest norm of the gradient of each clipped group; none: no clipping."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Number format of the forward pass; the weights stay fp32."""
    compile: bool = False
    """Compile the model with torch.compile: a slow start, then faster updates."""
    evaluate_every: int | None = None
    """Updates between evaluations; none: once an epoch."""
    save_every: int | None = None
    """Updates between checkpoints; none: once an epoch."""
    keep_last: int = setting(3, changes_numbers=False)
    """Checkpoints kept besides the best one."""
    early_stop: int | None = None
    """Stop after that many evaluations in a row without a better score; none: never."""
    on_bad_row: Literal["raise", "quarantine"] = "raise"
    """A bad row stops the run, or is left out and listed in the report."""
    workers: int = setting(0, changes_numbers=False)
    """Loader processes per rank; the data drawn does not depend on it."""
    threads: int | None = setting(None, changes_numbers=False)
    """Torch threads per rank; none: torch's choice. To resume bit for bit, keep the number."""
    launch: str | None = setting(None, changes_numbers=False)
    """Preset of processes and sharding (cpu, cpu-2, gpu, ddp, fsdp2, zero1, zero2, zero3)."""
    processes: int | None = setting(None, changes_numbers=False)
    """Processes to start; none: what the preset says."""
    device: Literal["auto", "cpu", "cuda"] = setting("auto", changes_numbers=False)
    """Where the tensors live; auto: a GPU if there is one."""
    trackers: tuple[Literal["tensorboard", "trackio", "wandb"], ...] = setting(
        ("tensorboard",), changes_numbers=False
    )
    """Services that follow the run besides its own events file."""
    log_every: int = setting(1, changes_numbers=False)
    """Updates between lines in the events file."""
    stall_seconds: float = setting(600.0, changes_numbers=False)
    """A run without progress for that long is ended, with a dump of where it stood."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ConfigError: names the field, the value, and what it may be.
        """
        for name in ("epochs", "batch_size", "accumulate", "keep_last", "log_every"):
            _at_least_one(name, getattr(self, name))
        for name in (
            "max_steps", "evaluate_every", "save_every", "early_stop", "threads", "processes"
        ):  # fmt: skip
            if getattr(self, name) is not None:
                _at_least_one(name, getattr(self, name))
        if not 0 <= self.seed < 2**63:
            raise ConfigError("seed", self.seed, "a whole number from 0 up to 2**63 - 1")
        if self.accumulate > self.batch_size:
            raise ConfigError(
                "accumulate", self.accumulate, f"at most batch_size ({self.batch_size})"
            )
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ConfigError("clip_norm", self.clip_norm, "a number above 0, or none")
        if self.workers < 0:
            raise ConfigError("workers", self.workers, "0 or more processes")
        if not self.stall_seconds > 0:
            raise ConfigError("stall_seconds", self.stall_seconds, "a number of seconds above 0")


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ConfigError(name, value, "1 or more")
