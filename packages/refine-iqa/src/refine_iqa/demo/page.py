"""The demo's report."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from refine_iqa.config import DemoConfig
from refine_iqa.demo.answers import DRAWN
from refine_iqa.demo.claims import BEFORE, Found, agreement, compared
from shared_core.reporting.demo import add_picture
from shared_core.reporting.demo_file import Picture
from shared_core.reporting.events import read
from shared_core.reporting.figures import Line, Svg, curves
from shared_core.reporting.page import Page, Section

TASK = "A tiny vision-language model, tuned by reinforcement"


def page_of(
    found: Mapping[str, Sequence[Found]],
    claims: Sequence[str],
    *,
    runs: Mapping[str, Path],
    pictures: Picture,
    seconds: float,
    config: DemoConfig,
) -> Page:
    """The whole page.

    Args:
        found: for each trial, its models, one for each seed.
        claims: what is said.
        runs: for each trial, the run folder of its first seed.
        pictures: some that were never seen.
        seconds: that the demo took.
        config: of the demo.
    """
    page = Page("refine-iqa", TASK)
    for (name, of), told in zip(found.items(), claims, strict=True):
        section = page.section(name.capitalize()).note(told)
        _compare(section, of[0])
        section.figure(learning(runs[name]))
        section.text(f"Before, it wrote: {of[0].before.example!r}. After: {of[0].last.example!r}.")
    add_picture(page.section("Pictures"), config.out, pictures)
    page.section("How").text(_how(found, seconds, config))
    page.section("What this does not show").text(
        "A random model of this size, on drawn scenes with one distortion, is no rater of photographs: "
        "nothing here is a figure of the paper. That it learns the form of an answer says nothing of its "
        "scores; their errors and SRCC are shown beside it"
        + ("." if config.full else ", and claimed by the demo with --full alone, over seeds.")
    )
    return page


def strip(pictures: Sequence[Path]) -> bytes:
    """PNG of pictures side by side, twice as large."""
    images = [Image.open(path) for path in pictures]
    width, height = 2 * images[0].width, 2 * images[0].height
    side_by_side = Image.new("RGBA", ((width + 8) * len(images) - 8, height))
    for place, image in enumerate(images):
        large = image.resize((width, height), Image.Resampling.NEAREST)
        side_by_side.paste(large, ((width + 8) * place, 0))
    buffer = io.BytesIO()
    side_by_side.save(buffer, "PNG")
    return buffer.getvalue()


def _compare(section: Section, found: Found) -> None:
    comparisons = compared(found)
    section.figure(comparisons[0].figure())
    rows = [(of.title, name, m) for of in comparisons for name, m in of.found.items()]
    rows += [
        ("SRCC of scores", "tuned, last step", agreement(found.last)),
        ("SRCC of scores", "tuned, step chosen on validation", agreement(found.best)),
        ("SRCC of scores", BEFORE, agreement(found.before)),
    ]
    section.table(
        ["on pictures never seen", "of", "value"],
        rows,
        caption=f"{len(found.last.mos)} pictures, {DRAWN} drawn answers each; 95 % intervals over pictures. "
        "Scores are read from the probabilities of digits.",
    )


def learning(run: Path) -> Svg:
    """How often answers had the form, over the updates of a run."""
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
