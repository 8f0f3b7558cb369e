"""Figures as SVG for a light page or a dark one: no background, text in the page's own colour.

Text stays text (it can be searched and read aloud) and the same data give the same bytes. Every
function returns an `Svg`, a string that `Section.figure` takes into a page as it is. They need the
extra `report`, and raise MissingExtraError without it.
"""

from __future__ import annotations

import hashlib
import html
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared_core.extras import require
from shared_core.files import as_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from shared_core.metrics.measure import Measure

PALETTE = ("#2f81d8", "#d9632a", "#2a9d6f", "#b05fc4", "#a8841f", "#d1477d")
"""Series colours, each with a contrast of at least 3 on white and on near-black."""

_INK = "#123456"  # stands for the page's text colour until the figure is drawn
_IN_A_FILE = ":root{color:#1b1f24}@media(prefers-color-scheme:dark){:root{color:#e4e7eb}}"
_NARROW, _WIDE = 4.8, 7.6  # inches: beside one another on a desk; across the page
_DASHES = ("-", "--", "-.", ":")  # a second sign beside the colour
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "shared-core",
    "text.parse_math": False,  # a name with two dollar signs is a name
    "font.size": 9.5,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "grid.color": _INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.6,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
}


class Svg(str):
    """SVG markup that this module drew: the only kind that may stand in a page unescaped."""

    __slots__ = ()

    def as_file(self) -> bytes:
        """The figure as a file of its own, whose ink follows the light or dark of who looks at it."""
        opening, rest = self.split(">", 1)
        points = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', opening)[0]
        size = ' width="{:.0f}" height="{:.0f}"'.format(*(float(side) * 4 / 3 for side in points))
        return f"{opening}{size}><style>{_IN_A_FILE}</style>{rest}".encode()


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve; NaN in `y` is a gap.

    Attributes:
        name: for the legend.
        x: where, [n].
        y: values, [n].
        low: lower edge of a band around it, [n].
        high: upper edge of it, [n].
        marked: whether each point is marked (few points, such as evaluations).
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    low: ArrayLike | None = None
    high: ArrayLike | None = None
    marked: bool = False


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One value with its interval.

    Attributes:
        name: what was measured.
        value: NaN where it is undefined.
        low: lower end of the interval, if there is one.
        high: upper end of the interval, if there is one.
        baseline: whether it is there only to be compared with.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    baseline: bool = False

    @classmethod
    def of(cls, name: str, measure: Measure, *, baseline: bool = False) -> Bar:
        """A measure as it is; one that is undefined stands as such."""
        low, high = measure.low, measure.high
        return cls(name=name, value=measure.value, low=low, high=high, baseline=baseline)


def curves(
    lines: Sequence[Line], *, x: str, y: str = "", title: str = "", log_y: bool = False
) -> Svg:
    """Curves over a common axis, such as a loss over updates.

    Args:
        lines: any number of curves; a legend is drawn where there are two or more.
        x: label of the horizontal axis, with its unit.
        y: label of the vertical axis, with its unit.
        title: above the figure, and its name for a screen reader.
        log_y: logarithmic vertical axis.
    """
    with _axes(_NARROW, 2.7, title) as (figure, axes):
        for index, line in enumerate(lines):
            colour, dash = PALETTE[index % len(PALETTE)], _DASHES[index // len(PALETTE) % 4]
            marker = "o" if line.marked else None
            axes.plot(
                line.x, line.y, dash, color=colour, label=as_text(line.name), marker=marker, ms=3.5
            )
            if line.low is not None and line.high is not None:
                low, high = np.asarray(line.low, float), np.asarray(line.high, float)
                axes.fill_between(line.x, low, high, color=colour, alpha=0.2, lw=0)
        if log_y:
            axes.set_yscale("log")
        axes.set(xlabel=x, ylabel=y)
        if all(np.issubdtype(np.asarray(line.x).dtype, np.integer) for line in lines):
            axes.locator_params(axis="x", nbins=7, integer=True)
        if len(lines) > 1:
            _legend(figure)
        return _svg(figure, title or f"{y} over {x}")


def intervals(bars: Sequence[Bar], *, x: str, title: str = "", chance: float | None = None) -> Svg:
    """Values with their intervals, one below the other: ours, baselines, chance.

    Args:
        bars: from top to bottom.
        x: what is measured, with its unit.
        title: above the figure, and its name for a screen reader.
        chance: drawn as a line from top to bottom.
    """
    with _axes(_NARROW, 0.9 + 0.38 * max(1, len(bars)), title) as (figure, axes):
        for row, bar in enumerate(bars):
            if not np.isfinite(bar.value):
                across = axes.get_yaxis_transform()
                axes.text(0.5, row, "undefined", transform=across, ha="center", va="center")
                continue
            colour = _INK if bar.baseline else PALETTE[0]
            ends = [bar.value if end is None else end for end in (bar.low, bar.high)]
            axes.plot(ends, [row, row], color=colour, lw=3, alpha=0.45)
            marker = "D" if bar.baseline else "o"
            axes.plot([bar.value], [row], marker, color=colour, ms=5.5 if bar.baseline else 7)
            label = f"{bar.value:.3f}" if abs(bar.value) < 10 else f"{bar.value:.1f}"
            axes.annotate(label, (bar.value, row), (0, 7), textcoords="offset points", ha="center")
        if chance is not None:
            axes.axvline(chance, color=_INK, lw=1, ls=":", label=f"chance ({chance:g})")
            _legend(figure)
        axes.set_yticks(range(len(bars)), [as_text(bar.name) for bar in bars])
        axes.set_ylim(len(bars) - 0.5, -0.75)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(x)
        return _svg(figure, title or x)


def traces(
    time_s: ArrayLike,
    values: Mapping[str, ArrayLike],
    *,
    y: str = "",
    title: str = "",
    invalid: ArrayLike | None = None,
    invalid_name: str = "no input",
    limits: tuple[float, float] | None = (-1.0, 1.0),
) -> Svg:
    """Values over time, such as valence and arousal of a video.

    Args:
        time_s: seconds, rising, [n].
        values: curves by name, [n] each; NaN is a gap.
        y: label of the vertical axis.
        title: above the figure, and its name for a screen reader.
        invalid: True where a value rests on nothing, [n] bool; shaded.
        invalid_name: what the shade means, for the legend.
        limits: of the vertical axis; None: as the values are.
    """
    times = np.asarray(time_s, float)
    with _axes(_WIDE, 2.5, title) as (figure, axes):
        for index, (name, value) in enumerate(values.items()):
            axes.plot(times, np.asarray(value, float), color=PALETTE[index % 6], label=name, lw=1.2)
        spans = list(_spans(np.asarray(invalid, bool))) if invalid is not None else []
        half = float(np.median(np.diff(times))) / 2 if len(times) > 1 else 0.0
        for number, (first, last) in enumerate(spans):
            label = invalid_name if number == 0 else None
            axes.axvspan(
                times[first] - half, times[last] + half, color=_INK, alpha=0.12, lw=0, label=label
            )
        if limits is not None:
            margin = 0.03 * (limits[1] - limits[0])
            axes.set_ylim(limits[0] - margin, limits[1] + margin)
        if limits is not None and limits[0] < 0 < limits[1]:
            axes.axhline(0, color=_INK, lw=0.6, alpha=0.5)
        axes.margins(x=0.01)
        axes.set(xlabel="time (s)", ylabel=y)
        _legend(figure)
        return _svg(figure, title or f"{', '.join(values)} over time")


def histogram(values: Mapping[str, ArrayLike], *, x: str, title: str = "", bins: int = 30) -> Svg:
    """How often values occur, as outlines on common bins; values that are not finite are left out.

    Args:
        values: samples by name.
        x: label of the horizontal axis, with its unit.
        title: above the figure, and its name for a screen reader.
        bins: how many.
    """
    finite = {name: _finite(sample) for name, sample in values.items()}
    everything = np.concatenate([*finite.values(), np.empty(0)])
    edges = np.histogram_bin_edges(everything if everything.size else np.zeros(1), bins)
    with _axes(_NARROW, 2.5, title) as (figure, axes):
        for index, (name, sample) in enumerate(finite.items()):
            counts, _ = np.histogram(sample, edges)
            colour = PALETTE[index % len(PALETTE)]
            axes.stairs(counts, edges, color=colour, label=name, lw=1.5, fill=False)
            axes.stairs(counts, edges, color=colour, alpha=0.15, fill=True)
        axes.set(xlabel=x, ylabel="count")
        if len(finite) > 1:
            _legend(figure)
        return _svg(figure, title or x)


@contextmanager
def _axes(width: float, height: float, title: str) -> Iterator[tuple[Figure, Axes]]:
    mpl = require("matplotlib", "report")
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        if title:
            axes.set_title(as_text(title))
        yield figure, axes


def _legend(figure: Figure) -> None:
    """Below the axes, where it covers no data."""
    figure.legend(loc="outside lower left", ncols=4, handlelength=1.4, columnspacing=1.2)


def _spans(mask: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First and last index of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        yield int(first), int(end) - 1


def _finite(sample: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(sample, np.float64).ravel()
    return array[np.isfinite(array)]


def _svg(figure: Figure, name: str) -> Svg:
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    markup = buffer.getvalue()
    markup = markup[markup.index("<svg") :].rstrip()
    markup = re.sub(r"<metadata>.*?</metadata>", "", markup, flags=re.DOTALL)
    markup = markup.replace(_INK, "currentColor").replace("'DejaVu Sans'", "system-ui")
    # Names must differ between the figures of one page, and be the same from run to run.
    own = "f" + hashlib.sha256(markup.encode()).hexdigest()[:8]
    markup = re.sub(r'\bid="', f'id="{own}-', markup)
    markup = re.sub(r'(href="|url\()#', rf"\1#{own}-", markup)
    label = html.escape(as_text(name))
    head = f'<svg role="img" aria-label="{label}"><title>{label}</title>'
    opening, rest = markup.split(">", 1)
    opening = re.sub(r' (?:width|height)="[^"]*"', "", opening)
    return Svg(opening + head[4:] + rest)
