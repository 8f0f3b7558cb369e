"""What `doctor` can be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PresetName = Literal["cpu", "cpu-2", "gpu", "ddp", "fsdp2", "zero1", "zero2", "zero3", "multi-node"]


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """Say what this machine can run, and what is missing."""

    require: PresetName | None = None
    """End with status 1 when this preset cannot run here."""
    json: bool = False
    """Print JSON instead of tables."""
