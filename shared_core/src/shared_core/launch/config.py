"""What `doctor` and `supervise` can be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shared_core.errors import ConfigError

GpuName = Literal["h100", "h200", "a100", "l4", "rtx4090"]
PresetName = Literal["cpu", "cpu-2", "gpu", "ddp", "fsdp2", "zero1", "zero2", "zero3", "multi-node"]


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """Say what this machine can run, and what is missing; or what a training will need.

    The training follows two hyphens: doctor --plan --items 10000 -- train --batch-size 32. Its data need
    not exist: an update is measured on made-up data of the same sizes.
    """

    require: PresetName | None = None
    """End with status 1 when this preset cannot run here."""
    json: bool = False
    """Print JSON instead of tables."""
    plan: bool = False
    """Estimate memory, disk and the time of an epoch of the training after the two hyphens; end with
    status 1 when its memory does not fit."""
    items: int | None = None
    """Items of an epoch, as the training's batch size counts them."""
    gpus: int = 1
    """GPUs that train together, a process each."""
    gpu: GpuName | None = None
    """Their kind; none: the plan is for this machine, by its clock."""
    utilisation: float = 0.35
    """Share of such a GPU's peak that is assumed, since none is measured."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ConfigError: names the field.
        """
        for name in ("items", "gpus"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "1 or more")
        if not 0 < self.utilisation <= 1:
            raise ConfigError("utilisation", self.utilisation, "above 0, at most 1")


@dataclass(frozen=True, kw_only=True)
class SuperviseConfig:
    """Start a training command anew, from its last checkpoint, whenever it dies.

    The command follows two hyphens: supervise --max-restarts 3 -- train --run runs/night
    """

    max_restarts: int = 10
    """Give up after so many restarts without a new checkpoint."""
    back_off: float = 5.0
    """Seconds before a restart; twice as many before each further one without a new checkpoint."""
    longest_back_off: float = 600.0
    """Most seconds before a restart."""
    hang_seconds: float | None = None
    """End a command whose events and checkpoints do not change for so long, and start it anew; more than
    its start, or an evaluation, takes. None: never."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ConfigError: names the field.
        """
        if self.max_restarts < 0:
            raise ConfigError("max_restarts", self.max_restarts, "0 or more")
        if not self.back_off >= 0:
            raise ConfigError("back_off", self.back_off, "0 or more seconds")
        if not self.longest_back_off >= self.back_off:
            raise ConfigError(
                "longest_back_off", self.longest_back_off, f"at least back_off ({self.back_off:g})"
            )
        if self.hang_seconds is not None and not self.hang_seconds > 0:
            raise ConfigError("hang_seconds", self.hang_seconds, "a number above 0, or none")
