"""The frame of the fault table: verdicts, exit status, what is compared; and some faults to the core."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace

import pytest

from shared_core.testing.faults import flip_bit
from shared_core.testing.kills import updates
from tools.faults import runner
from tools.faults.campaign import Campaign, Disturbance, Over, Start, difference
from tools.faults.power_cut import _fault
from tools.faults.processes import child, ended
from tools.faults.row import Broken, Options, Row, Trials, expect, not_offered
from tools.faults.rows import kill, one_folder, power_cut
from tools.faults.subjects.shared_core import Tiny
from tools.faults.table import Figure
from tools.packages import packages


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The core's smallest run as a subject."""
    return Tiny(tmp_path_factory.mktemp("tiny"), 0)


@pytest.fixture(scope="module")
def whole(tiny):
    """The run folder of one that nothing disturbed."""
    return tiny.whole


def options(folder, moments=4):
    folder.mkdir(parents=True, exist_ok=True)
    return Options(moments=moments, seed=0, folder=folder)


def figure(**changes):
    plain = {"row": "r", "package": "p", "held": 2, "tried": 2, "wanted": "w"}
    return Figure(**{**plain, **changes})


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (figure(), "held"),
        (figure(held=1), "broken"),
        (figure(held=0, tried=0), "broken"),
        (figure(held=1, reason="too slow here"), "short of"),
    ],
)
def test_a_figure_holds_only_where_it_was_tried_and_held_every_time(found, verdict):
    assert found.verdict == verdict
    assert found.to_json()["verdict"] == verdict


def test_a_promise_that_is_not_made_is_told_with_its_reason(tiny):
    found = not_offered("r", tiny, "w", "no root")
    assert (found.verdict, found.tried, found.package) == ("short of", 0, "shared-core")


def test_trials_count_errors_of_every_kind_as_not_held(tiny):
    trials = Trials("r", tiny, "w")
    for error in (Broken("x"), ValueError("y"), None):
        with trials.trial("moment"):
            if error:
                raise error
    found = trials.figure()
    assert (found.held, found.tried) == (1, 3)
    assert found.failures == ("moment: Broken: x", "moment: ValueError: y")


def row(function, name="made", **fields):
    return Row(name=name, wanted="w", run=function, **fields)


@pytest.fixture
def rows(monkeypatch):
    """Lets the runner have these rows alone."""
    return lambda *given: monkeypatch.setattr(runner, "all_rows", lambda: list(given))


def held(subject, options):
    return replace(figure(), row="made", package=subject.program)


def fails(subject, options):
    raise RuntimeError("the row itself failed")


def test_the_status_is_1_where_a_row_fails_and_the_other_rows_go_on(rows, tmp_path, capsys):
    rows(row(held, "good"), row(fails, "bad"))
    words = ["--packages", "abaw-va", "gaze-da", "--json", str(tmp_path / "found.json")]
    assert runner.main(words) == 1
    assert "the row itself failed" in capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())
    told = [(row["package"], row["verdict"]) for row in found["rows"]]
    both = ("abaw-va", "gaze-da")
    assert told == [*((p, "held") for p in both), *((p, "broken") for p in both)]
    assert found["settings"] == {"seed": 0, "moments": 10, "jobs": 2}
    assert runner.main(["good", "--packages", "abaw-va"]) == 0


def test_what_falls_short_for_a_reason_does_not_fail_the_tool(rows, capsys):
    rows(row(lambda subject, options: not_offered("made", subject, "w", "no such disk")))
    assert runner.main(["--packages", "abaw-va"]) == 0
    assert "no such disk" in capsys.readouterr().out


def test_a_row_of_the_core_is_done_once(rows, tmp_path):
    rows(row(held, per_package=False))
    words = ["--packages", "abaw-va", "gaze-da", "--json", str(tmp_path / "found.json")]
    assert runner.main(words) == 0
    (found,) = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert found["package"] == "shared-core"


@pytest.mark.parametrize("words", [["nothing"], ["--packages", "nothing"], ["--moments", "0"]])
def test_unknown_words_are_refused(words, capsys):
    with pytest.raises(SystemExit) as raised:
        runner.main(words)
    assert raised.value.code == 2
    assert "expected" in capsys.readouterr().err or words != ["--moments", "0"]


def test_every_package_has_a_subject_and_every_row_another_name():
    assert runner.all_subjects() == [package.module for package in packages()]
    names = [row.name for row in runner.all_rows()]
    assert len(set(names)) == len(names)


def test_the_seed_alone_decides_what_is_drawn(tiny, tmp_path):
    """Another row or package draws something else."""
    one, other = (Options(moments=9, seed=seed, folder=tmp_path) for seed in (1, 2))
    names = [[moment.name for moment in kill.planned(tiny, each)] for each in (one, one, other)]
    assert names[0] == names[1] != names[2]
    assert one.draw("kill", "a").random() != one.draw("kill", "b").random()
    assert sum(name in tiny.points for name in names[0]) == 4


def test_a_run_that_differs_by_one_bit_is_caught(tiny, whole, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    assert not difference(tiny.left(copy), tiny.left(whole))
    optimizer = max((copy / "checkpoints").glob("step-*")) / "optimizer.safetensors"
    flip_bit(optimizer)
    assert "checkpoint (optimizer.safetensors)" in difference(tiny.left(copy), tiny.left(whole))
    flip_bit(optimizer)
    record = copy / "events.jsonl"
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join([*lines[:7], *lines[8:]]))
    assert "events from the 8th on" in difference(tiny.left(copy), tiny.left(whole))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_killed_run_is_resumed_and_compared(tiny, whole, tmp_path):
    """Inside a save and between two; what was lost is at most an interval."""
    found = {one.row: one for one in kill.run(tiny, options(tmp_path, moments=2))}
    assert (found["kill"].held, found["kill"].tried) == (2, 2), found["kill"].failures
    assert found["kill: lost work"].verdict == "held"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_campaign_tells_what_is_wrong_with_a_run_that_came_back_otherwise(tiny, whole, tmp_path):
    """A fault that changes the record is found at the end, and counts against what was done."""

    def spoils(start: Start) -> None:
        start.wait_for_updates(1)
        start.child.kill_all()
        (start.run / "config.yaml").unlink()
        shutil.rmtree(start.run / "checkpoints", ignore_errors=True)

    def is_over(start: Start) -> None:
        raise Over

    trials = Trials("r", tiny, "w")
    expected = {**tiny.left(whole), "model": "another"}
    campaign = Campaign(tiny, tmp_path, expected, trials)
    campaign.disturb([Disturbance(name="spoilt", act=spoils)])
    (failure,) = trials.figure().failures
    assert "differs from the undisturbed run in model" in failure
    with pytest.raises(Broken, match="a whole run does not get there"):
        campaign.disturb([Disturbance(name="never", act=is_over)])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_starters_in_one_folder_are_told_apart(tiny, tmp_path, monkeypatch):
    plain = tiny.settings
    monkeypatch.setattr(tiny, "settings", lambda *given, **named: plain(*given, **named, pause=0.2))
    monkeypatch.setattr(one_folder, "MOST", 3)
    found = one_folder.run(tiny, options(tmp_path))
    assert (found.held, found.tried) == (2, 2), found.failures


def test_no_power_cut_leaves_a_checkpoint_in_between(tiny, tmp_path):
    found = power_cut.run(tiny, options(tmp_path))
    assert found.verdict == "held", found.failures
    assert found.tried > 100


def test_the_power_cut_model_sees_a_checkpoint_that_was_not_synced(tmp_path, monkeypatch):
    """A store that syncs nothing leaves half a checkpoint."""
    from shared_core.checkpoints import manifest
    from tools.faults import power_cut as model

    monkeypatch.setattr(manifest, "sync_file", lambda path: None)
    model.main(tmp_path / "store", tmp_path / "told.json")
    found = json.loads((tmp_path / "told.json").read_text())
    assert any(state["fault"] for state in found)
    assert not _fault(tmp_path / "nothing", saved=0)


def test_a_command_ends_with_the_block_that_started_it():
    with child(["python", "-c", "import time; time.sleep(600)"]) as started:
        assert started.process.poll() is None
    assert started.process.returncode == -signal.SIGKILL


def test_an_ended_command_tells_status_output_and_time():
    found = ended(["python", "-c", "print('said'); raise SystemExit(3)"])
    assert (found.status, found.output) == (3, "said\n")
    assert found.seconds > 0
    with pytest.raises(TimeoutError, match=r"not over after 0\.5 s"):
        ended(["python", "-c", "import time; time.sleep(600)"], timeout=0.5)


def test_expect_tells_what_was_found_instead():
    expect(holds=True, found="nothing")
    with pytest.raises(Broken, match="another status"):
        expect(holds=False, found="another status")


def test_the_record_of_no_run_has_no_updates(tmp_path):
    assert updates(tmp_path / "none") == []


def test_a_row_that_time_does_not_reach_is_listed_and_does_not_fail(tiny, tmp_path):
    ran = []
    made = row(lambda *_: ran.append(1))
    late = runner._Job(made, tiny, options(tmp_path), until=0.0)
    (found,) = runner.run([late], 1)
    assert (found.verdict, found.tried, ran) == ("short of", 0, [])
    assert "--minutes" in found.reason
