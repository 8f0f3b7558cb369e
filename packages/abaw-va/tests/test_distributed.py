"""Training in two connected processes: the losses, the measures and the state of one process."""

from __future__ import annotations

import importlib.util
import math
import shutil
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from abaw_va.config import TrainConfig
from abaw_va.data.training import video_sets
from abaw_va.evaluate import measures, moments_table
from abaw_va.inference import FramesInMemory, infer
from abaw_va.learner import train
from abaw_va.model.network import VaModel
from shared_core.checkpoints.store import Store
from shared_core.checkpoints.weights import load_weights
from shared_core.config import from_dict, to_dict
from shared_core.errors import UserError
from shared_core.launch.doctor import COMPILERS
from shared_core.reporting.events import read
from shared_core.testing.processes import run_ranks
from shared_core.training import folder as folder_module
from shared_core.training.hands import Hands

evaluating = import_module("abaw_va.evaluate")

KINDS = ("transformer", "transformer-lstm", "transformer-attention", "fclstm-xl")
FEW_FRAMES = 40
"""The validation videos of 30, 44 and 17 frames then make three blocks of work."""

VARIANTS = {
    "even": {"batch_size": 4},
    "odd": {"batch_size": 7, "accumulate": 2},
}


def train_on_a_rank(orders: list[dict]) -> None:
    """Make several runs, one after another: starting the processes costs more than all of them."""
    folder_module.run_report = lambda path: None
    evaluating.BLOCK_FRAMES = FEW_FRAMES
    for each in orders:
        AcceleratorState._reset_state()  # or a second Accelerator with DeepSpeed is refused
        config = from_dict(TrainConfig, each["config"])
        if each["stop_before"] is None:
            train(config)
        else:
            stopped(config, each["stop_before"])


def stopped(config: TrainConfig, update: int) -> None:
    """A run that ends by an error before an update, on every process alike."""
    start = Hands.start

    def fail(self, where, *rest, **named):
        if where.startswith(f"update {update} "):
            raise UserError("asked for")
        start(self, where, *rest, **named)

    Hands.start = fail
    with pytest.raises(UserError, match="asked for"):
        train(config)
    Hands.start = start


def order(config: TrainConfig, stop_before: int | None = None) -> dict:
    return {"config": to_dict(config), "stop_before": stop_before}


def losses(run: Path) -> list[float]:
    return [event["loss"] for event in read(run) if event["kind"] == "train"]


def last_measures(run: Path) -> dict[str, dict]:
    return [event["measures"] for event in read(run) if event["kind"] == "evaluate"][-1]


@pytest.fixture(scope="module")
def config(tiny, tmp_path_factory):
    """Settings of one of the runs; they are made once."""
    folder = tmp_path_factory.mktemp("distributed")

    def settings(kind, variant, processes, **changes):
        run = folder / f"{kind}-{variant}-{processes}"
        return tiny(kind, run=run, evaluate_every=20, save_every=20, **VARIANTS[variant], **changes)

    return settings


@pytest.fixture(scope="module")
def endless(config):
    """A network whose memory grows for ever, so that the processes' memories differ in length."""

    def named(name):
        settings = config("transformer-attention", "odd", 2)
        model = replace(settings.model, memory_length=-1)
        run = settings.run.with_name(f"endless-{name}")
        return replace(settings, model=model, run=run, save_every=4, max_steps=10)

    return named


@pytest.fixture(scope="module")
def two(config, endless):
    """All runs in two processes."""
    orders = [order(config(kind, variant, 2)) for kind in KINDS for variant in VARIANTS]
    orders.append(order(endless("whole")))
    orders += [order(endless(name), stop_before=7) for name in ("resumed", "handed-over")]
    orders.append(order(replace(endless("resumed"), resume=True)))
    run_ranks(train_on_a_rank, arguments={"orders": orders}, connect=False, timeout=280)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", KINDS)
def test_acceptance_24_two_processes_give_the_losses_of_one(two, config, no_report, kind, variant):
    """Also where a batch does not divide by the processes, nor by the micro-batches."""
    one = config(kind, variant, 1)
    train(one)
    alone, together = losses(one.run), losses(config(kind, variant, 2).run)
    assert len(alone) == 20
    assert len(set(alone)) == 20  # it learns: a frozen model would agree with itself
    print("largest difference", max(abs(a - b) for a, b in zip(alone, together, strict=True)))
    assert together == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_acceptance_24_two_processes_measure_what_one_does(two, config, monkeypatch, kind):
    """The measures of the shared evaluation are those of its weights, bit for bit."""
    monkeypatch.setattr(evaluating, "BLOCK_FRAMES", FEW_FRAMES)
    settings = config(kind, "odd", 2)
    _, val = video_sets(settings)
    model = VaModel(settings.for_model(val.width))
    model.load_state_dict(
        load_weights(Store(settings.run / "checkpoints").latest().folder / "model.safetensors")
    )
    table = moments_table(model.eval(), val, settings.smoothing)
    found = measures(table, settings.target_names, seed=settings.seed)
    assert last_measures(settings.run) == {name: m.to_json() for name, m in found.items()}


def test_memories_of_unequal_length_resume_in_two_processes(two, endless):
    whole, resumed = losses(endless("whole").run), losses(endless("resumed").run)
    assert len(whole) == 10
    assert resumed == whole


def test_a_run_of_two_processes_continues_in_one(two, endless, no_report):
    """The global batches are the same with any number of processes, and so are the losses."""
    continued = replace(endless("handed-over"), resume=True)
    assert len(losses(continued.run)) == 6
    train(continued)
    assert losses(continued.run) == pytest.approx(losses(endless("whole").run), abs=1e-5)


@pytest.mark.slow
@pytest.mark.deepspeed
@pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="the extra deepspeed is missing"
)
@pytest.mark.parametrize("preset", ["zero2", "zero3"])
def test_acceptance_done_6_deepspeed_trains_and_saves_a_whole_model(
    tiny, tmp_path, no_report, preset
):
    if not any(shutil.which(name) for name in COMPILERS):
        pytest.skip("DeepSpeed needs a C++ compiler")
    plain = {kind: tiny(kind, run=tmp_path / kind, evaluate_every=5) for kind in KINDS}
    sharded = {
        kind: replace(settings, run=tmp_path / f"{kind}-sharded", launch=preset, processes=2)
        for kind, settings in plain.items()
    }
    run_ranks(
        train_on_a_rank,
        arguments={"orders": [order(settings) for settings in sharded.values()]},
        connect=False,
        preset=preset,
        timeout=280,
    )
    for kind in KINDS:
        train(plain[kind])
        assert losses(sharded[kind].run) == pytest.approx(losses(plain[kind].run), abs=1e-4)
        model = VaModel.from_pretrained(sharded[kind].run / "model").eval()
        video = torch.randn(37, model.config.input_width).numpy()
        ((_, prediction),) = infer(model, FramesInMemory({"clip": video}))
        assert prediction.shape == (37, 2)
        assert math.isfinite(prediction.sum())
