"""The plain side of the asal-vrvqa benchmarks: the unfused network that its tests keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shared_core.testing.processes import load_module

_FILE = Path(__file__).resolve().parents[3] / "packages/asal-vrvqa/tests/asal_unfused.py"


def unfused(parts: int = 16, channels: int = 64) -> Any:
    """ResNet-18 on the sphere with masks, two gathers a pad, and nothing folded."""
    return load_module(_FILE).UnfusedResNet18(parts, channels)
