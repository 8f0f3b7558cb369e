"""The GPU smoke test: its frame with a stub package, and all of it on the CPU, or on a GPU."""

from __future__ import annotations

import json
import math
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from shared_core.reporting.events import Events
from tools.gpu_smoke import __main__ as smoke
from tools.gpu_smoke import peaks
from tools.gpu_smoke.passes import Pass, counting, measured
from tools.gpu_smoke.subject import Found, Place, Subject
from tools.packages import packages

WIDTH, ITEMS = 16, 4
FLOPS = 3 * 2 * ITEMS * WIDTH * WIDTH
"""A product of [ITEMS, WIDTH] and [WIDTH, WIDTH] forward, and two as large backward."""


class Stub:
    """Its update is one product; its loss depends on the device and precision as it is told."""

    def __init__(self, *, off: float = 0.0, values: tuple[float, ...] = (0.5,)) -> None:
        self.off = off
        self.values = values
        self.prepared = 0

    def update(self) -> None:
        inputs = torch.ones(ITEMS, WIDTH, requires_grad=True)
        (inputs @ torch.ones(WIDTH, WIDTH, requires_grad=True)).sum().backward()

    def train(self, place: Place) -> None:
        place.run.mkdir()
        with Events(place.run) as events:
            for step in range(place.updates):
                self.update()
                off = self.off if place.precision == "bf16" else 0.0
                events.write(step + 1, "train", loss=1.0 - 0.01 * step + off)

    def prepare(self, place: Place) -> None:
        self.prepared += 1

    def subject(self) -> Subject:
        def use() -> Found:
            return Found(ITEMS, [np.array(self.values)])

        return Subject(
            unit="rows",
            tolerance=0.05,
            update=(Stub, "update"),
            items=lambda _: ITEMS,
            prepare=self.prepare,
            train=self.train,
            uses=lambda _: (use, use),
        )


@pytest.fixture
def run(monkeypatch, tmp_path, capfd):
    """Runs the tool on stubs by their names; (status, its JSON, its Markdown, what it printed)."""

    def smoked(*options: str, **stubs: Stub):
        for name, stub in stubs.items():
            module = types.ModuleType(name)
            module.SUBJECT = stub.subject()
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(smoke, "_subjects", lambda: {name: name for name in stubs})
        file, text = tmp_path / "smoke.json", tmp_path / "smoke.md"
        line = ["--device", "cpu", "--updates", "7", "--json", str(file), "--markdown", str(text)]
        status = smoke.main([*line, *(options or ("--peak-tflops", "0.001"))])
        return status, json.loads(file.read_text()), text.read_text(), capfd.readouterr()

    return smoked


def test_a_package_within_its_tolerance_passes(run):
    stub = Stub(off=0.04)
    status, report, text, printed = run(one=stub)
    (found,) = report["packages"]
    assert status == 0
    assert found["passed"]
    assert found["difference"] == pytest.approx(0.04)
    assert len(found["device"]["losses"]) == 7
    assert found["flops"] == FLOPS
    assert found["utilisation"] == pytest.approx(FLOPS * found["device"]["updates"] / 1e9)
    assert found["device"]["train"] == pytest.approx(ITEMS * found["device"]["updates"])
    assert found["device"]["peak_memory_mb"] is None
    assert stub.prepared == 1
    assert "| one | rows |" in text
    assert "passed" in printed.out


def test_losses_that_differ_fail(run):
    """A difference above the tolerance gives status 1."""
    status, report, text, _ = run(one=Stub(off=0.06))
    assert status == 1
    assert not report["packages"][0]["passed"]
    assert "differs" in text


def test_a_package_that_fails_leaves_the_others(run):
    status, report, text, printed = run(bad=Stub(values=(0.5, math.nan)), good=Stub())
    bad, good = report["packages"]
    assert status == 1
    assert (bad["passed"], good["passed"]) == (False, True)
    assert "not finite" in bad["error"]
    assert "not finite on cpu. | failed |" in text
    assert "NonFiniteError" in printed.err


def test_the_markdown_is_added_to_what_is_there(run):
    """A job's summary has other parts."""
    run(one=Stub())
    _, _, text, _ = run(one=Stub(off=1.0))
    assert text.count("| package | unit |") == 2


def test_the_roof_of_a_cpu_is_measured(run):
    _, report, _, _ = run("--updates", "6", one=Stub())
    assert report["peak"] > 1e8
    assert 0 < report["packages"][0]["utilisation"] < 1


def test_operations_are_counted_only_while_counting():
    stub, usual = Stub(), Stub.update
    with counting(Stub, "update") as found:
        stub.update()
        stub.update()
    assert found == [FLOPS, FLOPS]
    assert Stub.update is usual


def test_a_gpu_pass_that_ran_on_the_cpu_is_refused(monkeypatch, tmp_path):
    """Else the CPU in bf16 would be compared with the CPU in fp32, and pass."""
    for name in ("reset_peak_memory_stats", "synchronize"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda: {"allocation.all.allocated": 3})
    place = Place(folder=tmp_path, device="cuda", precision="bf16", updates=6, small=True)
    with pytest.raises(RuntimeError, match="ran on the CPU"):
        measured(Stub().subject(), place)


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
        ("NVIDIA GeForce RTX 4090", 165),
    ],
)
def test_the_peak_of_a_known_gpu(name, tflops):
    assert peaks.peak_of_gpu(name) == tflops * 1e12


@pytest.mark.parametrize(
    "name", ["NVIDIA H100 PCIe", "NVIDIA L40", "Tesla T4", "RTX 4090 Laptop GPU"]
)
def test_a_gpu_that_is_not_known_has_no_peak(name):
    assert peaks.peak_of_gpu(name) is None


def test_without_a_peak_there_is_no_utilisation():
    found = Pass(
        losses=(1.0,), updates=1.0, train=1.0, evaluate=1.0, predict=1.0, peak_memory_mb=512.4
    )
    one = smoke.Comparison(
        program="x", unit="rows", tolerance=0.1, flops=2e9, utilisation=None,
        device=found, reference=found,
    )  # fmt: skip
    cells = dict(zip(smoke._COLUMNS, one.cells(), strict=True))
    assert (cells["GFLOP"], cells["MFU"], cells["MiB"]) == ("2", "-", "512")


@pytest.mark.parametrize("line", [["--updates", "5"], ["--peak-tflops", "0"]])
def test_settings_that_cannot_be_are_refused(line, capsys):
    with pytest.raises(SystemExit) as end:
        smoke.main(line)
    assert end.value.code == 2
    assert line[0] in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so(capsys):
    assert smoke.main([]) == 2
    assert "no GPU" in capsys.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_passes():
    assert smoke.main([]) == 0


def test_every_package_takes_part():
    folder = Path(smoke.__file__).parent
    assert all((folder / f"{package.module}.py").is_file() for package in packages())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_losses_in_bf16_are_those_of_the_cpu_in_fp32(tmp_path):
    """The tool itself, over all packages: what it would do on a GPU, on the CPU."""
    file = tmp_path / "smoke.json"
    line = ["--device", "cpu", "--small", "--updates", "6", "--json", str(file)]
    assert smoke.main(line) == 0
    report = json.loads(file.read_text())
    assert [one["program"] for one in report["packages"]] == [p.program for p in packages()]
    for one in report["packages"]:
        assert len(one["device"]["losses"]) == len(one["reference"]["losses"]) == 6
        assert 0 < one["difference"] <= one["tolerance"]
        assert 0 < one["utilisation"] < 1
        assert min(one["device"][name] for name in ("train", "evaluate", "predict")) > 0
