"""The runner of the benchmarks: what it finds, compares, keeps and survives; the benchmarks are its own."""

from __future__ import annotations

import json
import math
import sys
import types
from pathlib import Path

import pytest
import torch

from shared_core.errors import DataError
from tools.bench import results, runner
from tools.bench.live import LiveBytes
from tools.bench.results import Outcome, Results
from tools.bench.timing import Row
from tools.tables import Table


def row(ratio: float, *, name: str = "x", higher: bool = True, bound: float = 1.0) -> Row:
    """One that passes wherever the ratio says so."""
    return Row(
        name=name, ours=1.0, reference=ratio, ratio=ratio, bound=bound, higher_is_better=higher
    )


def found(*rows: Row, bench: str = "one", error: str | None = None, **environment: str) -> Results:
    return Results(
        environment={"cpu": "this one", "torch": "2.0", **environment},
        benchmarks={bench: Outcome(rows=rows, seconds=2.0, error=error)},
    )


@pytest.fixture
def bench(monkeypatch, tmp_path, capfd):
    """Runs the tool on stand-ins by their names; (status, what it printed)."""
    torch_threads = torch.get_num_threads()

    def run(*options: str, **measures):
        monkeypatch.setattr(runner, "benchmarks", lambda: list(measures))
        for name, measure in measures.items():
            module = types.ModuleType(f"tools.bench.{name}")
            module.measure = measure
            monkeypatch.setitem(sys.modules, module.__name__, module)
        status = runner.main([str(option) for option in options])
        return status, capfd.readouterr()

    yield run
    torch.set_num_threads(torch_threads)


# What is compared


@pytest.mark.parametrize(
    ("higher", "now", "fell"),
    [
        (True, 0.84, True),
        (True, 0.86, False),
        (True, 2.0, False),
        (False, 1.16, True),
        (False, 1.14, False),
        (False, 0.5, False),
    ],
)
def test_a_ratio_that_is_more_than_15_percent_worse_is_named(higher, now, fell):
    """16 percent are named and 14 are not, whichever direction is better."""
    lines = results.fallen(found(row(now, higher=higher)), found(row(1.0, higher=higher)))
    assert lines == ([f"FELL: x: the ratio was 1.00, now {now:.2f}"] if fell else [])


def test_a_limit_is_kept_or_missed_and_never_compared():
    """An error of 3e-16 after one of 1e-16 is noise."""
    now, before = Row.within("x", 3e-16, 1e-9), Row.within("x", 1e-16, 1e-9)
    assert results.fallen(found(now), found(before)) == []
    assert not Row.within("x", 2e-9, 1e-9).passed


def test_a_row_that_vanished_is_named():
    lines = results.vanished(found(row(1.0)), found(row(1.0), row(1.0, name="y")))
    assert lines == ["GONE: y: one no longer measures it"]


def test_a_benchmark_that_was_not_run_or_failed_loses_no_rows():
    before = found(row(1.0))
    assert results.vanished(found(bench="another"), before) == []
    assert results.vanished(found(error="it broke"), before) == []


def test_another_machine_is_said_to_be_one():
    before = found(cpu="that one", torch="1.9", trl="1.0")
    assert results.differences(found().environment, before.environment) == [
        "ANOTHER MACHINE: the former ratios were measured elsewhere",
        "cpu: was that one, now this one",
        "torch: was 1.9, now 2.0",
        "trl: was 1.0, now absent",
    ]


def test_other_versions_are_no_other_machine():
    lines = results.differences(found().environment, found(torch="1.9").environment)
    assert lines == ["torch: was 1.9, now 2.0"]
    assert results.differences(found().environment, found().environment) == []


# The file


def test_results_are_what_they_were_after_a_round_trip(tmp_path):
    given = found(row(0.5), Row.within("y", 3.0, 4.0, unit="MB"), error="no")
    given.write(tmp_path / "bench.json")
    assert Results.read(tmp_path / "bench.json") == Results(
        environment=given.environment,
        benchmarks={
            "one": Outcome(rows=list(given.benchmarks["one"].rows), seconds=2.0, error="no")
        },
        measured=given.measured,
        load=given.load,
    )


def test_a_ratio_that_is_no_number_survives_the_file(tmp_path):
    found(row(math.nan)).write(tmp_path / "bench.json")
    (one,) = Results.read(tmp_path / "bench.json").rows.values()
    assert math.isnan(one.ratio)
    assert not one.passed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"rows": []}',
        '{"environment": [], "benchmarks": {}}',
        '{"environment": {}, "measured": "", "load": 1, "benchmarks": {"a": {"rows": [{"name": 1}]}}}',
    ],
)
def test_a_damaged_file_is_one_message(bench, tmp_path, text):
    file = tmp_path / "bench.json"
    file.write_text(text)
    with pytest.raises(DataError, match=r"bench\.json"):
        Results.read(file)
    status, printed = bench("--previous", file, one=lambda: [row(1.0)])
    assert status == 1
    assert str(file) in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


# The whole


def test_the_file_is_compared_with_and_then_replaced(bench, tmp_path):
    file = tmp_path / "bench.json"
    assert bench("--json", file, one=lambda: [row(2.0)])[0] == 0
    status, printed = bench("--json", file, one=lambda: [row(1.5)])
    assert status == 1
    assert "FELL: x: the ratio was 2.00, now 1.50" in printed.out
    assert "2.00" in next(line for line in printed.out.splitlines() if line.startswith("│ x"))
    status, printed = bench("--json", file, one=lambda: [row(1.5)])
    assert status == 0
    assert "nothing fell" in printed.out


def test_another_file_can_be_the_former_one(bench, tmp_path):
    kept, file = tmp_path / "kept.json", tmp_path / "bench.json"
    bench("--json", kept, one=lambda: [row(2.0)])
    bench("--json", file, one=lambda: [row(1.0)])
    status, _ = bench("--json", file, "--previous", kept, one=lambda: [row(1.1)])
    assert status == 1
    assert Results.read(kept).rows["x"].ratio == 2.0
    assert Results.read(file).rows["x"].ratio == 1.1


def test_a_benchmark_that_fails_leaves_the_others(bench, tmp_path):
    def fail():
        raise RuntimeError("no such library\nand more")

    file = tmp_path / "bench.json"
    status, printed = bench("--json", file, bad=fail, good=lambda: [row(2.0)])
    assert status == 1
    assert "FAILED: bad: no such library\n" in printed.out
    assert "RuntimeError" in printed.err
    assert list(Results.read(file).rows) == ["x"]


def test_a_missed_bound_gives_status_1(bench):
    status, printed = bench(one=lambda: [row(0.9), row(1.1, name="y")])
    assert status == 1
    assert "1 of 2 bounds kept" in printed.out


def test_each_package_has_a_table_of_its_own(bench, tmp_path):
    file = tmp_path / "bench.md"
    names = ("abaw_va", "abaw_va_more", "metrics")
    bench("--markdown", file, **{n: lambda n=n: [row(2.0, name=n)] for n in names})
    titles = [line for line in file.read_text().splitlines() if line.startswith("**")]
    assert titles == ["**abaw-va, 0 s**", "**shared-core, 0 s**"]
    assert file.read_text().count("| --- |") > 0


def test_a_name_that_does_not_exist_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        runner.main(["no-such"])
    assert end.value.code == 2
    assert "no such benchmark: no-such" in capsys.readouterr().err


# The benchmarks


def test_benchmarks_are_the_modules_that_measure():
    """Found without importing what they need; neither the runner nor a plain side is one."""
    names = runner.benchmarks()
    folder = Path(runner.__file__).parent
    assert {"abaw_va", "adaglimpse", "asal_vrvqa", "gaze_da", "refine_iqa", "metrics"} <= set(names)
    assert not {"runner", "results", "timing", "live", "__main__"} & set(names)
    assert all((folder / f"{name}.py").is_file() for name in names)


def test_help_needs_no_benchmark(capsys):
    with pytest.raises(SystemExit) as end:
        runner.main(["--help"])
    assert end.value.code == 0
    assert "gaze_da_network" in capsys.readouterr().out


def test_live_bytes_are_those_held_at_once():
    """Two tensors one after the other weigh as one; beside each other as two."""
    with LiveBytes() as apart:
        for _ in range(2):
            torch.zeros(1000)
    with LiveBytes() as together:
        _both = torch.zeros(1000), torch.zeros(1000)
    with LiveBytes(lambda tensor: tensor.ndim == 2) as flat:
        _both = torch.zeros(1000), torch.zeros(10, 10)
    assert (apart.most, together.most, flat.most) == (4000, 8000, 400)


def test_json_holds_whether_each_bound_was_kept(tmp_path):
    found(row(0.5), row(2.0, name="y")).write(tmp_path / "bench.json")
    rows = json.loads((tmp_path / "bench.json").read_text())["benchmarks"]["one"]["rows"]
    assert [one["passed"] for one in rows] == [False, True]


def test_what_looks_like_markup_in_a_cell_is_text():
    table = Table(title="x", columns=["row"], rows=[["1 MB of <think> | a & b"]])
    assert r"| 1 MB of &lt;think&gt; \| a &amp; b |" in table.markdown()
