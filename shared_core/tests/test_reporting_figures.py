"""Figures are valid, deterministic, self-contained SVG, with real text in the page's own colour."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from shared_core.metrics import Measure
from shared_core.reporting.figures import (
    PALETTE,
    Bar,
    Line,
    Svg,
    curves,
    histogram,
    intervals,
    traces,
)

HOSTILE = '<script>$x$ & "q"</script>'
STEPS = np.arange(5)
GAPPED = np.array([1.0, np.nan, 2.0, 0.5, 0.1])
TIMES = np.arange(40) / 10


def drawn(name: str = "loss") -> list[Svg]:
    line = Line(name=name, x=STEPS, y=GAPPED, low=GAPPED - 1, high=GAPPED + 1)
    return [
        curves([line, Line(name="b", x=STEPS, y=GAPPED, marked=True)], x=name, y=name, title=name),
        intervals([Bar(name=name, value=0.5, low=0.4, high=0.6)], x=name, chance=0.0, title=name),
        intervals([Bar(name=name, value=float("nan")), Bar(name="b", value=1)], x=name),
        traces(TIMES, {name: np.sin(TIMES)}, invalid=TIMES > 3, title=name),
        histogram({name: GAPPED, "b": []}, x=name, title=name),
    ]


def text_of(svg: Svg) -> list[str]:
    return [
        "".join(node.itertext()) for node in ET.fromstring(svg).iter() if node.tag.endswith("text")
    ]


def test_names_stand_as_searchable_text_whatever_they_are() -> None:
    for svg in drawn(HOSTILE):
        assert HOSTILE in text_of(svg)
        assert "<script" not in svg
        root = ET.fromstring(svg)
        assert root.get("aria-label")
        assert root.find("{http://www.w3.org/2000/svg}title") is not None


def test_a_figure_refers_to_nothing_outside() -> None:
    for svg in drawn():
        references = re.findall(r'(?:href="|url\()([^")]*)', svg)
        ids = set(re.findall(r'\bid="([^"]*)"', svg))
        assert all(reference.startswith("#") and reference[1:] in ids for reference in references)
        assert not re.search(r"\son\w+=|<image|<foreignObject|@import", svg)


def test_the_same_data_give_the_same_bytes_and_other_data_other_names() -> None:
    assert drawn() == drawn()
    one, other = drawn("a")[0], drawn("c")[0]
    names = [set(re.findall(r'\bid="([^"]*)"', svg)) for svg in (one, other)]
    assert not names[0] & names[1]


def test_ink_is_the_pages_own_and_the_paper_shows_through() -> None:
    for svg in drawn():
        colours = set(re.findall(r"(?:fill|stroke): (#\w+|currentColor|none|[a-z]+)", svg))
        assert "currentColor" in colours
        assert colours <= {"currentColor", "none", *PALETTE}


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", PALETTE)
@pytest.mark.parametrize("paper", ["#ffffff", "#15181c"])
def test_series_can_be_told_from_the_paper(colour: str, paper: str) -> None:
    """WCAG contrast of graphical objects: at least 3."""
    light, dark = sorted((luminance(colour), luminance(paper)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3


def test_a_file_of_a_figure_has_its_size_and_its_own_ink_for_light_and_dark() -> None:
    for svg in drawn(HOSTILE):
        root = ET.fromstring(svg.as_file())
        width, height = (float(root.get(name, "")) for name in ("width", "height"))
        left, top, right, bottom = map(float, root.get("viewBox", "").split())
        assert (left, top) == (0, 0)
        assert width / height == pytest.approx(right / bottom, rel=0.01)
        assert b"prefers-color-scheme:dark" in svg.as_file()


def test_a_bar_is_its_measure() -> None:
    bar = Bar.of("a", Measure(value=26.24, low=26.0, high=26.5), baseline=True)
    assert bar == Bar(name="a", value=26.24, low=26.0, high=26.5, baseline=True)
    assert "26.2" in text_of(intervals([bar], x="levels"))


def test_an_undefined_value_is_said_not_drawn() -> None:
    texts = text_of(intervals([Bar(name="a", value=float("nan"))], x="CCC"))
    assert "undefined" in texts


def test_invalid_spans_are_shaded_once_each_and_named() -> None:
    invalid = np.zeros(40, bool)
    invalid[[0, 1, 10, 11, 12, 39]] = True
    svg = traces(TIMES, {"a": TIMES}, invalid=invalid, invalid_name="no face")
    plain = traces(TIMES, {"a": TIMES}, invalid=np.zeros(40, bool), invalid_name="no face")
    assert svg.count("opacity: 0.12") == 3 + 1  # and its sign in the legend
    assert plain.count("opacity: 0.12") == 0
    assert "no face" in text_of(svg)
    assert "no face" not in text_of(plain)


@pytest.mark.parametrize("count", [0, 1])
def test_empty_and_single_point_figures_are_drawn(count: int) -> None:
    assert traces(TIMES[:count], {"a": TIMES[:count]}, invalid=[True] * count)
    assert curves([Line(name="a", x=STEPS[:count], y=GAPPED[:count])], x="x")
    assert intervals([], x="x")
    assert histogram({}, x="x")


@pytest.mark.parametrize("name", ["a\udcff.png", r"$\nothing$", "<b>", "$1 and $2"])
def test_any_name_of_a_file_can_stand_in_a_figure(name):
    line = Line(name=name, x=[0, 1], y=[0, 1])
    assert "<svg" in curves([line, line], x="x", y="y", title=name)
    assert "<svg" in intervals([Bar(name=name, value=1.0)], x="x", title=name)
