"""What a plan computes: bytes and FLOPs against numbers worked out by hand, shards, limits, messages."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from shared_core import commands
from shared_core.commands import Verb
from shared_core.data.loader import KeyedLoader, ShuffledPlan
from shared_core.errors import ConfigError
from shared_core.launch import plan, plan_report
from shared_core.launch.config import DoctorConfig
from shared_core.launch.plan import GPUS, Speed, assumed_seconds, memory, share
from shared_core.launch.plan_counting import Counting
from shared_core.launch.plan_measure import Cost, Trial, measure
from shared_core.testing.tiny_config import TinyConfig
from shared_core.testing.tiny_run import ITEMS, TinyData, TinyLearner, collate

MB = 1_000_000
COST = Cost(
    unit="things",
    items=8,
    update_seconds=0.5,
    read_seconds=0.2,
    flops=1e12,
    working_bytes=300 * MB,
    batch_bytes=5 * MB,
    weights=30 * MB,
    trained=25 * MB,
    parameter_bytes=120 * MB,
    gradient_bytes=100 * MB,
    optimizer_bytes=200 * MB,
    held_bytes=7 * MB,
)
VERBS = (
    Verb(
        "train",
        "shared_core.testing.tiny_config:TinyConfig",
        "nowhere:train",
        "Train.",
        launch=True,
    ),
)


def tiny_trial(config: TinyConfig, **changes: Any) -> Trial:
    data = TinyData()
    loader = KeyedLoader(
        data,
        ShuffledPlan(ITEMS, config.batch_size, config.seed),
        seed=config.seed,
        collate=collate,
        accumulate=config.accumulate,
    )
    learner = TinyLearner(config)
    return Trial(unit="items", learner=learner, loader=loader, read_bytes=16, **changes)


def tiny_cost(config: TinyConfig, folder: Path) -> Cost:
    return measure(tiny_trial(config), config, updates=1)


def test_flops_of_a_linear_layer_are_two_a_weight_and_row_and_twice_that_backward():
    layer, rows = nn.Linear(30, 20, bias=False), torch.randn(7, 30, requires_grad=True)
    with Counting() as count:
        layer(rows).sum().backward()
    assert count.flops == 3 * 2 * 7 * 30 * 20


def test_flops_of_a_convolution_are_two_a_weight_and_pixel():
    layer, picture = nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.randn(2, 3, 16, 16)
    with Counting() as count:
        layer(picture).sum().backward()  # the picture wants no gradient: its half is not made
    assert count.flops == 2 * (2 * (2 * 16 * 16) * 8 * 3 * 9)


def test_flops_of_an_lstm_are_counted_on_the_cpu():
    layer, frames = nn.LSTM(24, 16, batch_first=True), torch.randn(3, 10, 24, requires_grad=True)
    with Counting() as count:
        layer(frames)[0].sum().backward()
    assert count.flops == 3 * 2 * 3 * 10 * 4 * 16 * (24 + 16)


def test_the_peak_is_what_lives_at_the_same_time():
    kept = torch.zeros(1000)  # made before: not counted, nor when it is changed or looked at
    with Counting() as count:
        for _ in range(3):
            large = torch.ones(4096)
            small = large[:10] + 1
            del large
        kept.add_(1)
        kept.view(10, 100)
    assert count.peak == 4 * (4096 + 10) + 4 * 10
    assert small.sum() == 20


def test_memory_of_a_model_is_that_of_its_parts():
    cost = tiny_cost(TinyConfig(threads=1), Path())
    weights = 4 * 8 + 8 + 8 + 1
    assert cost.weights == cost.trained == weights
    assert cost.parameter_bytes == cost.gradient_bytes == 4 * weights
    # Adam keeps two numbers a weight, and for each of the four parameters the count of its steps
    assert cost.optimizer_bytes == 2 * 4 * weights + 4 * 4
    assert cost.batch_bytes == 8 * (4 * 4 + 4 + 1)
    assert cost.flops == 2 * 8 * (4 * 8) * 2 + 2 * 8 * 8 * 3  # no gradient for the inputs
    assert cost.working_bytes > cost.gradient_bytes


def test_a_short_last_batch_is_not_taken_for_an_update():
    cost = tiny_cost(TinyConfig(threads=1, batch_size=7, accumulate=1), Path())
    assert ITEMS % 7  # three batches of 7, then the rest, which the counted update would have been
    assert cost.flops == 2 * 7 * (4 * 8) * 2 + 2 * 7 * 8 * 3


def test_epochs_of_another_kind_find_everything_warm():
    config = TinyConfig(threads=1)
    trial = tiny_trial(config, epochs=(0, 1), warm_up=3)
    measure(trial, config, updates=1)
    assert trial.learner.updates == (3 + 1 + 1) + (1 + 1 + 1)  # one is timed, one is counted


@pytest.mark.parametrize(
    ("sharding", "parameters", "gradients", "optimiser"),
    [
        ("none", 120, 100, 200),
        ("zero1", 120, 100, 75),  # with an fp32 copy of what learns
        ("zero2", 120, 25, 75),
        ("zero3", 30, 25, 75),
        ("fsdp2", 30, 25, 50),
    ],
)
def test_what_each_preset_cuts_over_four_processes(sharding, parameters, gradients, optimiser):
    parts = memory(COST, sharding, 4)
    found = [parts[name] / MB for name in ("parameters", "gradients", "optimiser")]
    assert found == [parameters, gradients, optimiser]
    assert parts["activations"] == 200 * MB
    assert ("exchange" in parts) == (sharding == "none")


def test_one_process_exchanges_nothing():
    assert sum(memory(COST).values()) == (120 + 100 + 200 + 200 + 5 + 7) * MB


@pytest.mark.parametrize(
    ("workers", "seconds", "limit"),
    [(0, 0.7, "decoding"), (2, 0.25, "decoding"), (5, 0.2, "computing"), (9, 0.2, "computing")],
)
def test_the_longer_of_computing_and_decoding_limits(workers, seconds, limit):
    speed = Speed(compute_seconds=0.2, read_seconds=0.5, workers=workers)
    assert (speed.update_seconds, speed.limit) == (pytest.approx(seconds), limit)
    assert speed.balancing_workers == 3


def test_a_gpu_that_is_not_at_hand_computes_at_a_share_of_its_peak():
    assert assumed_seconds(COST, GPUS["a100"], "bf16", 0.5) == pytest.approx(1 / 156)
    assert assumed_seconds(COST, GPUS["a100"], "fp32", 0.5) == pytest.approx(1 / 9.75)
    streaming = replace(COST, streamed_bytes=2039e9)
    assert assumed_seconds(streaming, GPUS["a100"], "bf16", 0.5) == pytest.approx(1 + 1 / 156)


def test_shares_are_those_that_the_loader_deals():
    assert share(32, 1, 8) == 4
    assert share(33, 1, 8) == 5
    assert share(32, 4, 2) == 16
    assert share(8, 8, 4) == 8


def test_costs_are_drawn_out_on_a_straight_line():
    double = replace(COST, items=16, update_seconds=0.9, working_bytes=500 * MB)
    found = COST.drawn_out(double, 48)
    assert found.items == 48
    assert found.update_seconds == pytest.approx(0.5 + 5 * 0.4)
    assert found.working_bytes == 1300 * MB
    assert found.parameter_bytes == COST.parameter_bytes
    assert "8 and 16 things" in found.notes[-1]


def test_an_update_that_takes_too_long_is_drawn_out_from_two_smaller_ones():
    tried = []

    def room(config, folder):
        tried.append(config.batch_size)
        return replace(COST, items=config.batch_size, update_seconds=float(config.batch_size))

    cost = plan_report.cost_of(room, TinyConfig(batch_size=64), 64)
    assert tried == [2, 4]
    assert cost.update_seconds == pytest.approx(64)


def test_an_update_of_the_right_size_is_made_where_it_can_be():
    tried = []

    def room(config, folder):
        tried.append(config.batch_size)
        return replace(COST, items=config.batch_size, update_seconds=0.001, read_seconds=0.0)

    assert plan_report.cost_of(room, TinyConfig(batch_size=64), 64).items == 64
    assert tried == [2, 64]


def test_checkpoints_hold_the_model_its_optimisers_and_what_is_saved():
    cost = replace(COST, saved_bytes=3 * MB)
    assert plan.checkpoint_bytes(cost) == 323 * MB
    assert plan.disk_bytes(cost, keep_last=3) == (5 * 323 + 120) * MB


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A program whose plan is that of the tiny run."""
    package = tmp_path / "planned_here"
    package.mkdir()
    (package / "__init__.py").write_text('"""Plans."""\n')
    (package / "plan.py").write_text("from test_launch_plan import tiny_cost as cost\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return lambda line: commands.main("tiny", "planned_here", VERBS, line.split())


def test_a_plan_is_printed_as_json(program, capsys):
    line = "doctor --plan --json --items 100 -- train --batch-size 8 --keep-last 2"
    assert program(line) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["measured"]
    assert found["updates_per_epoch"] == 13
    assert found["memory_bytes"] == sum(found["memory"].values())
    assert found["epoch_seconds"] == pytest.approx(13 * found["update_seconds"])
    assert found["disk_bytes"] == 4 * found["checkpoint_bytes"] + found["cost"]["parameter_bytes"]


def test_a_gpu_that_is_not_at_hand_is_told_as_assumed(program, capsys):
    assert program("doctor --plan --items 100 --gpus 2 --gpu h100 -- train") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "2 x h100, assumed at 35% of the peak, not measured" in printed
    assert "limited by" in printed
    assert "exchange" in printed


def test_a_model_that_does_not_fit_is_told_with_status_1(capsys):
    def room(config, folder):
        return replace(COST, items=config.batch_size, parameter_bytes=30_000 * MB)

    asked = DoctorConfig(plan=True, items=10, gpu="l4")
    assert plan_report.command(asked, room, TinyConfig()) == 1
    assert "does not fit into 24 GB" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("doctor --plan", "expected a training command after --"),
        ("doctor --plan --items 3 -- predict", "expected a training command after --"),
        ("doctor --items 3 -- train", "is what --plan is for"),
        ("doctor --plan -- train", "--items 10000"),
        ("doctor --plan --items 3 --gpus 2 -- train", "--gpu h100"),
        ("doctor --plan --items 0 -- train", "items: expected 1 or more"),
        ("doctor --plan --items 3 -- train --epochs 0", "epochs: expected 1 or more"),
    ],
)
def test_a_mistake_is_a_message_and_status_2(line, message, program, capsys):
    assert program(line) == 2
    assert message in capsys.readouterr().err


def test_a_share_of_the_peak_is_a_share():
    with pytest.raises(ConfigError, match="utilisation"):
        DoctorConfig(utilisation=1.5)
