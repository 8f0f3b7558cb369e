"""One file, everything escaped, nothing loaded; readable without a script and on a phone."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from shared_core.errors import DataError
from shared_core.metrics import Measure
from shared_core.reporting.figures import Line, Svg, curves
from shared_core.reporting.page import Page

HOSTILE = "<img src=x onerror=alert(1)>\"'&</style><script>alert(2)</script>"
PIXEL = b"\x89PNG\r\n\x1a\n"


def full(text: str) -> Page:
    page = Page(text, text)
    section = page.section(text)
    section.text(text).note(text).note(text, warning=True).code(text).code(text, summary=text)
    section.table([text, "n"], [[text, 1], [None, 0.123456]], caption=text)
    section.key_values({text: text})
    section.picture(PIXEL, "image/png", alt=text, caption=text)
    section.picture(b"<svg onload='alert(3)'/>", "image/svg+xml", alt=text)
    line = Line(name=text, x=[1, 2], y=[1, 2])
    section.figure(curves([line], x=text, title=text), caption=text, wide=True)
    page.section("Second")
    return page


class Elements(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_nothing_that_is_put_in_becomes_markup() -> None:
    elements = Elements(full(HOSTILE).html())
    tags = {tag for tag, _ in elements.seen}
    assert not tags & {"script", "iframe", "object", "embed", "link", "form", "base"}
    for tag, attributes in elements.seen:
        assert not [name for name in attributes if name.startswith("on")], tag
    sources = [attributes["src"] for tag, attributes in elements.seen if tag == "img"]
    assert len(sources) == 2
    assert elements.text.count(HOSTILE) >= 12


def test_the_page_loads_nothing_from_anywhere() -> None:
    html = full("plain").html()
    elements = Elements(html)
    for tag, attributes in elements.seen:
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value)
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    policies = [
        attributes["content"]
        for _, attributes in elements.seen
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_anchors_are_unique_and_every_section_is_in_the_navigation() -> None:
    page = Page("p")
    for title in ("Results", "Results", "Results", "résumé 1/2", "!?", "??"):
        page.section(title)
    elements = Elements(page.html())
    ids = [attributes["id"] for tag, attributes in elements.seen if "id" in attributes]
    links = [attributes["href"] for tag, attributes in elements.seen if tag == "a"]
    assert len(ids) == len(set(ids))
    assert len(links) == 6
    assert {str(link)[1:] for link in links} <= set(ids)


def test_headings_and_regions_can_be_walked_without_eyes() -> None:
    elements = Elements(full("plain").html())
    levels = [int(tag[1]) for tag, _ in elements.seen if re.fullmatch(r"h\d", tag)]
    assert levels == [1, 2, 2]
    assert ("html", {"lang": "en"}) in elements.seen
    for tag, attributes in elements.seen:
        if attributes.get("role") == "region":
            assert attributes["aria-label"]
            assert attributes["tabindex"] == "0"
        if tag == "img":
            assert attributes["alt"]


def test_numbers_are_short_and_set_to_the_right() -> None:
    page = Page("p")
    page.section("s").table(
        ["a", "b"], [["x", 0.123456], ["y", 3], ["z", float("nan")], [None, True]]
    )
    html = page.html()
    for cell in ("0.1235", "3", "-"):
        assert f'<td class="number">{cell}</td>' in html
    assert "<td>-</td><td>yes</td>" in html
    assert '<th scope="col" class="number">b</th>' in html
    assert '<th scope="col">a</th>' in html


@pytest.mark.parametrize(
    ("measure", "text"),
    [
        (Measure(value=0.94501, low=0.9107, high=0.9586), "0.945 [0.911,\u00a00.959]"),
        (Measure(value=26.233, low=25.69, high=26.83, unit="dB"), "26.2 [25.7,\u00a026.8] dB"),
        (Measure(value=0.5, reason="no interval: one seed"), "0.500"),
        (Measure(value=float("nan"), reason="constant"), "undefined (constant)"),
    ],
)
def test_a_measure_is_short_and_its_interval_in_one_piece(measure: Measure, text: str) -> None:
    page = Page("p")
    page.section("s").table(["m"], [[measure]])
    assert f"<td>{text}</td>" in page.html()


def test_a_table_without_rows_still_has_its_head() -> None:
    page = Page("p")
    page.section("s").table(["only"], [])
    assert '<th scope="col">only</th>' in page.html()


def test_svg_from_elsewhere_cannot_stand_in_the_page() -> None:
    section = Page("p").section("s")
    with pytest.raises(TypeError, match="use picture"):
        section.figure("<svg onload='alert(1)'/>")  # type: ignore[arg-type]
    assert section.figure(Svg("<svg/>")).blocks


def test_the_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = Page("p").write(tmp_path / "p.html")
    assert path.read_text().rstrip().endswith("</html>")
    assert [path.name for path in tmp_path.iterdir()] == ["p.html"]
    with pytest.raises(DataError, match="cannot be written"):
        Page("p").write(tmp_path / "absent" / "p.html")


def test_the_name_of_a_file_need_not_be_text(tmp_path):
    page = Page("a\udcff.png")
    page.section("a\udcff").link("whole", "shown/a\udcff.png")
    text = page.write(tmp_path / "p.html").read_text("utf-8")
    assert '<a href="shown/a%FF.png">' in text
    assert "<h1>a\\udcff.png</h1>" in text


def test_a_link_leads_to_a_file_below_the_page_and_nowhere_else():
    page = Page("a page")
    page.section("one").link("the <b>report</b>", "abaw-va/a report.html")
    assert '<a href="abaw-va/a%20report.html">the &lt;b&gt;report&lt;/b&gt;</a>' in page.html()
    for path in ("javascript:alert(1)", "https://example.org/x", "../secret", "/etc/passwd"):
        with pytest.raises(ValueError, match="below the page"):
            page.section("two").link("x", path)
