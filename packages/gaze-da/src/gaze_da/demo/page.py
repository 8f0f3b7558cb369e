"""The demo's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gaze_da.demo.claims import (
    ADAPTED,
    BASELINES,
    PLAIN,
    SHOWN,
    Judgement,
    claim_of_adaptation,
    claim_of_learning,
    gains_over_seeds,
)
from shared_core.reporting.figures import Bar, intervals
from shared_core.reporting.page import Page, Section


@dataclass(frozen=True)
class Overlay:
    """A picture with what a network predicted for it, and for how many people."""

    png: bytes
    people: int


def page_of(
    source: Judgement,
    target: Sequence[Judgement],
    overlays: Mapping[str, Overlay],
    how: str,
) -> Page:
    """The whole page.

    Args:
        source: how the network does on the style it was taught, beside its baselines.
        target: on the other style without and with adaptation, for each seed.
        overlays: pictures with predictions, by their captions.
        how: what was done.
    """
    page = Page("gaze-da", "Where people look, in pictures the networks have never seen")
    _compare(page.section("What was learnt").note(claim_of_learning(source)), source)
    section = page.section("Another style, without its labels").note(claim_of_adaptation(target))
    _compare(section, target[0])
    section.table(
        ["adapted against source only", "better by, with its interval over pictures"],
        [[title, str(target[0].gain(ADAPTED, PLAIN, c))] for c, title in SHOWN.items()],
    )
    if len(target) > 1:
        section.table(
            [
                "adapted against source only",
                f"better by, with its interval over {len(target)} seeds",
            ],
            [[SHOWN[column], str(gain)] for column, gain in gains_over_seeds(target).items()],
            caption="Student's t. The networks differ in their seed alone; the pictures are the same.",
        )
    section = page.section("A picture")
    for name, overlay in overlays.items():
        section.picture(
            overlay.png,
            "image/png",
            alt=f"Where {overlay.people} drawn people look, as predicted ({name})",
            caption=name,
        )
    page.section("How").text(how)
    page.section("What this does not show").text(_limits(len(target)))
    return page


def _compare(section: Section, judged: Judgement) -> None:
    found = {name: judged.measures(name) for name in judged.tables}
    pictures = len({sample.group for sample in judged.samples})
    for column, title in SHOWN.items():
        bars = [
            Bar(name=name, value=m.value, low=m.low, high=m.high, baseline=name in BASELINES)
            for name, of in found.items()
            for m in [of[column]]
        ]
        section.figure(intervals(bars, x=title, chance=0.5 if column == "auc" else None))
    section.table(
        ["", *SHOWN.values()],
        [[name, *(str(of[column]) for column in SHOWN)] for name, of in found.items()],
        caption=f"{len(judged.samples)} people in {pictures} pictures, 95 % intervals over "
        "pictures. AUC: higher is better; distance, in fractions of the picture: lower.",
    )


def _limits(seeds: int) -> str:
    text = (
        "Drawn heads are balls, drawn things stand out from their background, and drawn depth is "
        "exact: these figures say nothing about photographs, nor about the full-size network. "
        "Whether a target is inside the picture is learnt too, but not judged: in GazeFollow's test "
        "set everybody looks inside."
    )
    if seeds < 2:
        text += " The gain by adaptation of a single pair of networks is no claim that it helps."
    return text
