"""What every demo does: it clears its own folder alone, tells seeds with their interval, and leaves
for the index what the index reads back."""

from __future__ import annotations

import json
import math

import pytest
from scipy import stats

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from shared_core.errors import DataError, RunFolderError
from shared_core.metrics import Measure
from shared_core.reporting.demo import (
    add_picture,
    clear,
    is_demo,
    machine,
    over_seeds,
    parameters_of,
    publish,
    write_picture,
)
from shared_core.reporting.demo_file import DEMO_FILE, Comparison, Demo, Picture, Trained, read_demo
from shared_core.reporting.figures import Line, curves
from shared_core.reporting.page import Page

LINE = curves([Line(name="a", x=[1, 2], y=[3, 4])], x="update")


def told(**changes):
    fields = {
        "title": "one",
        "task": "a task",
        "claims": ["a claim"],
        "trained": Trained(model="a network", parameters=7, data="numbers", counts={"rows": 10}),
        "comparisons": [
            Comparison(
                measure="SRCC",
                found={
                    "ours": Measure(value=0.5, low=0.4, high=0.6),
                    "constant": Measure(value=math.nan, reason="no spread"),
                    "chance": Measure(value=0.1, reason="no interval: one seed"),
                },
                baselines=["constant", "chance"],
                chance=0.0,
            )
        ],
        "pictures": [Picture(file="pictures/a.png", alt="a thing", caption="It.")],
        "machine": "2 CPU cores",
        "seconds": 1.5,
    }
    return Demo(**fields | changes)


def test_only_a_folder_of_an_earlier_demo_is_emptied(tmp_path):
    folder = tmp_path / "demo"
    clear(folder, "one")
    assert is_demo(folder, "one")
    (folder / "old").touch()
    with pytest.raises(RunFolderError, match="no earlier demo's"):
        clear(folder, "two")
    clear(folder, "one")
    assert not (folder / "old").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(RunFolderError):
        clear(tmp_path / "mine", "one")
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_the_interval_over_seeds_is_that_of_scipy():
    values = [0.31, 0.28, 0.36]
    low, high = stats.t.interval(0.95, 2, loc=sum(values) / 3, scale=stats.sem(values))
    found = over_seeds(values)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    with pytest.raises(ValueError, match="two seeds"):
        over_seeds([0.3])


def test_what_a_demo_tells_is_read_back_as_it_was(tmp_path):
    demo = told()
    demo.write(tmp_path)
    found = read_demo(tmp_path)
    assert found.comparisons[0].found.pop("constant").reason == "no spread"
    expected = told()
    expected.comparisons[0].found.pop("constant")  # NaN equals nothing
    assert found == expected


def test_the_best_baseline_is_the_best_in_its_direction():
    assert told().comparisons[0].best_baseline() == (
        "chance",
        Measure(value=0.1, reason="no interval: one seed"),
    )
    low, high = (Measure(value=v, higher_is_better=False) for v in (1.0, 2.0))
    errors = Comparison(
        measure="error", found={"a": low, "b": high, "c": low}, baselines=["b", "c"]
    )
    assert errors.best_baseline() == ("c", low)
    assert errors.title == "error (lower is better)"
    assert Comparison(measure="error", found={"a": low}, baselines=[]).best_baseline() is None


def without(name):
    def change(content):
        del content[name]

    return change


def at(*place, value):
    def change(content):
        *path, last = place
        for part in path:
            content = content[part]
        content[last] = value

    return change


FOUND = ("comparisons", 0, "found", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("task"), r"demo\.json, task: expected a value, found nothing"),
        (without("trained"), "trained: expected a value"),
        (at("claims", value="text"), "claims: expected a list"),
        (at("claims", value=[1]), "claims: expected texts, found 1"),
        (at("seconds", value="long"), "seconds: expected a number, found 'long'"),
        (at("seconds", value=True), "seconds: expected a number, found True"),
        (at("trained", value=[]), "trained: expected an object, found list"),
        (at("trained", "parameters", value=1.5), r"trained\.parameters: expected a whole number"),
        (at("trained", "counts", "rows", value=None), r"trained\.counts\.rows: expected a whole"),
        (at("comparisons", value=[]), "comparisons: expected one or more"),
        (at("comparisons", 0, "found", value=[]), r"comparisons\[0\]\.found: expected one or more"),
        (at("comparisons", 0, "baselines", value=["x"]), r"baselines: expected names of ours"),
        (at(*FOUND, "value", value=None), r"found\[0\]\.reason: expected why"),
        (at(*FOUND, "low", value=None), r"found\[0\]\.low: expected both ends"),
        (at(*FOUND, "higher_is_better", value=1), r"higher_is_better: expected a bool"),
        (at("pictures", 0, "file", value="../x.png"), r"pictures\[0\]\.file: expected a picture"),
        (at("pictures", 0, "file", value="/x.png"), "expected a picture"),
        (at("pictures", 0, "file", value="x.html"), "expected a picture"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_with_its_place(tmp_path, change, message):
    told().write(tmp_path)
    path = tmp_path / DEMO_FILE
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_demo(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"title": NaN}'])
def test_a_file_that_is_no_object_is_refused(tmp_path, text):
    (tmp_path / DEMO_FILE).write_text(text)
    with pytest.raises(DataError, match=DEMO_FILE):
        read_demo(tmp_path)


def test_a_picture_is_kept_as_a_file_and_stands_in_a_page(tmp_path):
    kept = [
        write_picture(tmp_path, "photo", b"png", alt="a photo", caption="One."),
        write_picture(tmp_path, "curve", LINE, alt="a curve", caption="Two."),
    ]
    assert [one.file for one in kept] == ["pictures/photo.png", "pictures/curve.svg"]
    page = Page("p")
    for one in kept:
        add_picture(page.section("s"), tmp_path, one)
    html = page.html()
    for text in ("data:image/png;base64", "data:image/svg+xml;base64", 'alt="a curve"', "Two."):
        assert text in html


def test_a_picture_outside_of_the_folder_or_too_large_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "demo"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(b"secret")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    section = Page("p").section("s")
    with pytest.raises(DataError, match="a link out of it"):
        add_picture(section, folder, Picture(file="link.png", alt="a", caption=""))
    with pytest.raises(DataError, match="cannot be read"):
        add_picture(section, folder, Picture(file="absent.png", alt="a", caption=""))
    monkeypatch.setattr("shared_core.reporting.demo._LARGEST", 3)
    (folder / "large.png").write_bytes(b"four")
    with pytest.raises(DataError, match="4 bytes"):
        add_picture(section, folder, Picture(file="large.png", alt="a", caption=""))


def test_what_is_published_is_said(tmp_path, capsys):
    publish(tmp_path, Page("one"), told())
    assert (tmp_path / "report.html").is_file()
    assert read_demo(tmp_path).title == "one"
    assert capsys.readouterr().out == f"a claim\n2 s; open {tmp_path / 'report.html'}\n"


def test_the_model_and_the_machine_are_counted():
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(3, 2)
    assert parameters_of(layer) == 8
    twice = torch.nn.Sequential(layer, layer)
    assert parameters_of(twice) == 8
    assert machine("cpu").endswith(" CPU cores")
