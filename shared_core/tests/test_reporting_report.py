"""The report tells what is in the run folder, finished or not, and nothing that is not."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from shared_core.errors import DataError
from shared_core.metrics.measure import Measure
from shared_core.reporting.events import Events
from shared_core.reporting.report import run_page, run_report


def trained(folder: Path, steps: int = 4, **more: Any) -> Path:
    folder.mkdir(exist_ok=True)
    with Events(folder) as events:
        for step in range(1, steps + 1):
            events.write(step, "train", epoch=0, loss=1 / step, learning_rate=0.1, **more)
    return folder


def text_of(path: Path) -> str:
    html = re.sub(r"<style>.*?</style>", "", path.read_text(), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def titles(folder: Path) -> list[str]:
    return [section.title for section in run_page(folder).sections]


def test_a_run_that_has_only_begun_has_a_report(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").touch()
    text = text_of(run_report(tmp_path))
    assert "state unfinished" in text
    assert "The run had not finished" in text
    assert titles(tmp_path) == ["Summary", "Quarantine"]


def test_a_killed_run_with_half_a_line_has_a_report(tmp_path: Path) -> None:
    path = trained(tmp_path) / "events.jsonl"
    path.write_bytes(path.read_bytes()[:-7])
    assert "updates 3" in text_of(run_report(tmp_path))


def test_a_finished_run_tells_all_it_left(tmp_path: Path) -> None:
    folder = trained(tmp_path / "night")
    with Events(folder) as events:
        for step, value in ((2, 0.5), (4, 0.25)):
            measure = Measure(value=value, low=value - 0.1, high=value + 0.1).to_json()
            error = Measure(value=value, unit="points", higher_is_better=False).to_json()
            odd = Measure(value=float("nan"), reason="constant target").to_json()
            events.write(
                step, "evaluate", score="ccc", measures={"ccc": measure, "rmse": error, "odd": odd}
            )
        events.write(4, "note", text="continued after update 2")
    row = {"path": "a.h5", "where": "row 7", "message": "NaN <b>", "count": 3}
    for name, content in {
        "summary.json": {
            "steps": 4,
            "epochs": 1,
            "best": 2,
            "score": 0.5,
            "stopped_by": "epochs",
            "seconds": 61.0,
        },
        "fingerprint.json": {"program": "abaw-va"},
        "environment.json": {"python": "3.11", "libraries": {"torch": "2.15"}, "devices": []},
        "quarantine.json": [row],
    }.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "config.yaml").write_text("learning_rate: 3.0e-05\nname: <script>\n")
    examples = folder / "examples"
    examples.mkdir()
    (examples / "one.png").write_bytes(b"png")
    (examples / "two.svg").write_text("<svg onload='alert(1)'/>")
    (examples / "captions.json").write_text(json.dumps({"one.png": "a face & <b>"}))
    text = text_of(run_report(folder))
    for told in (
        "night A run of abaw-va",
        "state finished (epochs) updates 4 epochs 1 best ccc 0.5000 after update 2 time 61 s",
        "ccc higher is better 0.2500 [0.1500, 0.3500] 0.5000 [0.4000, 0.6000] 2",
        "rmse lower is better 0.2500 points 0.2500 points 4",
        "odd higher is better undefined (constant target) - -",
        "a face & <b>",
        "1 rows could not be used",
        "a.h5 row 7 NaN <b> 3",
        "continued after update 2",
        "learning_rate: 3.0e-05 name: <script>",
        "libraries.torch 2.15",
        "devices none",
    ):
        assert told in text
    html = (folder / "report.html").read_text()
    assert "<script" not in html
    assert html.count("<svg ") == 4  # loss, learning rate, ccc, rmse; none for what is undefined
    assert html.count('src="data:image/') == 2


def test_no_quarantined_row_is_said_too(tmp_path: Path) -> None:
    assert "No row was left out." in text_of(run_report(trained(tmp_path)))


def test_flags_are_counted_not_drawn(tmp_path: Path) -> None:
    folder = trained(tmp_path, overflow=True)
    assert "overflow 4" in text_of(run_report(folder))
    assert (folder / "report.html").read_text().count("<svg ") == 2


def test_a_long_run_makes_a_small_page_that_hides_no_spike(tmp_path: Path) -> None:
    with Events(tmp_path) as events:
        for step in range(1, 5001):
            events.write(step, "train", loss=77.0 if step == 2500 else 1.0)
    path = run_report(tmp_path)
    assert path.stat().st_size < 200_000
    assert "mean of about 16 recorded updates" in text_of(path)
    ticks = [float(t) for t in re.findall(r">(\d+)</text>", path.read_text())]
    assert 60 in ticks  # the band reaches to the spike


def test_values_that_are_not_finite_are_gaps(tmp_path: Path) -> None:
    with Events(tmp_path) as events:
        for step in range(1, 6):
            events.write(step, "train", loss=float("nan") if step == 3 else 1.0 * step)
    assert run_report(tmp_path).exists()


def test_many_examples_and_rows_are_cut_and_said(tmp_path: Path) -> None:
    folder = trained(tmp_path)
    (folder / "examples").mkdir()
    for number in range(30):
        (folder / "examples" / f"{number:02}.png").write_bytes(b"png")
    (folder / "examples" / "00.png").write_bytes(bytes(5 << 20))
    rows = [{"path": "a", "where": f"row {n}", "message": "m", "count": 1} for n in range(250)]
    (folder / "quarantine.json").write_text(json.dumps(rows))
    text = text_of(run_report(folder))
    assert "00.png is too large for this page" in text
    assert "6 more are in the folder examples" in text
    assert "50 more are in quarantine.json" in text


@pytest.mark.parametrize("name", ["summary.json", "quarantine.json", "environment.json"])
@pytest.mark.parametrize("content", ["{", "3"])
def test_a_damaged_file_is_one_message(tmp_path: Path, name: str, content: str) -> None:
    (trained(tmp_path) / name).write_text(content)
    with pytest.raises(DataError, match=name):
        run_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_folder_without_a_run_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"events\.jsonl: it cannot be read"):
        run_report(tmp_path)


def test_a_package_adds_its_own_sections(tmp_path: Path) -> None:
    page = run_page(trained(tmp_path))
    page.section("Mine").text("more")
    assert "Mine more" in text_of(page.write(tmp_path / "own.html"))
