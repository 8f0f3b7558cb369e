"""The demo's report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gaze_da.demo.claims import (
    ADAPTED,
    PLAIN,
    SHOWN,
    Judgement,
    claim_of_adaptation,
    claim_of_learning,
    comparison,
    gains_over_seeds,
)
from shared_core.reporting.demo import add_picture
from shared_core.reporting.demo_file import Picture
from shared_core.reporting.page import Page, Section

TASK = "Where people look, in pictures the networks have never seen"


def page_of(
    source: Judgement,
    target: Sequence[Judgement],
    overlays: Sequence[Picture],
    folder: Path,
    how: str,
) -> Page:
    """The whole page.

    Args:
        source: how the network does on the style it was taught, beside its baselines.
        target: on the other style without and with adaptation, for each seed.
        overlays: pictures with predictions.
        folder: of the demo, where they lie.
        how: what was done.
    """
    page = Page("gaze-da", TASK)
    _compare(page.section("What was learnt").note(claim_of_learning(source)), source)
    section = page.section("Another style, without its labels").note(claim_of_adaptation(target))
    _compare(section, target[0])
    section.table(
        ["adapted against source only", "better by, with its interval over pictures"],
        [[title, target[0].gain(ADAPTED, PLAIN, c)] for c, title in SHOWN.items()],
    )
    if len(target) > 1:
        section.table(
            [
                "adapted against source only",
                f"better by, with its interval over {len(target)} seeds",
            ],
            [[SHOWN[column], gain] for column, gain in gains_over_seeds(target).items()],
            caption="Student's t. The networks differ in their seed alone; the pictures are the same.",
        )
    section = page.section("A picture")
    for overlay in overlays:
        add_picture(section, folder, overlay)
    page.section("How").text(how)
    page.section("What this does not show").text(_limits(len(target)))
    return page


def _compare(section: Section, judged: Judgement) -> None:
    found = {name: judged.measures(name) for name in judged.tables}
    pictures = len({sample.group for sample in judged.samples})
    for column in SHOWN:
        section.figure(comparison(judged, column).figure())
    section.table(
        ["", *SHOWN.values()],
        [[name, *(of[column] for column in SHOWN)] for name, of in found.items()],
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
