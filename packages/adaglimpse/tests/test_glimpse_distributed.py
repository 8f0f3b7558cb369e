"""Two connected processes: one policy, one pair of critics, and the measures of one process."""

from __future__ import annotations

import pytest
import torch
from accelerate.state import AcceleratorState

from adaglimpse.config import TrainConfig
from adaglimpse.data.layouts import read_images
from adaglimpse.data.training import training_loader
from adaglimpse.learner import learner_of, train
from shared_core.checkpoints.store import Store
from shared_core.checkpoints.tree import load_tree
from shared_core.config import from_dict, to_dict
from shared_core.errors import UsageError
from shared_core.launch.accelerator import accelerator as connect
from shared_core.launch.collectives import all_reduce_sum
from shared_core.reporting.events import read
from shared_core.testing.processes import run_ranks
from shared_core.training import folder as folder_module
from shared_core.training.hands import Hands
from shared_core.training.loop import prepare
from shared_core.training.run import Run
from shared_core.training.schedules import Progress

BOTH, STOPS, ALONE, BACKBONE = "both", "early stop", "pretraining", "backbone"

KINDS = {
    BOTH: {"task": "classification", "backbone_training_type": "constant"},
    STOPS: {"task": "classification", "train_early_stop_threshold": 0.17},
    ALONE: {"task": "reconstruction", "pretraining": True},
    BACKBONE: {"task": "reconstruction", "backbone_training_type": "backbone-only"},
    "segmentation": {
        "task": "segmentation",
        "backbone_training_type": "backbone-only",
        "epochs": 1,
    },
}
"""Of `backbone` every glimpse is random, so that two processes play the games of one."""


def train_on_a_rank(orders: list[dict]) -> None:
    """Make several runs, one after another."""
    folder_module.run_report = lambda path: None
    for each in orders:
        AcceleratorState._reset_state()
        train(from_dict(TrainConfig, each))


def weights_on_a_rank(order: dict) -> dict:
    """How a batch that does not divide is refused; then, after a few updates, how far the weights of the
    processes are apart, and what this one has stored."""
    try:
        train_on_a_rank([{**order, "batch_size": 7}])
        refusal = ""
    except UsageError as error:
        refusal = str(error)
    config = from_dict(TrainConfig, order)
    AcceleratorState._reset_state()
    accelerator = connect(config)
    images = {split: read_images(config, config.task, split) for split in ("train", "val")}
    learner = learner_of(config, images)
    loader = training_loader(
        config, images["train"], rank=accelerator.process_index, world=accelerator.num_processes
    )
    prepare(learner, Run(config, accelerator, program="test"))
    hands = Hands(accelerator, clip_norm=None)
    for step, batches in enumerate(loader.epoch(0)):
        hands.start("here")
        learner.progress = Progress(step=step, epoch=0, batch=step, steps_per_epoch=4, epochs=2)
        torch.manual_seed(100 * step + accelerator.process_index)
        learner.update(batches, hands)
    state = learner.model.state_dict()
    flat = torch.cat([value.double().flatten() for value in state.values()])
    spread = all_reduce_sum((flat - all_reduce_sum(flat) / 2).abs())
    actions = learner.replay.kept["actions"][:4]
    return {
        "spread": float(spread.max()),
        "actions": actions.flatten().tolist(),
        "refusal": refusal,
    }


@pytest.fixture(scope="module")
def config(tiny, tmp_path_factory):
    """Settings of one of the runs. The rate is small: Adam makes a whole step of mere rounding."""
    folder = tmp_path_factory.mktemp("distributed")

    def settings(kind, processes, **changes):
        random = {"init_random_batches": 10_000} if kind in (BACKBONE, "segmentation") else {}
        plain = {"epochs": 2, "backbone_lr": 1e-6, "run": folder / f"{kind}-{processes}"}
        return tiny(**{**plain, **random, **KINDS[kind], **changes})

    return settings


@pytest.fixture(scope="module")
def two(config):
    """All runs in two processes."""
    orders = [to_dict(config(kind, 2)) for kind in KINDS]
    run_ranks(train_on_a_rank, arguments={"orders": orders}, connect=False, timeout=280)


@pytest.fixture(scope="module")
def one(config):
    """Those that must be equal, in one process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shared_core.training.folder.run_report", lambda folder: None)
        for kind in (ALONE, BACKBONE, "segmentation"):
            train(config(kind, 1))


def told(run, kind):
    return [event for event in read(run) if event["kind"] == kind]


@pytest.mark.parametrize("kind", [ALONE, BACKBONE, "segmentation"])
@pytest.mark.usefixtures("one", "two")
def test_acceptance_25_two_processes_learn_and_measure_as_one(config, kind):
    """Losses to 1e-5, and the measures of 10 images over processes with 8 and 2 of them."""
    alone, both = (config(kind, processes).run for processes in (1, 2))
    pairs = list(zip(told(alone, "train"), told(both, "train"), strict=True))
    epochs = config(kind, 1).epochs
    assert len(pairs) == 4 * epochs
    for a, b in pairs:
        assert b["backbone_loss"] == pytest.approx(a["backbone_loss"], rel=1e-5, abs=1e-5)
    judged = list(zip(told(alone, "evaluate"), told(both, "evaluate"), strict=True))
    assert len(judged) == epochs
    for a, b in judged:
        for name, measure in a["measures"].items():
            value = b["measures"][name]["value"]
            assert value == pytest.approx(measure["value"], rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("kind", [BOTH, STOPS])
@pytest.mark.usefixtures("two")
def test_two_processes_with_policies_end_and_keep_a_buffer_each(config, kind):
    """Also where images stop at different glimpses: the processes stay in step."""
    run = config(kind, 2).run
    assert (run / "summary.json").is_file()
    newest = Store(run / "checkpoints").latest().folder
    kept = [load_tree(newest / f"rank-{rank}.safetensors")["replay"] for rank in range(2)]
    assert not torch.equal(kept[0]["kept"]["actions"], kept[1]["kept"]["actions"])


def test_the_processes_have_one_policy_and_one_pair_of_critics(config, tmp_path):
    """Every weight and statistic is equal after updates from games of their own.

    A batch that does not divide among them is refused before (one start of processes for both).
    """
    order = to_dict(config(BOTH, 2, run=tmp_path / "run"))
    found = run_ranks(weights_on_a_rank, arguments={"order": order}, connect=False, timeout=200)
    assert [rank["spread"] for rank in found] == [0.0, 0.0]
    assert found[0]["actions"] != found[1]["actions"]
    assert all("expected a multiple of the 2 processes" in rank["refusal"] for rank in found)
