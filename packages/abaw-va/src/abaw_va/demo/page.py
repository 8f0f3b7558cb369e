"""The demo's report."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from abaw_va.data.layout import TARGETS
from abaw_va.demo.claims import Scores, compared
from abaw_va.predict import VideoPrediction
from shared_core.metrics import Measure
from shared_core.reporting.demo import write_picture
from shared_core.reporting.demo_file import Picture
from shared_core.reporting.figures import Line, curves, traces
from shared_core.reporting.page import Page, brief

TASK = "Valence and arousal of people the network has never seen"


def page_of(
    scores: Scores,
    claim: str,
    spread: Measure | None,
    shown: VideoPrediction,
    truth: np.ndarray,
    how: str,
) -> Page:
    """The whole page.

    Args:
        scores: of the network and its baselines.
        claim: what is said of them.
        spread: mean CCC over seeds, where there are several.
        shown: prediction of a video file.
        truth: its valence and arousal. [frames, 2]
        how: what was done.
    """
    page = Page("abaw-va", TASK)
    section = page.section("What was learnt").note(claim)
    section.figure(compared(scores).figure()).table(
        ["", "valence", "arousal", "mean"],
        [[name, *(of[k] for k in (*TARGETS, "mean"))] for name, of in scores.items()],
        caption="CCC of smoothed predictions, with 95 % intervals over people.",
    )
    if spread is not None:
        page.section("Over seeds").text(f"Mean CCC over 3 seeds: {brief(spread)} (Student's t).")
    section = page.section("A video file")
    for column, target in enumerate(TARGETS):
        values = {"predicted": shown.values[:, column], "true": truth[:, column]}
        section.figure(traces(shown.times_s, values, title=target, y=target), wide=True)
    page.section("How").text(how)
    page.section("What this does not show").text(
        "Drawn faces are far easier than films: these figures say nothing about real videos."
    )
    return page


def pictures(out: Path, shown: VideoPrediction, truth: np.ndarray) -> list[Picture]:
    """For each target, a file's prediction beside the truth, kept in the demo's folder."""
    found = []
    for column, target in enumerate(TARGETS):
        lines = [
            Line(name="predicted", x=shown.times_s, y=shown.values[:, column]),
            Line(name="true", x=shown.times_s, y=truth[:, column]),
        ]
        picture = write_picture(
            out,
            target,
            curves(lines, x="time (s)", y=target),
            alt=f"Two curves of {target} over time: as predicted, and as it is",
            caption=f"{target.capitalize()} of a video file, as the network reads it and as it is.",
        )
        found.append(picture)
    return found
