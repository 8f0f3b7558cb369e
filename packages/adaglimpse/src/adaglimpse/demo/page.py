"""The demo's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adaglimpse import synthetic
from adaglimpse.config import DemoConfig
from adaglimpse.demo.claims import FIXED, Found, compared, leading
from adaglimpse.evaluate import NAMES, curve_figure
from shared_core.reporting.demo import add_picture
from shared_core.reporting.demo_file import Picture
from shared_core.reporting.page import Page, Section

TASK = "A few glimpses of scenes never seen, by a policy that learnt where to look"


def page_of(
    found: Mapping[str, Sequence[Found]],
    claims: Mapping[str, str],
    stories: Mapping[str, Picture],
    seconds: float,
    config: DemoConfig,
) -> Page:
    """The whole page.

    Args:
        found: for each trial, how the ways to look did, one for each seed.
        claims: what is said of each trial.
        stories: the glimpses of one scene, for each trial.
        seconds: that the demo took.
        config: of the demo.
    """
    page = Page("adaglimpse", TASK)
    for name, of in found.items():
        section = page.section(name.replace("-", ", ")).note(claims[name])
        _compare(section, of[0])
        add_picture(section, config.out, stories[name])
    page.section("How").text(_how(found, seconds, config))
    page.section("What this does not show").text(
        "Drawn scenes are no photographs, and a network that learns for a minute is no AdaGlimpse: nothing "
        "here is a figure of the paper. In the near scenes things stand on the ground, so that much of what "
        "is learnt is where things usually are; to find a thing that may be anywhere by a first look at the "
        "whole, and to zoom in on it, takes longer than this"
        + (": see the trial zoom." if config.full else ".")
    )
    return page


def _compare(section: Section, found: Found) -> None:
    comparison = compared(found)
    section.figure(comparison.figure())
    section.figure(curve_figure(dict(found)))
    judged = found["learnt"]
    section.table(
        ["way to look", comparison.title, "share of the scene inside a glimpse"],
        [
            [NAMES[name], leading(found, name), f"{of.seen(of.glimpses):.2f}"]
            for name, of in found.items()
        ],
        caption=f"{len(judged.table)} scenes, {judged.glimpses} glimpses each, 95 % intervals over scenes.",
    )


def _how(found: Mapping[str, Sequence[Found]], seconds: float, config: DemoConfig) -> str:
    seeds = len(next(iter(found.values())))
    return (
        "Scenes of 64 by 64 pixels, before photographs and drawn grounds, each with one small thing whose "
        f"marks tell its class, of {len(synthetic.MARKS)}. A glimpse has 16 by 16 pixels, whatever its "
        "scale: two of them are an eighth of the scene's pixels. The backbone learnt on random glimpses "
        "and was frozen; then Soft Actor-Critic taught the policy, which sees where it has looked, what "
        "the backbone made of it, and how much that mattered, but no pixels. Fixed ways to look: "
        f"{', '.join(NAMES[name] for name in FIXED)}. {seeds} seed{'s' if seeds > 1 else ''} from "
        f"{config.seed}; {seconds:.0f} s in all."
    )
