"""The pages of the demos in a browser: at a phone's width, in light and in dark, from any folder."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from shared_core.metrics import Measure
from shared_core.reporting.demo import clear, publish, write_picture
from shared_core.reporting.demo_file import Comparison, Demo, Trained
from shared_core.reporting.figures import Line, curves, traces
from shared_core.reporting.page import Page
from shared_core.testing.browser import browser
from tools.demo.index import Result, write_index

LONG = "a way to look at things whose name is longer than a phone is wide"
PHONE, DESK = 390, 1280


@pytest.fixture(scope="module")
def chromium():
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages of three demos, one of which failed and one of which told nothing, moved elsewhere."""
    out = tmp_path_factory.mktemp("demo")
    names = [f"predictor {number} of many" for number in range(6)]
    measures = {name: Measure(value=0.123456, low=-0.1, high=0.2) for name in (LONG, *names)}
    demo = Demo(
        title="one",
        task=LONG,
        claims=["A claim with figures: 0.7767 [0.4883, 1.0100]. " * 6],
        trained=Trained(model=LONG, parameters=10**9, data=LONG, counts={LONG: 10}),
        comparisons=[Comparison(measure=LONG, found=measures, baselines=names, chance=0.0)] * 3,
        pictures=[],
        machine="2 CPU cores",
        seconds=61.0,
    )
    results = []
    for name, status in (("one", 0), ("two", 3)):
        folder = out / name
        clear(folder, name)
        line = curves([Line(name=n, x=[1, 2], y=[3, 4]) for n in names], x="update", y=LONG)
        kept = [write_picture(folder, "curve", line, alt="curves", caption=LONG)]
        publish(folder, _report(measures), replace(demo, pictures=kept))
        (folder / "demo.log").write_text("done\n")
        results.append(
            Result(program=name, folder=folder, log=folder / "demo.log", status=status, seconds=61)
        )
    results.append(Result(program="three", folder=out / "three", log=out / "three.log"))
    write_index(out, results)
    return shutil.move(out, out.with_name(f"{out.name} moved & kept"))


def _report(measures):
    page = Page("one", LONG)
    section = page.section("What was learnt").note(LONG).code("x" * 300)
    section.table(
        [LONG, *"abcdefgh"], [[name, *[m] * 8] for name, m in measures.items()], caption=LONG
    )
    section.key_values({LONG: "x" * 200})
    section.figure(traces(np.arange(9), {"valence": np.sin(np.arange(9))}), wide=True)
    return page


@pytest.fixture(params=[(w, s) for w in (PHONE, DESK) for s in ("light", "dark")], ids=str)
def opened(request, chromium, pages):
    """Opens a page in a window of some width; the requests that it makes are noted."""
    width, scheme = request.param
    context = chromium.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
    )
    requests = []
    context.on("request", lambda made: requests.append(made.url))

    def open_page(path):
        page = context.new_page()
        page.goto((pages / path).as_uri())
        return page, requests

    yield open_page
    context.close()


@pytest.mark.parametrize("path", ["index.html", "one/report.html"])
def test_a_page_is_as_wide_as_its_window_and_asks_nobody_for_anything(opened, path):
    page, requests = opened(path)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert [url for url in requests if url.startswith("file:")] == [page.url]
    cut_off = page.evaluate(
        "[...document.querySelectorAll('p, h1, h2, dt, dd, figcaption, img, figure.beside svg')]"
        ".filter(e => e.getBoundingClientRect().right > window.innerWidth + 1).length"
    )
    assert cut_off == 0


def test_every_link_leads_somewhere_and_every_picture_is_told(opened, pages):
    page, _ = opened("index.html")
    links = page.eval_on_selector_all("a", "all => all.map(a => a.getAttribute('href'))")
    assert len([link for link in links if not link.startswith("#")]) == 4
    for link in links:
        if link.startswith("#"):
            assert page.query_selector(f"[id='{link[1:]}']"), link
        else:
            assert (pages / link).is_file(), link
    pictures = page.eval_on_selector_all("img", "all => all.map(i => [i.alt, i.naturalWidth])")
    assert pictures
    assert all(alt and width > 0 for alt, width in pictures)
    drawn = page.eval_on_selector_all(
        "main svg", "all => all.map(s => [s.getAttribute('role'), s.getAttribute('aria-label')])"
    )
    assert len(drawn) == 3
    assert all(role == "img" and label for role, label in drawn)


def test_text_can_be_read_in_light_and_in_dark(opened):
    """WCAG contrast of text on the page: at least 4.5."""
    page, _ = opened("index.html")
    for selector in ("p", "td", "th", "dt", "a", ".note", ".note.warning"):
        ink = page.eval_on_selector(selector, "e => getComputedStyle(e).color")
        paper = page.eval_on_selector(
            selector,
            "e => { while (getComputedStyle(e).backgroundColor === 'rgba(0, 0, 0, 0)') "
            "e = e.parentElement; return getComputedStyle(e).backgroundColor; }",
        )
        light, dark = sorted((_luminance(ink), _luminance(paper)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (selector, ink, paper)


def _luminance(colour):
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
