"""The GPU smoke test, tried on the CPU; on a machine with a GPU, on that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tools.gpu_smoke import __main__ as smoke
from tools.packages import packages


@pytest.mark.timeout(600)
def test_losses_in_bf16_are_those_of_the_cpu_in_fp32(tmp_path, capfd):
    """The tool itself: everything it would do on a GPU, on the CPU."""
    file = tmp_path / "smoke.json"
    line = ["--device", "cpu", "--small", "--updates", "6", "--json", str(file)]
    assert smoke.main(line) == 0
    report = json.loads(file.read_text())
    assert [one["program"] for one in report["packages"]] == [p.program for p in packages()]
    for one in report["packages"]:
        assert len(one["device"]["losses"]) == len(one["reference"]["losses"]) == 6
        assert 0 < one["difference"] <= one["tolerance"]
        assert one["device"]["peak_memory_mb"] is None
        assert min(one["device"][name] for name in ("train", "evaluate", "predict")) > 0
    assert "passed" in capfd.readouterr().out


def test_losses_that_differ_fail(monkeypatch):
    """A difference above the tolerance gives status 1."""
    ours = smoke.Pass(
        losses=(1.0, 0.9), train=1.0, evaluate=1.0, predict=1.0, score=0.5, peak_memory_mb=None
    )
    cpu = smoke.Pass(
        losses=(1.0, 0.8), train=1.0, evaluate=1.0, predict=1.0, score=0.5, peak_memory_mb=None
    )
    one = smoke.Comparison(program="x", unit="rows", tolerance=0.05, device=ours, reference=cpu)
    monkeypatch.setattr(smoke, "_subjects", lambda: {"x": "x"})
    monkeypatch.setattr(smoke, "_compare", lambda *_: one)
    assert one.difference == pytest.approx(0.1)
    assert smoke.main(["--device", "cpu"]) == 1


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
