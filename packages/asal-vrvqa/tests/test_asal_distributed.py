"""Two connected processes: the losses, gradients, memories and measures of one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

from asal_vrvqa.config import Replay, TrainConfig
from asal_vrvqa.data.labels import read_clips
from asal_vrvqa.data.splits import stream_of
from asal_vrvqa.learner import StreamLearner, train, training_loader
from asal_vrvqa.runs import read_run
from shared_core.checkpoints.store import Store
from shared_core.checkpoints.tree import load_tree
from shared_core.config import from_dict, to_dict
from shared_core.errors import UsageError
from shared_core.launch.accelerator import accelerator as connect
from shared_core.reporting.events import read
from shared_core.testing.processes import run_ranks
from shared_core.training import folder as folder_module
from shared_core.training.hands import Hands
from shared_core.training.schedules import Progress

KINDS = {
    "asal": {"strategy": "asal", "batch_size": 4},
    "uneven": {"strategy": "asal", "batch_size": 3, "kl_weight": 0.1},
    "idle": {"strategy": "finetune", "batch_size": 3, "accumulate": 2},
    "joint step": {
        "strategy": "asal",
        "replay": Replay(buffer_size=6, minibatch=3, joint_step=True),
    },
    "er": {"strategy": "er"},
}
SELDOM = {name: {"strategy": name} for name in ("derpp", "agem", "magr")}
"""`idle`: the second process has no clip in the second micro-batch."""

ALONE = "each for itself"
"""Without synchronised statistics and global losses."""


def all_gradients_on_a_rank(orders: list[dict]) -> list[dict]:
    """Of several runs, one after another."""
    return [gradients_on_a_rank(order) for order in orders]


def gradients_on_a_rank(order: dict) -> dict:
    """The loss and the gradients of the first update."""
    config = from_dict(TrainConfig, order)
    AcceleratorState._reset_state()
    accelerator = connect(config)
    learner = StreamLearner(config, stream_of(config, read_clips(config.labels)))
    loader = training_loader(
        learner, rank=accelerator.process_index, world=accelerator.num_processes
    )
    batches = next(iter(loader.epoch(0)))
    learner.prepare(accelerator)
    learner.model.train()
    learner.progress = Progress(epoch=0, batch=0, steps_per_epoch=2, epochs=2)
    hands = Hands(accelerator, clip_norm=None)
    hands.start("here")
    kept = []
    learner.strategy.before_step = lambda: kept.extend(
        p.grad.flatten().tolist() for p in learner.network.parameters()
    )
    outcome = learner.strategy.update(batches, hands)
    return {"loss": float(outcome.loss), "gradients": kept}


def train_on_a_rank(orders: list[dict]) -> None:
    """Make several runs, one after another: starting the processes costs more than all of them."""
    folder_module.run_report = lambda path: None
    for each in orders:
        AcceleratorState._reset_state()
        train(from_dict(TrainConfig, each))


@pytest.fixture(scope="module")
def config(tiny, tmp_path_factory):
    """Settings of one of the runs. The rate is small: Adam makes a whole step of mere rounding."""
    folder = tmp_path_factory.mktemp("distributed")

    def settings(kind, processes, **changes):
        plain = {"epochs": 1, "lr": 3e-7, "run": folder / f"{kind}-{processes}"}
        return tiny(**{**plain, **(KINDS | SELDOM)[kind], **changes})

    return settings


@pytest.fixture(scope="module")
def two(config):
    """All runs in two processes."""
    orders = [to_dict(config(kind, 2)) for kind in KINDS]
    alone = config("asal", 2, sync_batch_norm=False, global_loss=False)
    orders.append(to_dict(replace(alone, run=alone.run.with_name(ALONE))))
    run_ranks(train_on_a_rank, arguments={"orders": orders}, connect=False, timeout=280)


@pytest.fixture(scope="module")
def one(config):
    """All runs in one process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shared_core.training.folder.run_report", lambda folder: None)
        for kind in KINDS:
            train(config(kind, 1))


@pytest.fixture(scope="module")
def gradients(config, tmp_path_factory):
    """By kind: of one process, and of each of two."""
    kinds, folder = ("asal", "uneven", "idle"), tmp_path_factory.mktemp("gradients")
    orders = [
        to_dict(config(kind, 2, run=folder / kind, loss="mix", mse_weight=0.1)) for kind in kinds
    ]
    single = all_gradients_on_a_rank(orders)
    both = run_ranks(
        all_gradients_on_a_rank, arguments={"orders": orders}, connect=False, timeout=200
    )
    return {kind: (single[n], [rank[n] for rank in both]) for n, kind in enumerate(kinds)}


@pytest.mark.parametrize("kind", ["asal", "uneven", "idle"])
def test_acceptance_29_two_processes_make_the_gradients_of_one(gradients, kind):
    single, both = gradients[kind]
    for found in both:
        assert found["loss"] == pytest.approx(single["loss"], abs=1e-5)
        flat, expected = (
            torch.tensor([value for group in f["gradients"] for value in group])
            for f in (found, single)
        )
        difference = (flat - expected).norm() / expected.norm()
        print(f"{kind}: gradients differ by {difference:.1e}")
        assert difference < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_acceptance_done_5_two_processes_go_through_the_stream_as_one(one, two, config, kind):
    assert_same_losses(config, kind)


def assert_same_losses(config, kind):
    for name in ("loss", "replay_loss"):
        alone, together = (
            [e[name] for e in read(config(kind, n).run) if name in e and e["kind"] == "train"]
            for n in (1, 2)
        )
        assert together == pytest.approx(alone, abs=1e-5), name
    first, second = (read_run(config(kind, n).run).judged.predictions for n in (1, 2))
    assert np.allclose(first, second, atol=1e-4)


@pytest.mark.slow
def test_acceptance_done_5_the_other_strategies_go_through_the_stream_as_one(config, no_report):
    orders = [to_dict(config(kind, 2)) for kind in SELDOM]
    run_ranks(train_on_a_rank, arguments={"orders": orders}, connect=False, timeout=280)
    for kind in SELDOM:
        train(config(kind, 1))
        assert_same_losses(config, kind)


@pytest.mark.parametrize("kind", ["asal", "er"])
def test_two_processes_keep_the_memory_of_one(one, two, config, kind):
    found = [
        load_tree(
            Store(config(kind, n).run / "checkpoints").latest().folder / "learner.safetensors"
        )
        for n in (1, 2)
    ]
    first, second = (f["strategy"]["memory"]["rows"] for f in found)
    assert torch.equal(first["frames"], second["frames"])
    assert torch.equal(first["score"], second["score"])


def test_each_process_for_itself_has_other_losses(two, config):
    together = config("asal", 2).run
    first, second = (
        [e["loss"] for e in read(run) if e["kind"] == "train"]
        for run in (together, together.with_name(ALONE))
    )
    assert first != pytest.approx(second, abs=1e-3)


def test_a_stream_wants_whole_weights(config, tmp_path):
    made = config("asal", 1, run=tmp_path / "run")
    learner = StreamLearner(made, stream_of(made, read_clips(made.labels)))
    accelerator = connect(made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StreamLearner, "weights_are_sharded", True)
        with pytest.raises(UsageError, match="whole weights"):
            learner.prepare(accelerator)
