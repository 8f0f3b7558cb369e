"""The demo: that it runs, what it writes, and that it claims only what its figures show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from asal_vrvqa.compare import Contender
from asal_vrvqa.config import TASKS, DemoConfig, TrainConfig
from asal_vrvqa.data.labels import Clip
from asal_vrvqa.data.splits import Part
from asal_vrvqa.demo import command, run
from asal_vrvqa.demo.claims import (
    claim_of_asal,
    claim_of_forgetting,
    claim_of_replay,
    claim_of_sphere,
    compared,
)
from asal_vrvqa.results import Judged
from asal_vrvqa.runs import StreamRun
from shared_core.reporting.demo_file import read_demo

NAMES = ("one", "two", "three")


def contender(name, kept, seeds=1):
    """A strategy that keeps this share of each earlier task's order; the rest is noise."""
    draw = np.random.default_rng(0)
    parts = tuple(
        Part(
            task,
            tuple(
                Clip(
                    name=f"7_A_{task}{n}.mp4",
                    seconds=7,
                    start="A",
                    source=f"{task}{n}.mp4",
                    score=s,
                )
                for n, s in enumerate(draw.uniform(1, 5, 20))
            ),
        )
        for task in NAMES
    )
    labels = np.array([clip.score for part in parts for clip in part.clips])
    runs = []
    for seed in range(seeds):
        noise = np.random.default_rng(seed)
        rows = [noise.normal(size=60)]
        for stage in range(3):
            share = np.repeat(
                [1.0 if t == stage else kept if t < stage else 0 for t in range(3)], 20
            )
            rows.append(share * labels + 1.2 * (1 - share) * noise.normal(size=60))
        judged = Judged(NAMES, parts, np.array(rows))
        config = TrainConfig(labels="x", frames="x", seed=seed)
        runs.append(StreamRun(None, config, judged, {"memory_bytes": 0}))
    return Contender(name, tuple(runs))


@pytest.fixture(scope="module")
def forgetful():
    return [contender("finetune", 0.0), contender("er", 0.95), contender("asal", 0.9)]


def test_forgetting_is_claimed_where_its_interval_says_so(forgetful):
    assert claim_of_forgetting(forgetful[0]).endswith("it forgets.")
    assert claim_of_forgetting(contender("finetune", 1.0)).endswith("was not shown.")


def test_what_replay_changes_is_claimed_where_its_interval_says_so(forgetful):
    told = claim_of_replay(forgetful)
    assert told.count("it forgets less and knows more at the end") == 2
    same = [forgetful[0], replace(forgetful[0], name="er"), replace(forgetful[0], name="asal")]
    assert claim_of_replay(same).count("was not shown to change it") == 2


def test_one_seed_claims_nothing_about_two_memories(forgetful):
    assert (
        claim_of_asal(forgetful)
        == "Whether ASAL is better than plain replay, the option --full asks."
    )
    of_seeds = [contender(n, k, seeds=3) for n, k in (("finetune", 0), ("er", 0.5), ("asal", 1.0))]
    assert "it is better here" in claim_of_asal(of_seeds)
    worse = [of_seeds[0], replace(of_seeds[2], name="er"), replace(of_seeds[1], name="asal")]
    assert "was not shown to be better" in claim_of_asal(worse)


def test_the_sphere_is_claimed_over_seeds_only():
    assert "the sphere is better here" in claim_of_sphere([0.8, 0.82, 0.79], [0.5, 0.55, 0.52])
    assert "was not shown" in claim_of_sphere([0.8, 0.5, 0.7], [0.6, 0.7, 0.65])


def test_the_baselines_are_named(forgetful):
    forgetting, average = compared(forgetful)
    assert "untaught network" in average.baselines
    assert forgetting.found["finetuning"].higher_is_better is False
    assert forgetting.leading == forgetting.found["ASAL"]
    assert forgetting.best_baseline()[0] == "finetuning"


def test_the_demo_runs_and_writes_its_report(tmp_path, monkeypatch, capsys):
    """With few panoramas and one epoch: everything but the learning."""
    monkeypatch.setattr(run, "SOURCES", 5)
    monkeypatch.setattr(run, "JOBS", 1)  # starting processes takes longer than these runs
    monkeypatch.setattr("shared_core.training.folder.run_report", lambda folder: None)
    settings = run._settings
    monkeypatch.setattr(run, "_settings", lambda config: replace(settings(config), epochs=1))
    out = tmp_path / "demo"
    command(DemoConfig(out=out, device="cpu"))
    forgetting, average = read_demo(out).comparisons
    assert list(forgetting.found) == ["ASAL", "replay (ER)", "finetuning"]
    assert set(average.found) == {*forgetting.found, "untaught network"}
    page = (out / "report.html").read_text()
    for text in ("not opinion scores (MOS)", "memory, MB", "SRCC on the first task", *TASKS):
        assert text in page, text
    assert "chance: 0" in capsys.readouterr().out
    assert (out / "run" / "asal-0" / "tasks" / "5-Cityscape" / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_acceptance_done_4_finetuning_is_seen_to_forget(tmp_path):
    out = tmp_path / "demo"
    command(DemoConfig(out=out, device="cpu"))
    assert "it forgets." in read_demo(out).claims[0]
