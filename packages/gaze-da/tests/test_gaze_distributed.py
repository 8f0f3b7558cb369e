"""Training in two connected processes: the losses, the statistics and the measures of one process."""

from __future__ import annotations

import importlib.util
import math
import shutil
from dataclasses import replace

import pytest
import torch
from accelerate.state import AcceleratorState

from gaze_da.config import TrainConfig
from gaze_da.data.splits import split_validation
from gaze_da.data.training import opened, people_of
from gaze_da.evaluate import Network, measures_of, score_tables
from gaze_da.learner import train
from gaze_da.model.network import GazeModel
from gaze_da.model.views import Views
from shared_core.checkpoints.store import Store
from shared_core.checkpoints.weights import load_weights
from shared_core.config import from_dict, to_dict
from shared_core.launch.doctor import COMPILERS
from shared_core.reporting.events import read
from shared_core.testing.processes import run_ranks
from shared_core.training import folder as folder_module

KINDS = {
    "plain": {"batch_size": 4},
    "uneven": {"batch_size": 7, "accumulate": 2},
    "idle": {"batch_size": 3, "accumulate": 2, "lr": 1e-7},
    "adapted": {"batch_size": 5, "head_da": True, "rgb_depth_da": True},
}
"""`idle`: the second process has no row in the second micro-batch.

Statistics of the single row of the first process are of few cells, and the losses the more sensitive:
pictures are larger there, and the rate is smaller.
"""

ALONE = "each for itself"
"""Without synchronised batch statistics: other losses."""

STEPS = 5


def train_on_a_rank(orders: list[dict]) -> None:
    """Make several runs, one after another: starting the processes costs more than all of them."""
    folder_module.run_report = lambda path: None
    for each in orders:
        AcceleratorState._reset_state()  # or a second Accelerator with DeepSpeed is refused
        train(from_dict(TrainConfig, each))


def losses(run, name="loss"):
    return [event[name] for event in read(run) if event["kind"] == "train"]


@pytest.fixture(scope="module")
def config(tiny, goo_root, tmp_path_factory):
    """Settings of one of the runs; they are made once.

    The rate is small, for Adam makes a whole step of a gradient that is nothing but rounding.
    """
    folder = tmp_path_factory.mktemp("distributed")

    def settings(kind, processes, **changes):
        target = {"target_dataset": "goo", "target_dataset_dir": goo_root}
        plain = {"epochs": 100, "max_steps": STEPS, "evaluate_every": STEPS, "save_every": STEPS}
        plain["lr"] = 3e-7
        adapts = target if kind == "adapted" else {}
        run = folder / f"{kind}-{processes}"
        made = tiny(run=run, **{**plain, **KINDS[kind], **adapts, **changes})
        if kind != "idle":
            return made
        return replace(made, network=replace(made.network, input_size=128, output_size=40))

    return settings


@pytest.fixture(scope="module")
def two(config):
    """All runs in two processes."""
    orders = [to_dict(config(kind, 2)) for kind in KINDS]
    for_itself = config("plain", 2, sync_batch_norm=False)
    orders.append(to_dict(replace(for_itself, run=for_itself.run.with_name(ALONE))))
    run_ranks(train_on_a_rank, arguments={"orders": orders}, connect=False, timeout=280)


@pytest.mark.parametrize("kind", KINDS)
def test_acceptance_done_5_two_processes_give_the_losses_of_one(two, config, no_report, kind):
    """With batch statistics of all rows, also where a batch does not divide."""
    one = config(kind, 1)
    train(one)
    alone, together = losses(one.run), losses(config(kind, 2).run)
    assert len(alone) == STEPS
    assert len(set(alone)) == STEPS
    print("largest difference", max(abs(a - b) for a, b in zip(alone, together, strict=True)))
    assert together == pytest.approx(alone, abs=1e-5)
    # Adam does not see a factor on the gradient. The first is of the same weights to the bit; a ReLU
    # at its kink may still fall to either side.
    alone, together = (losses(config(kind, n).run, "gradient_norm")[0] for n in (1, 2))
    assert together == pytest.approx(alone, rel=1e-2)


def test_batch_statistics_of_each_process_alone_give_other_losses(two, config):
    together = config("plain", 2).run
    assert losses(together.with_name(ALONE)) != pytest.approx(losses(together), abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_measure_what_one_does(two, config, kind):
    """The measures of the shared evaluation are those of its weights, bit for bit."""
    settings = config(kind, 2)
    people = people_of(settings, "source", "train").samples
    _, val = split_validation(people, settings.val_fraction, settings.seed)
    model = GazeModel(settings.for_model())
    saved = Store(settings.run / "checkpoints").latest().folder
    model.load_state_dict(load_weights(saved / "model.safetensors"))
    dataset = opened(settings, val)
    table = score_tables(
        Network(model.eval()), dataset, ("gazefollow",), batch_size=settings.batch_size
    )["gazefollow"]
    found = measures_of(table, "gazefollow", val, settings.seed)
    last = [event["measures"] for event in read(settings.run) if event["kind"] == "evaluate"][-1]
    assert last == {name: measure.to_json() for name, measure in found.items()}


@pytest.mark.slow
@pytest.mark.deepspeed
@pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="the extra deepspeed is missing"
)
@pytest.mark.parametrize("preset", ["zero2", "zero3"])
def test_deepspeed_trains_and_saves_a_whole_model(config, tmp_path, no_report, preset):
    if not any(shutil.which(name) for name in COMPILERS):
        pytest.skip("DeepSpeed needs a C++ compiler")
    plain = config("adapted", 1, max_steps=4, evaluate_every=4, save_every=4)
    plain = replace(plain, run=tmp_path / "plain")
    sharded = replace(plain, run=tmp_path / "sharded", launch=preset, processes=2)
    run_ranks(
        train_on_a_rank,
        arguments={"orders": [to_dict(sharded)]},
        connect=False,
        preset=preset,
        timeout=280,
    )
    train(plain)
    assert losses(sharded.run) == pytest.approx(losses(plain.run), rel=1e-2)
    model = GazeModel.from_pretrained(sharded.run / "model").eval()
    size = model.config.network.input_size
    picture, mask = torch.rand(1, 3, size, size), torch.ones(1, 1, size, size)
    output = model(Views(picture, picture, mask, picture))
    assert math.isfinite(output.heatmaps.sum().item())
