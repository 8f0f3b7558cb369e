"""A card says what is known, says what is not, and shows every text as it was written."""

from __future__ import annotations

import yaml

from shared_core.metrics.measure import Measure
from shared_core.reporting.card import Result, model_card


def header_of(card: str) -> dict[str, object]:
    _, header, _ = card.split("---\n", 2)
    return yaml.safe_load(header)


def section_of(card: str, title: str) -> str:
    return card.split(f"## {title}\n\n", 1)[1].split("\n\n## ", 1)[0].strip()


def card(**more: object) -> str:
    return model_card(title="Tiny", summary="Scores.", package="abaw-va", **more)  # type: ignore[arg-type]


def test_the_header_is_what_the_hub_reads() -> None:
    results = [
        Result(dataset="d", metric=name, measure=Measure(value=0.5)) for name in ("CCC", "SRCC")
    ]
    assert header_of(card(tags=["emotion", "a: b\n---"], results=results)) == {
        "license": "apache-2.0",
        "library_name": "abaw-va",
        "tags": ["emotion", "a: b\n---"],
        "metrics": ["ccc", "srcc"],
    }


def test_what_is_left_out_is_said_to_be_missing() -> None:
    text = card()
    for title in ("Intended use", "Limits", "Training data", "Citation"):
        assert section_of(text, title) == "Not stated."
    assert section_of(text, "Results") == "Not measured."


def test_results_stand_with_their_intervals_and_baselines() -> None:
    results = [
        Result(dataset="Aff-Wild2", metric="CCC", measure=Measure(value=0.5, low=0.4, high=0.6)),
        Result(
            dataset="a|b", metric="RMSE", measure=Measure(value=3.0, unit="MOS"), system="linear"
        ),
        Result(
            dataset="c", metric="SRCC", measure=Measure(value=float("nan"), reason="one sample")
        ),
    ]
    assert section_of(card(results=results), "Results").splitlines()[2:] == [
        "| Aff-Wild2 | this model | CCC | 0.5000 | 0.4000 to 0.6000 |",
        "| a\\|b | linear | RMSE | 3.0000 MOS | not measured |",
        "| c | this model | SRCC | undefined | one sample |",
    ]


def test_text_cannot_become_markup_or_leave_its_place() -> None:
    hostile = "<script>x</script> [a](javascript:b) `c` *d* &lt; # e\n\n## Results\n| f |"
    text = card(limits=[hostile], intended_use=hostile, training_data=hostile)
    assert text.count("\n## ") == 6
    for title in ("Limits", "Intended use", "Training data"):
        body = section_of(text, title)
        assert "\\<script\\>x\\</script\\> \\[a\\](javascript:b) \\`c\\` \\*d\\* &amp;lt;" in body
    assert section_of(text, "Limits").count("\n") == 0


def test_paragraphs_stay_and_lines_flow() -> None:
    assert section_of(card(intended_use="a\nb\n\n\nc"), "Intended use") == "a b\n\nc"


def test_code_cannot_close_its_fence() -> None:
    body = section_of(card(usage="x = '''\n```\n# no heading\n````'''"), "Use")
    assert body.startswith("`````python\n")
    assert body.endswith("\n`````")


def test_the_citation_stands_as_bibtex() -> None:
    assert section_of(card(citation="@article{x}"), "Citation") == "```bibtex\n@article{x}\n```"
