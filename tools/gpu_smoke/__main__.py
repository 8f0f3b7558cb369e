"""Train, evaluate and predict with each package on one GPU in bf16, and compare with the CPU in fp32."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from shared_core.launch.environment import environment
from tools.gpu_smoke.passes import Pass
from tools.packages import packages

UPDATES = 20


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One package on the device beside the CPU."""

    program: str
    unit: str
    tolerance: float
    device: Pass
    reference: Pass

    @property
    def difference(self) -> float:
        """Largest difference of a loss to the CPU's at the same update."""
        pairs = zip(self.device.losses, self.reference.losses, strict=True)
        return max(abs(ours - cpu) for ours, cpu in pairs)

    @property
    def passed(self) -> bool:
        """Whether every loss is within the tolerance."""
        return self.difference <= self.tolerance

    def to_json(self) -> dict[str, Any]:
        """Everything, and what follows from it."""
        return asdict(self) | {"difference": self.difference, "passed": self.passed}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; 1 where losses differ by more than allowed, 2 without a GPU."""
    options = _options(argv)
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            "gpu_smoke: torch finds no GPU (torch.cuda.is_available() is False).\n"
            "Run it on a machine with one, or try the tool itself with --device cpu --small.",
            file=sys.stderr,
        )
        return 2
    with tempfile.TemporaryDirectory() as folder:
        compared = [
            _compare(program, module, Path(folder, program), options)
            for program, module in _subjects().items()
        ]
    name = torch.cuda.get_device_name() if options.device == "cuda" else platform.machine()
    versions = f"{name}, torch {torch.__version__}, Python {platform.python_version()}"
    Console(width=None if sys.stdout.isatty() else 130).print(_table(compared, versions))
    if options.json is not None:
        report = {
            "device": name,
            "environment": environment(),
            "packages": [one.to_json() for one in compared],
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return int(not all(one.passed for one in compared))


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.gpu_smoke", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny networks, to try the tool")
    parser.add_argument("--updates", type=int, default=UPDATES, help="6 or more (default: 20)")
    options = parser.parse_args(argv)
    if options.updates < 6:
        parser.error("--updates: expected 6 or more, since five of them warm up")
    return options


def _subjects() -> dict[str, str]:
    """Modules of this folder by the program of the package that they are for."""
    folder = Path(__file__).parent
    return {
        package.program: f"tools.gpu_smoke.{package.module}"
        for package in packages()
        if (folder / f"{package.module}.py").is_file()
    }


def _compare(program: str, module: str, folder: Path, options: argparse.Namespace) -> Comparison:
    subject = import_module(module)
    folder.mkdir()
    size = {"updates": options.updates, "small": options.small}
    # The device first: a process that has asked accelerate for the CPU keeps to it.
    on_device = subject.run(folder, options.device, "bf16", **size)
    on_cpu = subject.run(folder, "cpu", "fp32", **size)
    return Comparison(
        program=program,
        unit=subject.UNIT,
        tolerance=subject.TOLERANCE,
        device=on_device,
        reference=on_cpu,
    )


def _table(compared: Sequence[Comparison], title: str) -> Table:
    table = Table(title=title)
    for column in (
        "package", "unit", "train/s", "evaluate/s", "predict/s", "peak MiB",
        "loss, first to last", "largest difference to the CPU", "",
    ):  # fmt: skip
        table.add_column(column)
    for one in compared:
        found = one.device
        memory = "-" if found.peak_memory_mb is None else f"{found.peak_memory_mb:.0f}"
        table.add_row(
            one.program,
            one.unit,
            *(f"{rate:,.0f}" for rate in (found.train, found.evaluate, found.predict)),
            memory,
            f"{found.losses[0]:.4f} to {found.losses[-1]:.4f}",
            f"{one.difference:.2g} (at most {one.tolerance:g})",
            "[green]passed" if one.passed else "[red]differs",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
