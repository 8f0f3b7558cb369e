"""Train, evaluate and predict with each package on one GPU in bf16, and compare with the CPU in fp32."""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from shared_core.data.tables import write_json
from shared_core.errors import first_line
from shared_core.launch.environment import environment
from tools.gpu_smoke.passes import WARM_UP, Pass, counting, flops_of_an_update, measured
from tools.gpu_smoke.peaks import peak_of_cpu, peak_of_gpu
from tools.gpu_smoke.subject import Place, Subject
from tools.packages import packages
from tools.tables import Table

UPDATES = 20

_COLUMNS = (
    "package", "unit", "train/s", "evaluate/s", "predict/s", "GFLOP", "MFU", "MiB", "loss",
    "to the CPU", "",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One package on the device beside the CPU.

    Attributes:
        program: the package's command.
        unit: what is counted.
        tolerance: largest difference of a loss that passes.
        flops: of one update, counted on the CPU.
        utilisation: their share of what the device can do at most, 0..1; None where that is not known.
        device: what was measured there.
        reference: the same on the CPU.
    """

    program: str
    unit: str
    tolerance: float
    flops: float
    utilisation: float | None
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

    def cells(self) -> list[str]:
        """Its row of the table."""
        found = self.device
        share, memory = self.utilisation, found.peak_memory_mb
        return [
            self.program,
            self.unit,
            *map(_digits, (found.train, found.evaluate, found.predict)),
            _digits(self.flops / 1e9),
            "-" if share is None else f"{share:.1%}",
            "-" if memory is None else f"{memory:.0f}",
            f"{found.losses[0]:.4f} to {found.losses[-1]:.4f}",
            f"{self.difference:.2g} {'≤' if self.passed else '>'} {self.tolerance:g}",
            "passed" if self.passed else "differs",
        ]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One package that did not get through.

    Attributes:
        program: the package's command.
        error: its first line.
    """

    program: str
    error: str
    passed = False

    def to_json(self) -> dict[str, Any]:
        """The error, in place of what was to be measured."""
        return asdict(self) | {"passed": False}

    def cells(self) -> list[str]:
        """Its row of the table."""
        return [self.program, *["-"] * (len(_COLUMNS) - 3), self.error, "failed"]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; 1 where losses differ by more than allowed or a package fails, 2 without a GPU."""
    options = _options(argv)
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            "gpu_smoke: torch finds no GPU (torch.cuda.is_available() is False).\n"
            "Run it on a machine with one, or try the tool itself with --device cpu --small.",
            file=sys.stderr,
        )
        return 2
    name, peak = _device(options)
    with tempfile.TemporaryDirectory() as folder:
        found = [
            _compare(program, module, Path(folder, program), options, peak)
            for program, module in _subjects().items()
        ]
    table = Table(
        title=_title(name, peak, options), columns=_COLUMNS, rows=[f.cells() for f in found]
    )
    table.show()
    if options.markdown is not None:
        with options.markdown.open("a", encoding="utf-8") as file:
            file.write(table.markdown())
    if options.json is not None:
        rows = [one.to_json() for one in found]
        report = {"device": name, "peak": peak, "environment": environment(), "packages": rows}
        write_json(options.json, report)
    return int(not all(one.passed for one in found))


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.gpu_smoke", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="add the table at the end of this file"
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny networks, to try the tool")
    parser.add_argument("--updates", type=int, default=UPDATES, help="6 or more (default: 20)")
    parser.add_argument(
        "--peak-tflops",
        type=float,
        metavar="NUMBER",
        help="what the device does at most in bf16, dense, in 1e12 operations a second; "
        "needed for the MFU of a GPU that is not known",
    )
    options = parser.parse_args(argv)
    if options.updates <= WARM_UP:
        parser.error(f"--updates: expected {WARM_UP + 1} or more, since {WARM_UP} of them warm up")
    if options.peak_tflops is not None and not options.peak_tflops > 0:
        parser.error("--peak-tflops: expected a number above 0")
    return options


def _device(options: argparse.Namespace) -> tuple[str, float | None]:
    """Name of the device, and how many operations a second it can do at most, if that is known."""
    name = torch.cuda.get_device_name() if options.device == "cuda" else platform.machine()
    if options.peak_tflops is not None:
        return name, 1e12 * options.peak_tflops
    return name, peak_of_gpu(name) if options.device == "cuda" else peak_of_cpu()


def _digits(value: float) -> str:
    """Three digits, and more where the number has more before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _title(name: str, peak: float | None, options: argparse.Namespace) -> str:
    share = "no peak known" if peak is None else f"MFU of {peak / 1e12:.3g} TFLOP/s"
    size = "tiny networks, " if options.small else ""
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    return f"{name}, bf16, {size}{options.updates} updates, {share}, {versions}"


def _subjects() -> dict[str, str]:
    """Modules of this folder by the program of the package that they are for."""
    folder = Path(__file__).parent
    return {
        package.program: f"tools.gpu_smoke.{package.module}"
        for package in packages()
        if (folder / f"{package.module}.py").is_file()
    }


def _compare(
    program: str, module: str, folder: Path, options: argparse.Namespace, peak: float | None
) -> Comparison | Failure:
    """One package on both devices; whatever stops it, the others go on."""
    try:
        return _comparison(program, import_module(module).SUBJECT, folder, options, peak)
    except Exception as error:  # noqa: BLE001  it stands in the table
        traceback.print_exc()
        return Failure(program=program, error=first_line(error))


def _comparison(
    program: str, subject: Subject, folder: Path, options: argparse.Namespace, peak: float | None
) -> Comparison:
    folder.mkdir()
    place = partial(Place, folder=folder, updates=options.updates, small=options.small)
    on_device = place(device=options.device, precision="bf16")
    on_cpu = place(device="cpu", precision="fp32")
    subject.prepare(on_device)
    found = measured(subject, on_device)
    with counting(*subject.update) as counts:  # slows the updates: never where they are timed
        reference = measured(subject, on_cpu)
    flops = flops_of_an_update(counts)
    return Comparison(
        program=program,
        unit=subject.unit,
        tolerance=subject.tolerance,
        flops=flops,
        utilisation=None if peak is None else flops * found.updates / peak,
        device=found,
        reference=reference,
    )


if __name__ == "__main__":
    sys.exit(main())
