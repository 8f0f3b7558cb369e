"""The demo's report."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from refine_iqa.config import DemoConfig
from refine_iqa.demo.answers import DRAWN
from refine_iqa.demo.claims import BASELINES, Found, agreement, labelled
from shared_core.reporting.events import read
from shared_core.reporting.figures import Bar, Line, Svg, curves, intervals
from shared_core.reporting.page import Page, Section

SHOWN = 6
"""Pictures in the report."""


def page_of(
    found: Mapping[str, Sequence[Found]],
    claims: Sequence[str],
    *,
    runs: Mapping[str, Path],
    pictures: Sequence[Path],
    seconds: float,
    config: DemoConfig,
) -> Page:
    """The whole page.

    Args:
        found: for each trial, its models, one for each seed.
        claims: what is said.
        runs: for each trial, the run folder of its first seed.
        pictures: that were never seen.
        seconds: that the demo took.
        config: of the demo.
    """
    page = Page("refine-iqa", "A tiny vision-language model, tuned by reinforcement")
    for (name, of), told in zip(found.items(), claims, strict=True):
        section = page.section(name.capitalize()).note(told)
        _compare(section, of[0])
        section.figure(_learning(runs[name]))
        section.text(f"Before, it wrote: {of[0].before.example!r}. After: {of[0].last.example!r}.")
    section = page.section("Pictures")
    shown = [f"{float(mos):.2f}" for mos in found[next(iter(found))][0].last.mos[:SHOWN]]
    section.picture(
        _strip(pictures[:SHOWN]),
        "image/png",
        alt=f"{len(shown)} drawn scenes, some of them darkened",
        caption=f"Never seen in training. MOS by construction, from the left: {', '.join(shown)}.",
    )
    page.section("How").text(_how(found, seconds, config))
    page.section("What this does not show").text(
        "A random model of this size, on drawn scenes with one distortion, is no rater of photographs: "
        "nothing here is a figure of the paper. That it learns the form of an answer says nothing of its "
        "scores; their errors and SRCC are shown beside it"
        + ("." if config.full else ", and claimed by the demo with --full alone, over seeds.")
    )
    return page


def _strip(pictures: Sequence[Path]) -> bytes:
    """Pictures side by side, twice as large."""
    images = [Image.open(path) for path in pictures]
    width, height = 2 * images[0].width, 2 * images[0].height
    strip = Image.new("RGB", ((width + 8) * len(images) - 8, height), "white")
    for place, image in enumerate(images):
        strip.paste(
            image.resize((width, height), Image.Resampling.NEAREST), ((width + 8) * place, 0)
        )
    buffer = io.BytesIO()
    strip.save(buffer, "PNG")
    return buffer.getvalue()


def _compare(section: Section, found: Found) -> None:
    measured = labelled(found)
    form = {name: measure for name, measure in measured.items() if name.startswith("well")}
    section.figure(
        intervals(
            [
                Bar(
                    name=name.partition(", ")[2],
                    value=measure.value,
                    low=measure.low,
                    high=measure.high,
                    baseline=name in BASELINES,
                )
                for name, measure in form.items()
            ],
            x="share of well-formed answers",
        )
    )
    rows = {**measured} | {
        "SRCC of scores, last step": agreement(found.last),
        "SRCC of scores, step chosen on validation": agreement(found.best),
        "SRCC of scores, before": agreement(found.before),
    }
    section.table(
        ["on pictures never seen", "value"],
        [[name, str(measure)] for name, measure in rows.items()],
        caption=f"{len(found.last.mos)} pictures, {DRAWN} drawn answers each; 95 % intervals over pictures. "
        "Scores are read from the probabilities of digits.",
    )


def _learning(run: Path) -> Svg:
    events = [event for event in read(run) if event["kind"] == "train"]
    steps = [event["step"] for event in events]
    formed = [event["rewards/format/mean"] for event in events]
    window = max(1, len(steps) // 20)
    smooth = [
        sum(formed[max(0, at - window + 1) : at + 1])
        / len(formed[max(0, at - window + 1) : at + 1])
        for at in range(len(formed))
    ]
    return curves(
        [Line(name="format reward", x=steps, y=smooth)],
        x="update",
        y=f"format reward, mean of {window} updates",
    )


def _how(found: Mapping[str, Sequence[Found]], seconds: float, config: DemoConfig) -> str:
    seeds = len(next(iter(found.values())))
    return (
        "Scenes of 56 by 56 pixels, spoilt by one distortion whose strength fixes the MOS, from 5 to 1. A "
        "random Qwen2.5-VL of two layers, in which a byte is a token and the tags of an answer are one "
        "each, is taught the form by a few supervised updates on random scores. Then GRPO rewards the "
        "form and a score within 0.5 of the MOS, as the real command line does, by the preset demo. "
        f"{seeds} seed{'s' if seeds > 1 else ''} from {config.seed}; {seconds:.0f} s in all."
    )
