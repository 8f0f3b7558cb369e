"""Runs in two connected processes: equal to one process, and of one mind about every end."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch.distributed as dist

from shared_core.checkpoints.store import Store
from shared_core.checkpoints.weights import load_weights
from shared_core.errors import UserError
from shared_core.launch.doctor import COMPILERS
from shared_core.reporting.events import read
from shared_core.testing.processes import run_ranks
from shared_core.testing.tiny_config import TinyConfig
from shared_core.testing.tiny_run import TinyLearner, trace, train
from shared_core.training import folder as folder_module


def losses(folder):
    return [event["loss"] for event in read(folder) if event["kind"] == "train"]


def two_process_tests(folder: str) -> dict[str, object]:
    """Everything that two ranks are asked, in one start: starting them costs more than all of it."""
    folder_module.run_report = lambda path: None
    at = Path(folder)
    config = TinyConfig(run=at / "two", device="cpu", threads=1, processes=2, save_every=2)
    told = {}

    train(replace(config, dropout=0.0, run=at / "even"))
    train(replace(config, dropout=0.0, batch_size=9, run=at / "odd"))

    train(config)
    told["nan"] = _error(replace(config, run=at / "nan", nan_at=5))
    train(replace(config, run=at / "nan", resume=True))

    train(skipping := replace(config, run=at / "skip", skip_at=12))
    told["left_out"] = [event.get("left_out") for event in read(skipping.run)]

    update = TinyLearner.update

    def asked_to_stop(self, micro_batches, hands):
        if self.updates == 4 and dist.get_rank() == 1:  # one process alone gets the signal
            os.kill(os.getpid(), signal.SIGTERM)
        return update(self, micro_batches, hands)

    TinyLearner.update = asked_to_stop
    told["stop"] = _error(replace(config, run=at / "stop"))
    TinyLearner.update = update
    train(replace(config, run=at / "stop", resume=True))

    told["refused"] = _error(replace(config, run=at / "stop"))

    Store.begin = _full_at_4
    told["disk"] = _error(replace(config, run=at / "disk"))
    Store.begin = _begin
    train(replace(config, run=at / "disk", resume=True))
    return told


def _full_at_4(self, step):
    if step == 4:
        raise OSError(errno.ENOSPC, "No space left on device")
    return _begin(self, step)


_begin = Store.begin


def _error(config) -> list[object]:
    try:
        train(config)
    except UserError as error:
        return [type(error).__name__, str(error), error.exit_status]
    return []


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    return folder, run_ranks(two_process_tests, arguments={"folder": str(folder)}, connect=False)


@pytest.mark.parametrize(("name", "batch_size"), [("even", 8), ("odd", 9)])
def test_two_processes_give_the_losses_of_one(two, tmp_path, monkeypatch, name, batch_size):
    monkeypatch.setattr(folder_module, "run_report", lambda path: None)
    one = TinyConfig(
        run=tmp_path / "one", device="cpu", threads=1, dropout=0.0, batch_size=batch_size
    )
    train(one)
    assert losses(two[0] / name) == pytest.approx(losses(one.run), abs=1e-5)


def test_a_nan_on_one_process_stops_both_before_the_update(two):
    folder, told = two
    kinds, messages, statuses = zip(*(rank["nan"] for rank in told), strict=True)
    assert kinds == ("NonFiniteError", "NonFiniteError")
    assert messages[0] == messages[1]
    assert "update 5 (epoch 2, batch 2)" in messages[0]
    assert "loss nan on process 1 (4 items)" in messages[0]
    assert "on process 0" not in messages[0]
    assert statuses == (1, 1)
    assert trace(folder / "nan") == trace(folder / "two")


def test_a_signal_to_one_process_stops_both_after_the_checkpoint(two):
    folder, told = two
    for kind, message, status in (rank["stop"] for rank in told):
        assert (kind, status) == ("Stopped", 143)
        assert "after update 5; the checkpoint is saved" in message
    assert trace(folder / "stop") == trace(folder / "two")


def test_what_process_0_refuses_ends_all(two):
    first, second = (rank["refused"] for rank in two[1])
    assert first[0] == "RunFolderError"
    assert second == ["StoppedElsewhere", *first[1:]]


def test_a_full_disk_on_process_0_ends_all_and_the_run_continues(two):
    folder, told = two
    first, second = (rank["disk"] for rank in told)
    assert "disk is full" in first[1]
    assert "intact" in first[1]
    assert second[0] == "StoppedElsewhere"
    assert trace(folder / "disk") == trace(folder / "two")


def test_an_update_that_no_process_counts_is_left_out(two):
    flags = two[1][0]["left_out"]
    assert flags.count(True) == 1


@pytest.mark.slow
@pytest.mark.deepspeed
@pytest.mark.parametrize("preset", ["zero2", "zero3"])
def test_deepspeed_trains_saves_a_whole_model_and_resumes_to_the_same_bits(tmp_path, preset):
    if not any(shutil.which(name) for name in COMPILERS):
        pytest.skip("DeepSpeed needs a C++ compiler")

    def start(name, **settings):  # DeepSpeed connects once in a process
        fields = {"run": str(tmp_path / name), "launch": preset, **settings}
        return run_ranks(sharded, arguments=fields, connect=False, preset=preset)

    assert start("whole") == [[], []]
    for kind, message, _ in start("resumed", save_every=2, nan_at=6):
        assert kind == "NonFiniteError"
        assert "update 6" in message
    assert start("resumed", save_every=2, resume=True) == [[], []]
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert losses(resumed) == losses(whole)
    model = [load_weights(run / "model" / "model.safetensors") for run in (whole, resumed)]
    assert all(model[0][name].equal(model[1][name]) for name in model[0])
    fresh = TinyLearner(TinyConfig()).model
    fresh.load_state_dict(model[0])
    plain = TinyConfig(run=tmp_path / "plain", device="cpu", threads=1, dropout=0.0)
    train(plain)
    assert losses(whole) == pytest.approx(losses(plain.run), abs=1e-4)


def sharded(run: str, **settings: object) -> list[object]:
    """A run under DeepSpeed, and the error it ended with."""
    folder_module.run_report = lambda path: None
    return _error(
        TinyConfig(run=Path(run), device="cpu", threads=1, processes=2, dropout=0.0, **settings)
    )
