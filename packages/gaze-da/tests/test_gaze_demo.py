"""The demo: what it measures, what it may claim of that, and the whole of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gaze_da.config import DemoConfig
from gaze_da.data.samples import Sample
from gaze_da.demo import command
from gaze_da.demo.claims import (
    ADAPTED,
    BASELINES,
    CENTRE,
    NETWORK,
    PLAIN,
    Judgement,
    claim_of_adaptation,
    claim_of_learning,
    compared,
    gains_over_seeds,
)
from gaze_da.demo.page import page_of
from gaze_da.demo.run import Chance, mean_prior
from gaze_da.method.targets import heat_map
from gaze_da.protocols import COLUMNS
from shared_core.errors import RunFolderError
from shared_core.reporting.demo_file import Picture, read_demo

PEOPLE = 40


def person(number, gazes=((0.5, 0.5),)):
    return Sample(
        name=f"{number}",
        image="",
        depth="",
        group=f"picture {number // 2}",
        dataset="gazefollow",
        head=(0, 0, 1, 1),
        head_unit="pixels",
        gazes=gazes,
        gaze_unit="fractions",
        eyes=None,
        inside=bool(gazes),
    )


def judgement(seed=0, **scores):
    """People with a mean AUC and distance for each predictor, and what all of them find as hard."""
    draw = np.random.default_rng(seed)
    hard = draw.normal(0, 0.1, PEOPLE)
    tables = {}
    for name, (auc, distance) in scores.items():
        table = np.ones((PEOPLE, len(COLUMNS)))
        noise = draw.normal(0, 0.01, (2, PEOPLE))
        table[:, COLUMNS.index("auc")] = auc - hard + noise[0]
        table[:, COLUMNS.index("avg_dist")] = distance + hard + noise[1]
        tables[name.replace("_", " ")] = table
    return Judgement([person(n) for n in range(PEOPLE)], tables, seed=0)


def source(auc=0.85, distance=0.2):
    rivals = dict.fromkeys(BASELINES, (0.5, 0.4))
    return judgement(**{NETWORK: (auc, distance)}, **rivals)


def target(*gains):
    return [
        judgement(seed, **{PLAIN: (0.6, 0.4), ADAPTED: (0.6 + gain, 0.4 - gain)})
        for seed, gain in enumerate(gains)
    ]


def test_a_gain_is_above_0_where_ours_is_better_in_either_measure():
    """Higher AUC, shorter distance; the interval is the paired one, narrower than either's own."""
    judged = source()
    for column, gain in (("auc", 0.35), ("avg_dist", 0.2)):
        found = judged.gain(NETWORK, CENTRE, column)
        assert found.value == pytest.approx(gain, abs=0.01)
        assert found.low < found.value < found.high
        alone = judged.measures(NETWORK)[column]
        assert found.high - found.low < 0.3 * (alone.high - alone.low)
        assert judged.gain(CENTRE, NETWORK, column).value == pytest.approx(-found.value)


def test_learning_is_claimed_only_where_no_interval_overlaps_the_centre_prior():
    assert "Better by" in claim_of_learning(source())
    for auc, distance in ((0.51, 0.2), (0.85, 0.39), (0.4, 0.5)):
        assert "was not shown" in claim_of_learning(source(auc, distance))


def test_one_seed_claims_nothing_of_adaptation():
    told = claim_of_adaptation(target(0.2))
    assert "the option --full asks" in told
    assert "helps here" not in told


def test_several_seeds_claim_adaptation_only_where_their_interval_is_above_0():
    assert "adaptation helps here" in claim_of_adaptation(target(0.1, 0.12, 0.11))
    for gains in ((0.1, -0.1, 0.2), (-0.1, -0.11, -0.12), (0.3, 0.01, 0.02)):
        told = claim_of_adaptation(target(*gains))
        assert "was not shown to help" in told
        assert "helps here" not in told


def test_the_interval_over_seeds_is_students():
    """By hand: three values, two degrees of freedom, t = 4.3027."""
    judged = target(0.1, 0.12, 0.17)
    values = [of.gain(ADAPTED, PLAIN, "avg_dist").value for of in judged]
    mean = sum(values) / 3
    error = math.sqrt(sum((value - mean) ** 2 for value in values) / 2 / 3)
    found = gains_over_seeds(judged)["avg_dist"]
    assert found.value == pytest.approx(mean)
    assert found.low == pytest.approx(mean - 4.302653 * error)
    assert found.high == pytest.approx(mean + 4.302653 * error)


def test_the_mean_prior_is_the_mean_of_those_who_look_inside():
    people = [person(0, ((0.2, 0.3),)), person(1, ()), person(2, ((0.7, 0.7),))]
    expected = (heat_map([(4.8, 7.2)], 24) + heat_map([(16.8, 16.8)], 24)) / 2
    np.testing.assert_allclose(mean_prior(people, 24).heatmap, expected, atol=1e-6)


def test_chance_depends_on_the_person_and_not_on_the_batch():
    class Batch:
        def __init__(self, *numbers):
            self.index = torch.tensor(numbers)

    chance = Chance(8, seed=1)
    whole, _ = chance(Batch(0, 1, 2))
    part, _ = chance(Batch(2))
    assert torch.equal(part[0], whole[2])
    assert not torch.equal(whole[0], whole[1])


def test_the_report_shows_both_measures_with_baselines_both_ways_and_its_limits(tmp_path):
    picture = Picture(file="x.png", alt="heads and lines", caption="flat, source only")
    (tmp_path / "x.png").write_bytes(b"png")
    one = page_of(source(), target(0.1), [picture], tmp_path, "as told").html()
    for name in (NETWORK, *BASELINES, PLAIN, ADAPTED, "as told", "flat, source only"):
        assert name in one
    assert "What this does not show" in one
    assert "no claim that it helps" in one
    several = page_of(source(), target(0.1, 0.1, 0.1), [], tmp_path, "as told").html()
    assert "over 3 seeds" in several
    assert "no claim that it helps" not in several


def test_the_index_of_demos_gets_every_measure_once():
    found = compared(source(), target(0.1))
    assert sum(len(of.found) for of in found) == 2 * (1 + len(BASELINES)) + 2 * 2
    assert found[0].leading == found[0].found[NETWORK]
    assert set(found[0].baselines) == set(BASELINES)
    assert [of.measure for of in compared(source(), target(0.1, 0.1))[len(found) :]] == [
        "gain in AUC by adaptation, over 2 seeds",
        "gain in distance by adaptation, over 2 seeds",
    ]


def test_a_folder_that_no_demo_wrote_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match="no earlier demo's"):
        command(DemoConfig(out=tmp_path))
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.slow
def test_the_demo_shows_localisation_better_than_the_centre(tmp_path):
    """No interval overlaps the centre prior's; nothing is claimed of adaptation with one seed."""
    command(DemoConfig(out=tmp_path / "demo", device="cpu"))
    demo = read_demo(tmp_path / "demo")
    found = {of.measure: of.found for of in demo.comparisons}
    for baseline in BASELINES:
        assert found["AUC"][NETWORK].low > found["AUC"][baseline].high
        assert found["distance"][NETWORK].high < found["distance"][baseline].low
    assert "Better by" in demo.claims[0]
    assert "the option --full asks" in demo.claims[1]
    assert {PLAIN, ADAPTED} < set(found["AUC on the other style"])
    report = (tmp_path / "demo" / "report.html").read_text()
    assert report.count("data:image/png") == 3
