"""Versions and devices, for the record of a run: no user, no host, no path."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

import psutil
import torch

from shared_core.launch.ranks import PRESET, cores

LIBRARIES = (
    *("shared-core", "torch", "torchvision", "accelerate", "deepspeed", "transformers"),
    *("safetensors", "numpy", "scipy", "torchmetrics", "h5py", "av", "opencv-python-headless"),
)
"""Distributions whose versions are recorded."""


def environment() -> dict[str, Any]:
    """What a run ran on: Python, platform, libraries, devices, threads, processes, preset."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": {"cores": cores(), "memory_gb": round(psutil.virtual_memory().total / 1e9, 1)},
        "devices": devices(),
        "libraries": {name: version for name in LIBRARIES if (version := version_of(name))},
        "threads": torch.get_num_threads(),
        "processes": int(os.environ.get("WORLD_SIZE", 1)),
        "preset": os.environ.get(PRESET),
    }


def version_of(distribution: str) -> str | None:
    """Version of an installed distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def devices() -> list[dict[str, Any]]:
    """The GPUs that torch sees: kind (cuda, rocm or mps), name, memory in GB."""
    if torch.cuda.is_available():
        kind = "rocm" if torch.version.hip else "cuda"
        properties = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        return [
            {"kind": kind, "name": found.name, "memory_gb": round(found.total_memory / 1e9, 1)}
            for found in properties
        ]
    if torch.backends.mps.is_available():
        return [{"kind": "mps", "name": "Apple GPU", "memory_gb": None}]
    return []
