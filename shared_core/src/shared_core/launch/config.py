"""What `doctor` and `supervise` can be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shared_core.errors import ConfigError

PresetName = Literal["cpu", "cpu-2", "gpu", "ddp", "fsdp2", "zero1", "zero2", "zero3", "multi-node"]


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """Say what this machine can run, and what is missing."""

    require: PresetName | None = None
    """End with status 1 when this preset cannot run here."""
    json: bool = False
    """Print JSON instead of tables."""


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
