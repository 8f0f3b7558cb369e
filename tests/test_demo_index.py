"""The page over all demos, from what each of them leaves."""

from __future__ import annotations

import json
import subprocess

import pytest

from tools.demo import __main__ as demo
from tools.demo.index import Result, write_index
from tools.packages import packages

DEMO = {
    "title": "one",
    "shows": "It <learns> something.",
    "seconds": 1.5,
    "measures": [
        {"label": "trained", "value": 0.75, "low": 0.5, "high": 0.875, "reason": None},
        {"label": "constant", "value": None, "low": None, "high": None, "reason": "no spread"},
    ],
}


def left_by(folder, content=DEMO):
    folder.mkdir(parents=True)
    (folder / "demo.json").write_text(json.dumps(content))
    (folder / "report.html").write_text("report")
    return folder


def test_the_page_shows_claim_numbers_and_reasons(tmp_path):
    result = Result("one", left_by(tmp_path / "one"), status=0, seconds=61.0)
    page = write_index(tmp_path, [result]).read_text()
    for text in ("It &lt;learns&gt; something.", "0.75", "0.875", "no spread", "one/report.html"):
        assert text in page


def test_a_failed_demo_is_on_the_page_beside_the_others(tmp_path):
    results = [
        Result("one", left_by(tmp_path / "one"), status=0, seconds=1.0),
        Result("two", left_by(tmp_path / "two"), status=1, seconds=1.0),
        Result("three", tmp_path / "three", status=0, seconds=1.0),
    ]
    page = write_index(tmp_path, results).read_text()
    assert "0.75" in page
    assert "failed with exit status 1" in page
    assert "demo.json" in page  # three left none


def test_one_failure_stops_no_other_and_is_the_exit_status(tmp_path, monkeypatch, capsys):
    program = packages()[0].program

    def fails(command, *, check):
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(subprocess, "run", fails)
    assert demo.main(["--out", str(tmp_path), program, program]) == 1
    assert capsys.readouterr().out.count(f"{program}: FAILED with status 3") == 2
    assert (tmp_path / "index.html").is_file()


def test_a_package_that_does_not_exist_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        demo.main(["abaw-av"])
    assert end.value.code == 2
    assert "abaw-va" in capsys.readouterr().err
