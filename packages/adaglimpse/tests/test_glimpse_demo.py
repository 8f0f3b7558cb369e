"""The demo: that it runs, what it writes, and that it claims only what its figures show."""

from __future__ import annotations

import numpy as np
import pytest

from adaglimpse.config import DemoConfig
from adaglimpse.demo import command, run
from adaglimpse.demo.claims import claim, compared, gain, is_shown
from adaglimpse.results import Judged
from shared_core.reporting.demo_file import read_demo

POLICIES = ("learnt", "random", "grid", "centre", "full")


def classified(share, seed=0):
    """200 scenes of which so many are named rightly after the last of two glimpses."""
    draw = np.random.default_rng(seed)
    table = np.ones((200, 3, 4))
    table[:, :, 3] = draw.random((200, 1)) < share
    return Judged("classification", table)


def reconstructed(error, seed=0):
    """200 scenes with an RMSE about so many levels."""
    draw = np.random.default_rng(seed)
    table = np.ones((200, 3, 4))
    table[:, :, 3] = (error + draw.normal(0, 1, (200, 1))) ** 2
    return Judged("reconstruction", table)


def found(make, values):
    return {name: make(value, number) for number, (name, value) in enumerate(values.items())}


def shares(*values):
    return dict(zip(POLICIES, values, strict=True))


def test_a_policy_that_is_better_than_everything_is_said_to_be():
    told = claim([found(classified, shares(0.9, 0.4, 0.4, 0.5, 0.2))])
    assert "it looks better than at random" in told
    assert "It is better than every fixed way to look" in told


def test_a_fixed_way_to_look_that_is_as_good_is_named():
    told = claim([found(classified, shares(0.7, 0.4, 0.4, 0.7, 0.2))])
    assert "it looks better than at random" in told
    assert "A fixed way to look is as good, as far as was shown: centre, ever closer" in told


def test_nothing_is_claimed_where_nothing_was_shown():
    assert "no gain was shown" in claim([found(classified, shares(0.42, 0.42, 0.4, 0.4, 0.2))])
    worse = found(reconstructed, shares(30.0, 20.0, 21.0, 21.0, 21.0))
    assert "no gain was shown" in claim([worse])
    assert gain([worse], "random").value < -9


def test_a_smaller_error_is_a_gain():
    better = found(reconstructed, shares(20.0, 25.0, 26.0, 24.0, 27.0))
    measure = gain([better], "random")
    assert is_shown(measure)
    assert measure.value == pytest.approx(5, abs=0.3)
    assert "it looks better than at random" in claim([better])


def test_several_seeds_have_an_interval_over_seeds():
    """One seed that is worse by far takes the claim back."""
    good = found(classified, shares(0.9, 0.4, 0.4, 0.4, 0.2))
    bad = found(classified, shares(0.2, 0.6, 0.4, 0.4, 0.2))
    assert "no gain was shown" in claim([good, good, bad])


def test_the_index_tells_ours_from_the_baselines_and_knows_chance():
    of = compared(found(classified, shares(0.9, 0.4, 0.4, 0.5, 0.2)))
    assert set(of.found) - set(of.baselines) == {"learnt"}
    assert len(of.baselines) == 4
    assert of.leading == of.found["learnt"]
    assert of.best_baseline()[0] == "centre, ever closer"
    assert of.chance == pytest.approx(1 / 6, abs=1e-3)
    errors = compared(found(reconstructed, shares(20.0, 25.0, 26.0, 24.0, 27.0)))
    assert (errors.measure, errors.chance) == ("RMSE, levels", None)
    assert errors.best_baseline()[0] == "centre, ever closer"


def test_the_demo_runs_and_writes_its_report(tmp_path, monkeypatch, capsys):
    """With so few scenes that nothing can be learnt: what is claimed then is no gain."""
    monkeypatch.setattr(run, "TRAIN", 128)
    monkeypatch.setattr(run, "VAL", 12)
    trial = run.Trial(task="classification", passes=1)
    monkeypatch.setattr(run, "SHORT", (trial,))
    out = tmp_path / "demo"
    command(DemoConfig(out=out))
    told = capsys.readouterr().out
    assert "Classification from 2 glimpses" in told
    assert "Chance is 0.167" in told
    page = (out / "report.html").read_text()
    assert "What this does not show" in page
    demo = read_demo(out)
    assert len(demo.comparisons[0].found) == 5
    assert demo.trained.counts["scenes to learn from"] == 128
    assert demo.trained.parameters > 10_000
    assert [(out / one.file).is_file() for one in demo.pictures] == [True]
