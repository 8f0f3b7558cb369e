"""Rows that cannot be used, wherever they are read: by a loader process, by each process of a run."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState
from torch.utils.data import DataLoader

from refine_iqa.config import MediaSettings, TrainConfig
from refine_iqa.data.rows import read_rows
from refine_iqa.grpo.rows import TrainingRows
from refine_iqa.learner import train
from shared_core.config import from_dict, to_dict
from shared_core.data.quarantine import Quarantine
from shared_core.errors import DataError
from shared_core.testing.processes import run_ranks
from shared_core.training import folder as folder_module


@pytest.fixture
def table(pictures, tmp_path):
    """Of twenty rows, the first and the fourth show no picture."""
    rows = [{"image": str(pictures / f"{n % 8}.png"), "solution": 3.0} for n in range(20)]
    for place in (0, 3):
        path = tmp_path / f"broken-{place}.png"
        path.write_bytes(b"no picture")
        rows[place]["image"] = str(path)
    (tmp_path / "table.json").write_text(json.dumps(rows))
    return tmp_path / "table.json"


def loaded(table, quarantine, workers):
    """The rows of a table and its first eight examples, each twice, read in other processes or here."""
    rows = TrainingRows(
        read_rows(table),
        MediaSettings(),
        factor=28,
        boxes="pixels",
        quarantine=quarantine,
    )
    numbers = [number for number in range(8) for _ in range(2)]
    batches = DataLoader(
        rows.dataset(), batch_size=4, sampler=numbers, collate_fn=list, num_workers=workers
    )
    return rows, list(batches)


@pytest.mark.parametrize("workers", [0, 2])
def test_rows_that_cannot_be_read_are_listed_once_a_batch_whoever_reads_them(
    table, workers, caplog
):
    quarantine = Quarantine("quarantine")
    rows, batches = loaded(table, quarantine, workers)
    examples = [example for batch in batches for example in batch]
    blank = [example["row"] for example in examples if example["unreadable"]]
    assert blank == [0, 0, 3, 3]
    assert {example["images"][0].size for example in examples[:2]} == {(56, 56)}
    assert quarantine.rows == ()
    for batch in batches:
        rows.refuse(batch)
    listed = [(row.path, row.count) for row in quarantine.rows]
    assert listed == [(str(table.parent / f"broken-{place}.png"), 1) for place in (0, 3)]
    rows.refuse(batches[0])
    assert [row.count for row in quarantine.rows] == [2, 1]
    assert "table.json, row 1 is left out" in caplog.text


@pytest.mark.parametrize("workers", [0, 1])
def test_a_row_that_cannot_be_read_is_an_error_of_the_data_whoever_reads_it(table, workers):
    rows, batches = loaded(table, Quarantine("raise"), workers)
    rows.refuse(batches[2])
    with pytest.raises(DataError, match=r"broken-0\.png") as error:
        rows.refuse(batches[0])
    assert error.value.path == table.parent / "broken-0.png"


def test_the_limit_counts_the_rows_of_all_loader_processes(table):
    rows, batches = loaded(table, Quarantine("quarantine", limit_share=0.05), workers=2)
    rows.refuse(batches[0])
    with pytest.raises(DataError, match="2 of 20 rows cannot be used"):
        rows.refuse(batches[1])


@pytest.mark.parametrize("policy", ["raise", "quarantine"])
def test_a_run_hears_of_the_rows_that_its_loader_process_cannot_read(
    table, tiny_folders, tmp_path, monkeypatch, policy
):
    monkeypatch.setattr(folder_module, "run_report", lambda folder: None)
    config = TrainConfig(
        model=str(tiny_folders["qwen2_5_vl"]),
        data=(table,),
        on_bad_row=policy,
        run=tmp_path / "run",
        batch_size=20,
        num_generations=2,
        max_completion_length=4,
        max_pixels=6272,
        workers=1,
        trackers=(),
        threads=1,
    )
    if policy == "raise":
        with pytest.raises(DataError, match=r"broken-[03]\.png"):
            train(config)
        return
    train(config)
    listed = json.loads((config.run / "quarantine.json").read_text())
    assert sorted(Path(row["path"]).name for row in listed) == ["broken-0.png", "broken-3.png"]


def interrupted(order):
    """A run whose second update fails on all processes, and which is then continued."""
    from refine_iqa.grpo.trainer import QualityTrainer

    step, made = QualityTrainer.training_step, itertools.count(1)

    def fails(trainer, *given):
        if next(made) == 2:
            raise OSError("the power is gone")
        return step(trainer, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder_module, "run_report", lambda folder: None)
        patch.setattr(QualityTrainer, "training_step", fails)
        with pytest.raises(OSError, match="the power is gone"):
            train(from_dict(TrainConfig, order))
        AcceleratorState._reset_state()
        train(from_dict(TrainConfig, {**order, "resume": True}))


def test_a_row_without_its_picture_is_listed_once_for_all_processes_and_starts(
    tiny_folders, pictures, tmp_path
):
    rows = [{"image": str(pictures / f"{n % 8}.png"), "solution": 3.0} for n in range(19)]
    (tmp_path / "table.json").write_text(json.dumps([{"image": "none.png", "solution": 3}, *rows]))
    config = TrainConfig(
        model=str(tiny_folders["qwen2_5_vl"]),
        data=(tmp_path / "table.json",),
        on_bad_row="quarantine",
        run=tmp_path / "run",
        batch_size=2,
        num_generations=2,
        max_completion_length=8,
        max_pixels=6272,
        max_steps=2,
        save_every=1,
        trackers=(),
        threads=1,
        launch="cpu-2",
    )
    run_ranks(
        interrupted,
        arguments={"order": to_dict(config)},
        connect=False,
        preset="cpu-2",
        timeout=200,
    )
    [listed] = json.loads(Path(config.run, "quarantine.json").read_text())
    assert (listed["where"], listed["count"]) == ("row 1", 1)
    told = [json.loads(line) for line in (config.run / "events.jsonl").read_text().splitlines()]
    trained = [event for event in told if event["kind"] == "train"]
    assert [event["step"] for event in trained] == [1, 2]
    assert all("data_share" not in event and event["items_per_second"] > 0 for event in trained)
