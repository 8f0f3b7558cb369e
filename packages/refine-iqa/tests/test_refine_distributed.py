"""Two connected processes learn, reward and judge as one; DeepSpeed's trains, resumes and exports.

A random policy writes no valid answer, so what it "writes" is given here: by the row and by the place among
all completions of the update, whichever process has it.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from refine_iqa.config import TrainConfig
from refine_iqa.learner import train
from refine_iqa.model.loading import load_model
from shared_core.checkpoints.store import Store
from shared_core.config import from_dict, to_dict
from shared_core.errors import NonFiniteError
from shared_core.reporting.events import read
from shared_core.testing.processes import run_ranks
from shared_core.training import folder as folder_module

ALIGNED, ACROSS, ONE_SIDED = "aligned", "across", "one-sided"

KINDS = {
    ALIGNED: {"batch_size": 2},
    # Of three groups of four, dealt to two processes as six completions each, the second is on both.
    ACROSS: {"batch_size": 3, "accumulate": 2, "strategy": "refine"},
    ONE_SIDED: {"batch_size": 2, "strategy": "refine"},
}
NOT_FINITE, INTERRUPTED = "not-finite", "interrupted"
GROUP = 4


def mos_of(row: int) -> float:
    """As the table of the fixture `pictures` has it."""
    return 5.0 - row / 2


def written(kind: str, row: int, place: int) -> str:
    """What is written at a place of an update's completions, about a row."""
    right = f"<think>so</think><answer>Score: {mos_of(row):.2f}</answer>"
    wrong = f"<think>{'well ' * (1 + (row + place) % 3)}</think><answer>Score: 9.30</answer>"
    if kind == ONE_SIDED:  # successes on the second of two processes alone
        return right if place in (5, 6) else wrong
    return (right, wrong, "nothing", wrong, right)[(3 * row + place) % 5]


class Watched:
    """Forces what policies write, and keeps what their trainers make of it.

    Attributes:
        scored: (rows, rewards of all processes, advantages of this one) of every update.
        asked: completions on this process that the probability difference was measured for.
    """

    def __init__(self, patch: pytest.MonkeyPatch, kind: str) -> None:
        from refine_iqa.grpo.trainer import QualityTrainer

        self.scored: list[tuple[list[int], list[list[float]], list[float]]] = []
        self.asked = 0
        score = QualityTrainer._generate_and_score_completions
        measure = QualityTrainer.probabilities

        def write(trainer, prompt_ids, *_args, **_kwargs):
            tokenizer = trainer.processing_class.tokenizer
            first = trainer.accelerator.process_index * len(prompt_ids)
            texts = (written(kind, row, first + i) for i, row in enumerate(trainer._rows))
            return [[*tokenizer.encode(text), tokenizer.eos_token_id] for text in texts], None

        def scored(trainer, inputs):
            output = score(trainer, inputs)
            rows = [example["row"] for example in inputs]
            rewards = trainer._rewards.tolist()
            self.scored.append((rows, rewards, output["advantages"].tolist()))
            return output

        def measured(trainer, openings, *asked):
            self.asked += len(openings)
            return measure(trainer, openings, *asked)

        patch.setattr(QualityTrainer, "_generate_single_turn", write)
        patch.setattr(QualityTrainer, "_generate_and_score_completions", scored)
        patch.setattr(QualityTrainer, "probabilities", measured)


def run_of(kind: str, order: dict) -> dict:
    """Make a run on this process, and tell what was seen here."""
    AcceleratorState._reset_state()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder_module, "run_report", lambda folder: None)
        watched = Watched(patch, kind)
        summary = train(from_dict(TrainConfig, order))
    return {"scored": watched.scored, "asked": watched.asked, "score": summary.score}


def not_finite(order: dict, rank: int) -> str:
    """How a run ends whose loss is not a number on one process, in its second update."""
    from refine_iqa.grpo.trainer import GRPOTrainer

    loss = GRPOTrainer._compute_loss

    def spoilt(trainer, model, inputs):
        found = loss(trainer, model, inputs)
        here = trainer.accelerator.process_index == rank and trainer.state.global_step == 1
        return found * float("nan") if here else found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GRPOTrainer, "_compute_loss", spoilt)
        try:
            run_of(ALIGNED, order)
        except NonFiniteError as error:
            return str(error)
    return "no error"


def interrupted(order: dict, kind: str, micro_batch: int) -> None:
    """A run that fails before a micro-batch on all processes, and is then continued."""
    from refine_iqa.grpo.trainer import QualityTrainer

    step, made = QualityTrainer.training_step, itertools.count(1)

    def fails(trainer, *given):
        if next(made) == micro_batch:
            raise OSError("the power is gone")
        return step(trainer, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QualityTrainer, "training_step", fails)
        with pytest.raises(OSError, match="the power is gone"):
            run_of(kind, order)
    run_of(kind, {**order, "resume": True})


def all_on_a_rank(orders: dict[str, dict]) -> dict:
    """Every check on two processes, in one start of them."""
    seen = {kind: run_of(kind, orders[kind]) for kind in KINDS}
    seen[NOT_FINITE] = not_finite(orders[NOT_FINITE], rank=1)
    interrupted(orders[INTERRUPTED], ACROSS, micro_batch=5)  # the first of the third update
    return seen


def sharded_on_a_rank(whole: dict, broken: dict) -> int:
    """A sharded run, and the same one interrupted and continued; what was asked of the policy here."""
    seen = run_of(ACROSS, whole)
    interrupted(broken, ACROSS, micro_batch=3)
    return int(seen["asked"])


@pytest.fixture(scope="module")
def order(tiny_folders, pictures, tmp_path_factory):
    """Makes the settings of a run, as a tree."""
    folder = tmp_path_factory.mktemp("distributed")
    for name, text in (("think", "{question} Think."), ("plain", "{question} Score.")):
        (folder / name).write_text(text)
    judged = json.loads((pictures / "train.json").read_text())[:5]
    for row in judged:
        row["image"] = str(pictures / row["image"])
    (folder / "judged.json").write_text(json.dumps(judged))

    def make(name, kind, **changes):
        return to_dict(
            TrainConfig(
                **{
                    "model": str(tiny_folders["qwen2_5_vl"]),
                    "data": (pictures / "train.json",),
                    "run": folder / name,
                    "num_generations": GROUP,
                    "max_completion_length": 48,
                    "max_pixels": 6272,
                    "max_steps": 2,
                    "lr": 1e-3,
                    "think_template": folder / "think",
                    "no_think_template": folder / "plain",
                    "trackers": (),
                    "threads": 1,
                    **KINDS[kind],
                    **changes,
                }
            )
        )

    judging = {"eval_data": folder / "judged.json", "evaluate_every": 2, "eval_batch_size": 2}

    def orders(processes):
        on = {"launch": "cpu-2"} if processes == 2 else {}
        made = {
            kind: make(f"{kind}-{processes}", kind, **on, **(judging if kind == ACROSS else {}))
            for kind in KINDS
        }
        made[NOT_FINITE] = make(f"{NOT_FINITE}-{processes}", ALIGNED, save_every=2, **on)
        made[INTERRUPTED] = make(
            f"{INTERRUPTED}-{processes}", ACROSS, save_every=1, max_steps=3, epochs=9, **on
        )
        return made

    return {"one": orders(1), "two": orders(2), "make": make}


@pytest.fixture(scope="module")
def one(order):
    """What a process alone sees."""
    return {kind: run_of(kind, order["one"][kind]) for kind in KINDS}


@pytest.fixture(scope="module")
def two(order):
    """What each of two connected processes sees."""
    return run_ranks(
        all_on_a_rank,
        arguments={"orders": order["two"]},
        connect=False,
        preset="cpu-2",
        timeout=280,
    )


def weights_of(order):
    return load_file(Path(order["run"]) / "model" / "model.safetensors")


def told(order, kind):
    return [event for event in read(Path(order["run"])) if event["kind"] == kind]


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_have_the_rewards_and_advantages_of_one(one, two, kind):
    """Each has its part of the completions, one after the other, and knows all rewards."""
    assert len(one[kind]["scored"]) == 2
    for update, (rows, rewards, advantages) in enumerate(one[kind]["scored"]):
        parts = [rank[kind]["scored"][update] for rank in two]
        assert [row for part in parts for row in part[0]] == rows
        for part in parts:
            assert torch.tensor(part[1]) == pytest.approx(torch.tensor(rewards), abs=1e-6)
        found = [value for part in parts for value in part[2]]
        assert found == pytest.approx(advantages, abs=2e-4)
        assert any(advantages)


def test_a_group_may_lie_on_both_processes(two):
    rows = [rank[ACROSS]["scored"][0][0] for rank in two]
    assert [len(part) for part in rows] == [6, 6]
    assert set(rows[0]) & set(rows[1])


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_learn_what_one_learns(order, one, two, kind):
    """Weights to 1e-4, where the two updates have moved them by more than ten times that."""
    del one, two
    alone, both = (weights_of(order[count][kind]) for count in ("one", "two"))
    begun = load_model(order["one"][kind]["model"]).model.state_dict()
    ended = load_model(order["one"][kind]["run"]).model.state_dict()
    moved = max(float((ended[name] - begun[name]).abs().max()) for name in begun)
    assert moved > 1e-3
    for name, weight in alone.items():
        torch.testing.assert_close(both[name], weight, rtol=0, atol=1e-4, msg=name)
    for a, b in zip(*(told(order[count][kind], "train") for count in ("one", "two")), strict=True):
        for name in ("loss", "reward", "grad_norm", "completions/mean_length"):
            assert b[name] == pytest.approx(a[name], rel=1e-3, abs=1e-5), name


def test_the_probability_difference_is_measured_where_the_successes_are(one, two):
    """The other process goes on without a forward pass of its own."""
    assert [rank[ONE_SIDED]["asked"] for rank in two] == [0, one[ONE_SIDED]["asked"]]
    assert one[ONE_SIDED]["asked"] > 0


def test_two_processes_judge_an_odd_number_of_rows_as_one(order, one, two):
    alone, both = (told(order[count][ACROSS], "evaluate") for count in ("one", "two"))
    assert len(alone) == len(both) == 1
    for a, b in zip(alone, both, strict=True):
        assert a["measures"].keys() == b["measures"].keys()
        for name, measure in a["measures"].items():
            assert b["measures"][name]["value"] == pytest.approx(measure["value"], abs=1e-4), name
    assert [rank[ACROSS]["score"] for rank in two] == [pytest.approx(one[ACROSS]["score"])] * 2


def test_a_loss_that_is_not_finite_on_one_process_stops_both(order, two):
    messages = [rank[NOT_FINITE] for rank in two]
    assert messages[0] == messages[1]
    assert "update 2 " in messages[0]
    assert "loss nan on rows" in messages[0]
    assert Store(Path(order["two"][NOT_FINITE]["run"]) / "checkpoints").latest() is None


@pytest.mark.usefixtures("two")
def test_two_processes_continue_where_they_were_interrupted(order, tmp_path):
    whole = {**order["one"][INTERRUPTED], "run": str(tmp_path / "whole")}
    run_of(ACROSS, whole)
    broken = order["two"][INTERRUPTED]
    assert [event["step"] for event in told(broken, "train")] == [1, 2, 3]
    assert any("continued after update 2" in event["text"] for event in told(broken, "note"))
    found = weights_of(broken)
    for name, weight in weights_of(whole).items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=2e-4, msg=name)


@pytest.mark.slow
@pytest.mark.deepspeed
@pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="the extra deepspeed is missing"
)
@pytest.mark.parametrize("launch", ["zero2", "zero3"])
def test_deepspeed_trains_as_one_process_resumes_and_exports(order, tmp_path, launch):
    """Whatever the processes ask of the policy for the probability difference."""
    changes = {"batch_size": 3, "accumulate": 1, "save_every": 1, "max_steps": 3, "epochs": 9}
    plain = order["make"](launch, ACROSS, **changes, run=tmp_path / "plain")
    run_of(ACROSS, plain)
    on = {"launch": launch, "processes": 2}
    whole = {**plain, **on, "run": str(tmp_path / "whole")}
    broken = {**whole, "run": str(tmp_path / "broken")}
    asked = run_ranks(
        sharded_on_a_rank,
        arguments={"whole": whole, "broken": broken},
        connect=False,
        preset=launch,
        timeout=280,
    )
    assert min(asked) > 0
    expected = load_model(plain["run"]).model.state_dict()
    for run in (whole, broken):
        assert [event["step"] for event in told(run, "train")] == [1, 2, 3]
        model, processor = load_model(run["run"])
        assert processor.tokenizer.padding_side == "left"
        for name, weight in model.state_dict().items():
            torch.testing.assert_close(weight, expected[name], rtol=0, atol=2e-4, msg=name)
        kept = sorted(path.name for path in (Path(run["run"]) / "model").iterdir())
        assert not any("optim" in name or "rng" in name or "zero" in name for name in kept)
