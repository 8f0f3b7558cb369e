"""The page over all demos, from what each of them leaves, and the command that runs them."""

from __future__ import annotations

import io
import json
import math
import re
import signal
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from shared_core.metrics import Measure
from shared_core.reporting.demo import clear, write_picture
from shared_core.reporting.demo_file import Comparison, Demo, Trained
from shared_core.reporting.figures import Line, curves
from shared_core.testing.processes import Child, alive
from tools.demo import __main__ as demo
from tools.demo.index import Result, write_index
from tools.demo.progress import Progress, last_lines
from tools.packages import Package

ROOT = Path(__file__).resolve().parents[1]

TOLD = Demo(
    title="one",
    task="Learning <something>",
    claims=["It learns something."],
    trained=Trained(model="a network", parameters=12345, data="numbers", counts={"rows": 10}),
    comparisons=[
        Comparison(
            measure="CCC",
            found={
                "ours": Measure(value=0.754321, low=0.501234, high=0.875678),
                "a constant": Measure(value=math.nan, reason="no spread"),
                "chance": Measure(value=0.02, reason="no interval: one seed"),
            },
            baselines=["a constant", "chance"],
        ),
        Comparison(
            measure="error",
            found={"ours": Measure(value=26.2331, unit="levels", higher_is_better=False)},
            baselines=[],
        ),
    ],
    pictures=[],
    machine="2 CPU cores",
    seconds=60.0,
)


def left_by(out, program, told=TOLD):
    """What a demo leaves, with a picture."""
    folder = out / program
    clear(folder, program)
    line = curves([Line(name="a", x=[1, 2], y=[3, 4])], x="update")
    picture = write_picture(folder, "curve", line, alt="a curve", caption="How it went.")
    replace(told, pictures=[picture]).write(folder)
    (folder / "report.html").write_text("report")
    (folder / "demo.log").write_text("1/3 drawing\n")
    return Result(program=program, folder=folder, log=folder / "demo.log", seconds=61.0)


def test_the_page_shows_what_was_trained_what_was_learnt_and_where_the_rest_is(tmp_path):
    page = write_index(tmp_path, [left_by(tmp_path, "one")]).read_text()
    for text in (
        *("Learning &lt;something&gt;", "It learns something.", "a network; 12,345 parameters"),
        *("10 rows", "61 s on 2 CPU cores", "0.754 [0.501,\u00a00.876]", "undefined (no spread)"),
        *("chance: 0.020", "0.020 (no interval: one seed)", "error (lower is better)"),
        *("CCC: 0.754 [0.501, 0.876]", "26.2 levels"),
        *('href="one/report.html"', 'href="one/demo.log"', 'alt="a curve"', "torch "),
    ):
        assert text in page, text
    assert page.count("data:image/svg+xml") == 1


def test_a_failed_demo_is_on_the_page_beside_the_others(tmp_path):
    results = [
        left_by(tmp_path, "one"),
        replace(left_by(tmp_path, "two"), status=1),
        Result(program="three", folder=tmp_path / "three", log=tmp_path / "three.log"),
    ]
    page = write_index(tmp_path, results).read_text()
    assert page.count("12,345 parameters") == 1
    assert page.count("the demo failed with exit status 1") == 2  # in the overview and in its place
    assert 'href="two/demo.log"' in page
    assert page.count("three/demo.json: cannot be read") == 2
    for state in ("failed", "no result"):
        assert f"<td>{state}</td>" in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "../../secret.png"}, r"pictures\[0\].file: expected a picture"),
        ({"file": "/etc/passwd"}, "expected a picture"),
        ({"file": "absent.png"}, "cannot be read"),
        ({"alt": None}, r"pictures\[0\].alt: expected text, found None"),
    ],
)
def test_a_picture_that_cannot_be_shown_is_said(tmp_path, change, message):
    result = left_by(tmp_path, "one")
    path = result.folder / "demo.json"
    content = json.loads(path.read_text())
    content["pictures"][0] |= change
    path.write_text(json.dumps(content))
    (tmp_path.parent / "secret.png").write_bytes(b"secret")
    page = write_index(tmp_path, [result]).read_text()
    assert "data:image" not in page
    assert re.search(message, page)


# --- the command ----------------------------------------------------------------------------------

GOOD = """
import pathlib, shutil, sys
out = pathlib.Path(sys.argv[3])
shutil.rmtree(out, ignore_errors=True)
shutil.copytree({left!r}, out)
print("1/1 all of it")
"""
BAD = "import sys; print('drawing\\n\\x1b[2Jthe last words'); sys.exit(3)"
ENDLESS = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("endless", flush=True)
time.sleep(600)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Makes a package of which `demo` runs some code."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")

    def make(program, code):
        (tmp_path / program).mkdir()
        module = tmp_path / program.replace("-", "_")
        module.mkdir()
        (module / "__main__.py").write_text(code)
        return Package(tmp_path / program)

    return make


@pytest.fixture
def good(tmp_path):
    result = left_by(tmp_path / "left", "pkg-good")
    (result.folder / "demo.log").unlink()
    return GOOD.format(left=str(result.folder))


def test_one_failure_stops_no_other_and_is_the_exit_status(
    tmp_path, package, good, monkeypatch, capsys
):
    chosen = [package("pkg-bad", BAD), package("pkg-good", good)]
    monkeypatch.setattr(demo, "packages", lambda: chosen)
    out = tmp_path / "out"
    assert demo.main(["--out", str(out)]) == 1
    told = capsys.readouterr().out
    assert "pkg-bad: FAILED in" in told
    assert "with status 3" in told
    assert "the last words" in told
    assert "\x1b" not in told
    assert "pkg-good: done in" in told
    assert (out / "pkg-good" / "demo.log").read_text() == "1/1 all of it\n"
    assert (out / "pkg-bad.log").is_file()  # it left no folder that the log could lie in
    assert "12,345 parameters" in (out / "index.html").read_text()
    assert demo.main(["--out", str(out), "pkg-good", "pkg-good"]) == 0


def test_what_an_earlier_demo_told_does_not_stand_for_one_that_failed(
    tmp_path, package, monkeypatch
):
    left_by(tmp_path / "out", "pkg-bad")
    monkeypatch.setattr(demo, "packages", lambda: [package("pkg-bad", BAD)])
    assert demo.main(["--out", str(tmp_path / "out")]) == 1
    assert "12,345" not in (tmp_path / "out" / "index.html").read_text()
    assert "the last words" in (tmp_path / "out" / "pkg-bad" / "demo.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_ends_all_and_leaves_no_process(tmp_path, package, number):
    endless = package("pkg-endless", ENDLESS)
    code = (
        "import sys; from pathlib import Path; from tools.packages import Package\n"
        "import tools.demo.__main__ as demo\n"
        f"demo.packages = lambda: [Package(Path({str(endless.folder)!r}))]\n"
        f"sys.exit(demo.main(['--out', {str(tmp_path / 'out')!r}]))"
    )
    log = tmp_path / "out" / "pkg-endless.log"
    with Child(["python", "-c", code], folder=ROOT) as child:
        child.wait_until(lambda: log.is_file() and "endless" in log.read_text())
        started = psutil.Process(child.process.pid).children(recursive=True)
        assert len(started) >= 2
        child.process.send_signal(number)
        assert child.wait() == 128 + number
        assert not alive(started)
        assert "Stopped" in child.output


def test_a_package_that_does_not_exist_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        demo.main(["abaw-av"])
    assert end.value.code == 2
    assert "abaw-va" in capsys.readouterr().err


# --- the display ----------------------------------------------------------------------------------


def test_a_terminal_shows_each_demo_with_its_state_and_latest_line(tmp_path):
    log = tmp_path / "b.log"
    log.write_text("1/4 drawing\n2/4 \x1b[1mtraining\x1b[0m [bold]\n\n")
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=100, color_system=None)
    with Progress(["a", "b", "c", "d"], console) as progress:
        progress.begin("a", log)
        progress.end("a", 3)
        progress.begin("d", log)
        progress.end("d", 0)
        progress.begin("b", log)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", shown.getvalue())
    rows = [line.split() for line in text.splitlines() if line.strip()][-4:]
    assert rows[0][:2] == ["a", "FAILED"]
    assert rows[0][-3:] == ["with", "status", "3"]
    assert rows[1][:3] == ["b", "running", "0:00"]
    assert rows[1][3:] == ["2/4", "training", "[bold]"]
    assert rows[2] == ["c", "waiting"]
    assert rows[3] == ["d", "done", "in", "0", "s"]


def test_without_a_terminal_there_are_plain_lines(tmp_path):
    shown = io.StringIO()
    with Progress(["a"], Console(file=shown, width=40)) as progress:
        progress.begin("a", tmp_path / "a.log")
        progress.end("a", 0)
    assert shown.getvalue().splitlines() == [
        f"a: running; its log is {tmp_path / 'a.log'}",
        "a: done in 0 s",
    ]


def test_the_last_lines_of_a_log_hold_nothing_that_moves_a_cursor(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"x" * 100_000 + b"\none\r\x1b[31mtwo\x1b[0m\x07\n\xff\n\n")
    assert last_lines(log, 2) == ["two", "\ufffd"]
    assert last_lines(tmp_path / "absent", 2) == []
