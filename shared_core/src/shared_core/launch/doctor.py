"""`doctor`: what this machine can run, and what is missing."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from shared_core.errors import UsageError
from shared_core.launch.config import DoctorConfig
from shared_core.launch.environment import devices, version_of
from shared_core.launch.presets import Preset, names
from shared_core.launch.ranks import cores

DISTRIBUTION = "shared-core"
COMPILERS = ("c++", "g++", "clang++")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What matters for running here.

    Attributes:
        gpus: GPUs that torch can use through CUDA or ROCm.
        modules: which of the modules that presets need are installed.
        linux: DeepSpeed runs there only.
    """

    gpus: int
    modules: frozenset[str]
    linux: bool

    @classmethod
    def here(cls) -> Machine:
        """This machine."""
        needed = ("deepspeed", "transformers")
        return cls(
            gpus=torch.cuda.device_count() if torch.cuda.is_available() else 0,
            modules=frozenset(name for name in needed if importlib.util.find_spec(name)),
            linux=sys.platform == "linux",
        )


def obstacle(preset: Preset, machine: Machine) -> str | None:
    """Why a preset cannot run on a machine, with the remedy, or None when it can."""
    if preset.needs_gpu and not machine.gpus:
        return "no GPU that torch can use"
    if preset.sharding != "deepspeed":
        return None
    if not machine.linux:
        return "DeepSpeed runs on Linux"
    if missing := {"deepspeed", "transformers"} - machine.modules:
        return f'no {" and no ".join(sorted(missing))}: pip install "{DISTRIBUTION}[deepspeed]"'
    return None


def note(preset: Preset, machine: Machine) -> str:
    """How a preset would run on a machine that can run it."""
    if preset.machines > 1:
        return "by `accelerate launch` on every machine; see the preset's file"
    if preset.use_cpu or not machine.gpus:
        count = preset.processes
        return "CPU, --processes N" if count is None else f"CPU, {count} process(es)"
    return f"GPU, {preset.processes or machine.gpus} process(es)"


def examine() -> dict[str, Any]:
    """Everything that `doctor` reports, as JSON can hold it."""
    machine = Machine.here()
    presets = [Preset.named(name) for name in names()]
    return {
        "system": _system(),
        "torch": _torch(),
        "build": _build(),
        "hub": _hub(),
        "presets": {
            preset.name: {"obstacle": reason, "note": None if reason else note(preset, machine)}
            for preset in presets
            for reason in (obstacle(preset, machine),)
        },
        "extras": [asdict(extra) for extra in extras()],
    }


def command(config: DoctorConfig) -> int:
    """Print the report; 1 when the required preset cannot run here, else 0.

    Raises:
        UsageError: a plan is asked for, and no training to plan.
    """
    if config.plan:
        raise UsageError(
            "doctor --plan: expected a training command after --, found nothing.\n"
            "Such as: doctor --plan --items 10000 -- train --batch-size 32"
        )
    report = examine()
    if config.json:
        Console(soft_wrap=True, highlight=False).print_json(json.dumps(report))
    else:
        _print(report)
    if config.require is None:
        return 0
    return 0 if report["presets"][config.require]["obstacle"] is None else 1


def _system() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "memory_free_gb": round(psutil.virtual_memory().available / 1e9, 1),
        "disk_free_gb": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
    }


def _torch() -> dict[str, Any]:
    return {
        "torch": torch.__version__,
        "torchvision": version_of("torchvision"),
        "accelerate": version_of("accelerate"),
        "cuda": torch.version.cuda,
        "rocm": torch.version.hip,
        "devices": devices(),
        "bf16": torch.cuda.is_bf16_supported() if torch.cuda.is_available() else "CPU (slow)",
        "backends": [
            name
            for name in ("gloo", "nccl", "mpi")
            if torch.distributed.is_available() and torch.distributed.is_backend_available(name)
        ],
    }


def _build() -> dict[str, Any]:
    """For torch.compile, and for the optimisers that DeepSpeed compiles; no preset needs them."""
    compiler = next((name for name in COMPILERS if shutil.which(name)), None)
    return {"C++ compiler": compiler, "ninja": shutil.which("ninja") is not None}


def _hub() -> dict[str, Any]:
    home = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    named = os.environ.get("HF_HOME", f"{home}/huggingface")
    cache = Path(named).expanduser()
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    return {"cache": named, "cache_exists": cache.is_dir(), "offline": offline}


@dataclass(frozen=True, kw_only=True)
class Extra:
    """An optional part: its name, what of it is not installed, and the line that installs it."""

    name: str
    missing: list[str]
    install: str


def extras() -> list[Extra]:
    """The optional parts of shared-core, as its own metadata lists them."""
    wanted: dict[str, list[str]] = {}
    for line in metadata.requires(DISTRIBUTION) or []:
        match = re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]", line)
        if match and match[2] != "all":  # it only names the others
            wanted.setdefault(match[2], []).append(match[1])
    return [
        Extra(
            name=name,
            missing=[part for part in parts if version_of(part) is None],
            install=f'pip install "{DISTRIBUTION}[{name}]"',
        )
        for name, parts in sorted(wanted.items())
    ]


def _print(report: dict[str, Any]) -> None:
    console = Console()
    for title in ("system", "torch", "build", "hub"):
        table = Table("", "", title=title, title_justify="left", show_header=False)
        for name, value in report[title].items():
            table.add_row(name, escape(_words(value)))
        console.print(table)
    table = Table("preset", "runs here", "how, or why not", title="presets", title_justify="left")
    for name, found in report["presets"].items():
        answer = "[red]no[/]" if found["obstacle"] else "[green]yes[/]"
        table.add_row(name, answer, escape(found["obstacle"] or found["note"]))
    console.print(table)
    table = Table("extra", "missing", "install", title="extras", title_justify="left")
    for extra in report["extras"]:
        missing = ", ".join(extra["missing"])
        table.add_row(extra["name"], missing or "-", escape(extra["install"]) if missing else "")
    console.print(table)


def _words(value: object) -> str:
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    if isinstance(value, dict):
        return " ".join(str(part) for part in value.values() if part is not None)
    return str(value)
