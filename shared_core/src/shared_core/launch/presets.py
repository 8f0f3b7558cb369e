"""The shipped ways to start, read without torch, and what a caller asks of one."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Protocol

import yaml

from shared_core.errors import LaunchError

Sharding = Literal["none", "fsdp", "deepspeed"]

_SHARDING: dict[str, Sharding] = {
    "NO": "none",
    "MULTI_GPU": "none",
    "FSDP": "fsdp",
    "DEEPSPEED": "deepspeed",
}


class Asked(Protocol):
    """The settings that say how many processes, and which: `launch` and `processes`."""

    @property
    def launch(self) -> str | None:
        """Name of a preset."""

    @property
    def processes(self) -> int | None:
        """Number of processes, over all machines."""


@dataclass(frozen=True)
class Preset:
    """One way to start.

    Attributes:
        name: such as "zero2".
        sharding: what is spread over the processes, and by whom.
        processes: how many; None when the caller must say.
        machines: more than 1 only for those that `accelerate launch` starts on each machine.
        use_cpu: runs on the CPU, also beside a GPU.
        zero_stage: 1, 2 or 3 for DeepSpeed, else None.
        fsdp: the settings of FSDP, without their prefix; empty for the others.
    """

    name: str
    sharding: Sharding
    processes: int | None
    machines: int
    use_cpu: bool
    zero_stage: int | None
    fsdp: dict[str, Any]

    @classmethod
    def named(cls, name: str) -> Preset:
        """Read a shipped preset.

        Raises:
            LaunchError: there is none of that name; the message holds the nearest.
        """
        tree = read_preset(name)
        count = int(tree["num_processes"])
        return cls(
            name=name,
            sharding=_SHARDING[tree["distributed_type"]],
            processes=count if count > 0 else None,
            machines=int(tree["num_machines"]),
            use_cpu=bool(tree["use_cpu"]),
            zero_stage=tree.get("deepspeed_config", {}).get("zero_stage"),
            fsdp={
                key.removeprefix("fsdp_"): value
                for key, value in tree.get("fsdp_config", {}).items()
            },
        )

    @property
    def needs_gpu(self) -> bool:
        """DeepSpeed alone runs on either; the others that are not for the CPU need a GPU."""
        return not self.use_cpu and self.sharding != "deepspeed"


def names() -> list[str]:
    """Names of the shipped presets, sorted."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def preset_path(name: str) -> Path:
    """The file of a preset, as `accelerate launch --config_file` takes it.

    Raises:
        LaunchError: there is none of that name; the message holds the nearest.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise LaunchError(f"no preset {name!r}.{hint} There are: {', '.join(names())}.")
    return _folder() / f"{name}.yaml"


def read_preset(name: str) -> dict[str, Any]:
    """The tree of a preset's file; see `preset_path` for what is raised."""
    tree: dict[str, Any] = yaml.safe_load(preset_path(name).read_text(encoding="utf-8"))
    return tree


def preset_asked(asked: Asked) -> Preset | None:
    """The preset that is asked for, or None; see `preset_path` for what is raised."""
    return None if asked.launch is None else Preset.named(asked.launch)


def processes_asked(preset: Preset | None, processes: int | None) -> int | None:
    """How many processes are asked for, by number or by preset; None when neither says.

    Raises:
        LaunchError: the preset is for another number of processes.
    """
    fixed = preset.processes if preset else None
    if preset and fixed is not None and processes not in (None, fixed):
        raise LaunchError(
            f"--launch {preset.name} is {_count(fixed)}, --processes asks for {processes}.\n"
            "Leave one of the two out, or take ddp (GPUs) or no preset (CPU)."
        )
    return fixed if processes is None else processes


def _count(processes: int) -> str:
    return "one process" if processes == 1 else f"{processes} processes"


def _folder() -> Path:
    return Path(str(files("shared_core") / "launch" / "presets"))
