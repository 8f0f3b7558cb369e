"""One page in one file: HTML that needs nothing else, for a phone or a desk, light or dark.

Everything is escaped by the template except the `Svg` that `reporting.figures` drew. The page holds
no script, and a content policy that forbids to load or run anything.
"""

from __future__ import annotations

import base64
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from shared_core.errors import DataError
from shared_core.extras import require
from shared_core.files import replace_file
from shared_core.metrics.measure import Measure
from shared_core.reporting.figures import Svg

MEDIA_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".svg": "image/svg+xml",
}
"""Kinds of pictures that a page can hold, by suffix."""


_LONG = 40  # characters of a cell that gets more width


@dataclass
class Section:
    """A part of a page, made by `Page.section`; blocks stand in the order in which they are added.

    Every method returns the section, so that calls can be chained.
    """

    title: str
    anchor: str
    blocks: list[dict[str, Any]] = field(default_factory=list)

    def text(self, text: str) -> Section:
        """A paragraph."""
        return self._add("text", text=text)

    def link(self, text: str, path: str) -> Section:
        """A link to a file beside the page, or in a folder below it.

        Raises:
            ValueError: the path leads elsewhere: another host, a script, or out of the folder.
        """
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or ":" in path:
            raise ValueError(f"a link leads to a file below the page, not to {path!r}")
        # by its bytes: the name of a file need not be text
        return self._add("link", text=text, address=quote(os.fsencode(path)))

    def note(self, text: str, *, warning: bool = False) -> Section:
        """A paragraph in a box; a warning stands out."""
        return self._add("note", text=text, warning=warning)

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[object]], *, caption: str = ""
    ) -> Section:
        """A table; numbers are set to the right with four significant digits, None is a dash.

        A `Measure` stands with its interval, which does not break, or with the reason why it is
        undefined. The table scrolls in its own box where the screen is narrow.
        """
        cells = [[_cell(value) for value in row] for row in rows]
        numbers = [any(cell["number"] for cell in column) for column in zip(*cells, strict=True)]
        heads = [
            {"text": name, "number": number}
            for name, number in zip(columns, numbers or [False] * len(columns), strict=True)
        ]
        return self._add("table", columns=heads, rows=cells, caption=caption)

    def key_values(self, values: Mapping[str, object]) -> Section:
        """Names with values beside them."""
        return self._add("pairs", pairs=[(name, _cell(v)["text"]) for name, v in values.items()])

    def figure(self, svg: Svg, *, caption: str = "", wide: bool = False) -> Section:
        """A drawing of `reporting.figures`; two beside one another, unless it is wide.

        Raises:
            TypeError: another string: SVG from elsewhere may carry scripts, `picture` takes it.
        """
        if not isinstance(svg, Svg):
            raise TypeError("figure takes what reporting.figures draws; use picture for the rest")
        return self._add("figure", svg=svg, caption=caption, wide=wide)

    def picture(self, content: bytes, media_type: str, *, alt: str, caption: str = "") -> Section:
        """An image file, put into the page; SVG too, of which no script runs in this way.

        Args:
            content: the bytes of the file.
            media_type: such as `image/png`; `MEDIA_TYPES` has it by suffix.
            alt: what it shows, for who cannot see it.
            caption: below it.
        """
        source = f"data:{media_type};base64,{base64.b64encode(content).decode()}"
        return self._add("picture", source=source, alt=alt, caption=caption)

    def code(self, text: str, *, summary: str = "") -> Section:
        """Text set as it is, in a box that scrolls; folded away if it has a `summary`."""
        return self._add("code", text=text, summary=summary)

    def _add(self, kind: str, **content: Any) -> Section:
        self.blocks.append({"kind": kind, **content})
        return self


class Page:
    """A page under construction.

    Args:
        title: in the window and at the top.
        subtitle: a sentence below it.
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title = title
        self.subtitle = subtitle
        self.sections: list[Section] = []

    def section(self, title: str) -> Section:
        """Begin a new section, listed in the page's navigation."""
        stem = re.sub(r"\W+", "-", title.lower()).strip("-") or "section"
        taken = {section.anchor for section in self.sections}
        numbers = (f"{stem}-{n}" for n in range(2, len(taken) + 3))
        anchor = next(name for name in (stem, *numbers) if name not in taken)
        self.sections.append(Section(title, anchor))
        return self.sections[-1]

    def html(self) -> str:
        """The page.

        Raises:
            MissingExtraError: the extra `report` is not installed.
        """
        jinja2 = require("jinja2", "report")
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("shared_core.reporting"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        markup = require("markupsafe", "report").Markup
        template = environment.get_template("page.html.j2")
        return str(template.render(page=self, drawn=markup))

    def write(self, path: Path) -> Path:
        """Write the page, whole or not at all.

        Raises:
            DataError: it cannot be written.
        """
        content = self.html().encode("utf-8", "backslashreplace")  # names of files that are no text
        try:
            replace_file(path, content)
        except OSError as error:
            raise DataError(path, f"the page cannot be written ({error.strerror})") from error
        return path


def brief(measure: Measure) -> str:
    """A measure with its interval as a reader wants it: three decimals, and one from 10 on."""
    if not measure.defined:
        return f"undefined ({measure.reason})"
    decimals = 3 if abs(measure.value) < 10 else 1
    unit = f" {measure.unit}" if measure.unit else ""
    if measure.low is None or measure.high is None:
        return f"{measure.value:.{decimals}f}{unit}"
    interval = f"[{measure.low:.{decimals}f}, {measure.high:.{decimals}f}]"
    return f"{measure.value:.{decimals}f} {interval}{unit}"


def _cell(value: object) -> dict[str, Any]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match value:
        case None:
            text = "-"
        case Measure():
            text = brief(value).replace(", ", ",\u00a0")
        case bool():
            text = "yes" if value else "no"
        case float():
            text = f"{value:.4g}" if math.isfinite(value) else "-"
        case _:
            text = str(value)
    return {"text": text, "number": number, "long": len(text) > _LONG}
