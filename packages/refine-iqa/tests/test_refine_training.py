"""Runs on trl's loop, with tiny models of both families. All tests that need trl are in this file.

A random policy writes no valid answer, so what it "writes" is given here, in turn.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from refine_iqa.config import Lora, TrainConfig, Vllm
from refine_iqa.learner import train, training_rows, updates_per_epoch, validation_rows
from refine_iqa.model.loading import load_model
from shared_core.checkpoints.manifest import MANIFEST, read_manifest, seal
from shared_core.checkpoints.store import Store
from shared_core.data.quarantine import Quarantine
from shared_core.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    NonFiniteError,
    RunFolderError,
    UserError,
)
from shared_core.reporting.events import read
from shared_core.testing.kills import updates
from shared_core.testing.tiny_run import trace

FAMILIES = {"qwen2_5_vl": 57, "qwen3_vl": 64}
TIMED = ("trainer_state.json", "manifest.json")


def answer(score: str) -> str:
    return f"<think>so</think><answer>Score: {score}</answer>"


@pytest.fixture(scope="module")
def trl():
    """The rooms that need trl, imported once."""
    from refine_iqa.grpo import build, difference, trainer

    return {"build": build, "difference": difference, "trainer": trainer}


@pytest.fixture
def writes(trl, monkeypatch):
    """Let every policy write the given texts in turn, or drawn as it draws, instead of sampling."""

    def install(*texts, drawn=False):
        turn = itertools.cycle(texts)
        if drawn:
            turn = iter(lambda: texts[int(torch.randint(len(texts), ()))], None)

        def forced(self, prompt_ids, *_args, **_kwargs):
            tokenizer = self.processing_class.tokenizer
            end = [tokenizer.eos_token_id]
            return [tokenizer.encode(next(turn)) + end for _ in prompt_ids], None

        monkeypatch.setattr(trl["trainer"].QualityTrainer, "_generate_single_turn", forced)

    return install


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    """Drawing a report takes longer than a tiny run."""
    monkeypatch.setattr("shared_core.training.folder.run_report", lambda folder: None)


@pytest.fixture
def settings(tiny_folders, pictures, tmp_path):
    """Makes the settings of a short run."""
    for name, text in (("think", "{question} Think."), ("plain", "{question} Score.")):
        (tmp_path / name).write_text(text)

    def make(family="qwen2_5_vl", **changes):
        return TrainConfig(
            **{
                "model": str(tiny_folders[family]),
                "data": (pictures / "train.json",),
                "run": tmp_path / "run",
                "batch_size": 2,
                "num_generations": 4,
                "max_completion_length": 48,
                "max_pixels": 6272,
                "max_steps": 1,
                "lr": 1e-3,
                "think_template": tmp_path / "think",
                "no_think_template": tmp_path / "plain",
                "trackers": (),
                "threads": 1,
                **changes,
            }
        )

    return make


def events(run, kind):
    return [event for event in read(run) if event["kind"] == kind]


@pytest.fixture
def built(settings, trl, monkeypatch):
    """Runs a configuration and hands out the trainer that it made."""
    made = []
    build = trl["build"].build_trainer

    def keep(*args, **options):
        made.append(build(*args, **options))
        return made[-1]

    monkeypatch.setattr(trl["build"], "build_trainer", keep)

    def run(config):
        train(config)
        return made[-1]

    return run


MIXED = (answer("5.00"), answer("1.00"), "nothing", answer("3.00"))


@pytest.mark.parametrize("strategy", ["grpo", "refine"])
@pytest.mark.parametrize("family", FAMILIES)
def test_acceptance_14_one_update_changes_every_tensor(
    settings, writes, tiny_folders, family, strategy
):
    writes(*MIXED)
    config = settings(family, strategy=strategy)
    train(config)
    before = load_model(tiny_folders[family]).model.state_dict()
    after = load_model(config.run).model.state_dict()
    assert len(before) == FAMILIES[family]
    unchanged = [name for name in before if torch.equal(before[name], after[name])]
    assert unchanged == []
    logged = events(config.run, "train")[0]
    assert {"kl", "reward", "rewards/format/mean", "rewards/answer/mean"} <= logged.keys()
    assert logged["rewards/format/mean"] == 0.75
    parts = {"generate", "reward", "log_probability", "update"}
    assert {f"seconds/{part}" for part in parts} <= logged.keys()
    assert logged["completions/max_length"] == len(answer("5.00")) + 1


@pytest.mark.parametrize("family", FAMILIES)
def test_acceptance_15_rows_of_one_to_four_pictures_train_in_micro_batches(
    settings, writes, built, pictures, tmp_path, family
):
    rows = [
        {
            "image": [str(pictures / f"{number}.png") for number in range(count)],
            "question": "How good?",
            "solution": 3.0,
        }
        for count in (1, 2, 3, 4)
    ]
    table = tmp_path / "mixed.json"
    table.write_text(json.dumps(rows))
    writes(*MIXED)
    config = settings(family, data=(table,), accumulate=2, max_steps=2, epochs=1)
    trainer = built(config)
    assert updates(config.run) == [1, 2]
    # The processor was saved as one that pads on the right, as all are.
    assert trainer.processing_class.tokenizer.padding_side == "left"


def test_a_video_row_is_timed_frames_beside_image_rows(settings, writes, tmp_path, pictures):
    from shared_core.testing.media import write_media

    draws = np.random.default_rng(0)
    frames = [draws.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(8)]
    write_media(tmp_path / "clip.mp4", frames, rate=4)
    rows = [
        {"image": str(pictures / "0.png"), "question": "How good?", "solution": 4.0},
        {"video": str(tmp_path / "clip.mp4"), "question": "How good?", "solution": 2.0},
    ]
    table = tmp_path / "mixed.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    writes(*MIXED)
    config = settings(data=(table,))
    train(config)
    assert updates(config.run) == [1]


def test_acceptance_16_every_row_of_an_epoch_is_used_when_completions_are_used_twice(
    settings, writes, trl, monkeypatch
):
    used = []
    score = trl["trainer"].QualityTrainer._generate_and_score_completions

    def noted(self, inputs):
        used.append(sorted({example["row"] for example in inputs}))
        return score(self, inputs)

    monkeypatch.setattr(trl["trainer"].QualityTrainer, "_generate_and_score_completions", noted)
    writes(*MIXED)
    config = settings(num_iterations=2, epochs=1, max_steps=None, save_every=None)
    train(config)
    assert sorted(row for rows in used for row in rows) == list(range(8))
    assert len(used) == 4
    assert updates(config.run) == list(range(1, 9))


@pytest.mark.parametrize("changes", [{}, {"num_iterations": 2, "accumulate": 2}], ids=["1", "2"])
def test_acceptance_17_an_interrupted_run_continues_to_the_same_bits(
    settings, writes, trl, monkeypatch, tmp_path, changes
):
    """Drawn completions, weights, optimiser, and the rows of the next batches."""
    writes(*MIXED, drawn=True)
    whole = settings(run=tmp_path / "whole", max_steps=8, epochs=9, save_every=2, **changes)
    train(whole)
    broken = replace(whole, run=tmp_path / "broken", resume=True)
    step, made = trl["trainer"].QualityTrainer.training_step, 0

    def interrupted(self, *args):
        nonlocal made
        made += 1
        if made == 5 * whole.accumulate:
            raise OSError("the power is gone")
        return step(self, *args)

    monkeypatch.setattr(trl["trainer"].QualityTrainer, "training_step", interrupted)
    with pytest.raises(OSError, match="the power is gone"):
        train(broken)
    monkeypatch.setattr(trl["trainer"].QualityTrainer, "training_step", step)
    assert Store(broken.run / "checkpoints").latest().step == 4
    train(broken)
    ours, theirs = (trace(config.run, timed_files=TIMED) for config in (broken, whole))
    assert ours == theirs
    assert len({event["loss"] for event in ours["events"]}) > 3


def test_a_finished_run_is_not_trained_again_and_another_one_is_refused(settings, writes):
    writes(*MIXED)
    config = settings()
    first = train(config)
    assert train(replace(config, resume=True)) == first
    with pytest.raises(RunFolderError, match="--resume"):
        train(config)


@pytest.fixture
def differences(trl, monkeypatch):
    """Counts the prompts of the probability difference, and fixes the probabilities it finds."""
    asked = []

    def install(thinking, plain):
        def fixed(self, openings, tokens, places):
            asked.append(len(openings))
            value = thinking if len(asked) % 2 else plain
            return torch.full((len(openings),), value)

        monkeypatch.setattr(trl["trainer"].QualityTrainer, "probabilities", fixed)
        return asked

    return install


def test_acceptance_10_only_full_successes_are_asked_about(settings, writes, differences):
    asked = differences(thinking=0.6, plain=0.2)
    writes("nothing", answer("9.00"))
    config = settings(strategy="refine")
    train(config)
    assert asked == []
    assert events(config.run, "train")[0]["rewards/probability_difference/mean"] == 0


@pytest.mark.parametrize(("thinking", "plain", "reward"), [(0.6, 0.2, 0.4), (0.2, 0.6, 0.0)])
def test_acceptance_10_the_difference_is_the_reward_of_a_success(
    settings, writes, differences, pictures, tmp_path, thinking, plain, reward
):
    asked = differences(thinking, plain)
    rows = [{"image": str(pictures / "0.png"), "question": "?", "solution": 3.0}] * 2
    table = tmp_path / "alike.json"
    table.write_text(json.dumps(rows))
    writes(answer("3.00"), "nothing")
    config = settings(strategy="refine", data=(table,))
    train(config)
    assert asked == [4, 2]  # four successes; without thinking, once for each of the two rows
    mean = events(config.run, "train")[0]["rewards/probability_difference/mean"]
    assert mean == pytest.approx(reward / 2)


def test_acceptance_12_no_gradient_flows_through_the_difference(
    settings, writes, trl, monkeypatch, tmp_path
):
    """A run that measures its probabilities ends with the weights of one that is told them."""
    writes(answer("5.00"), answer("4.80"), "nothing", answer("1.00"))
    told = []
    measure = trl["trainer"].QualityTrainer.probabilities

    def measured(self, openings, tokens, places):
        found = measure(self, openings, tokens, places)
        assert not found.requires_grad
        told.append(found)
        return found

    first = settings(strategy="refine", run=tmp_path / "measured")
    monkeypatch.setattr(trl["trainer"].QualityTrainer, "probabilities", measured)
    train(first)
    assert told
    writes(answer("5.00"), answer("4.80"), "nothing", answer("1.00"))
    constants = iter(told)
    monkeypatch.setattr(trl["trainer"].QualityTrainer, "probabilities", lambda *_: next(constants))
    second = replace(first, run=tmp_path / "told")
    train(second)
    ours, theirs = (load_file(c.run / "model" / "model.safetensors") for c in (first, second))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("family", FAMILIES)
def test_probabilities_are_those_of_a_plain_forward_pass(
    settings, writes, built, trl, pictures, family
):
    """Each row alone, unpadded, all logits: the softmax at the place before the digit."""
    writes(*MIXED)
    trainer = built(settings(family, strategy="refine"))
    tokenizer = trainer.processing_class.tokenizer
    opening = trl["difference"].Opening
    prompts = []
    for number, text in ((0, "How?"), (3, "How good is it really?")):
        with Image.open(pictures / f"{number}.png") as image:
            side = 28 if family == "qwen2_5_vl" else 32
            shown = image.convert("RGB").resize((3 * side, 2 * side))
            content = [{"type": "image", "image": shown}]
        content.append({"type": "text", "text": text})
        prompts.append([{"role": "user", "content": content}])
    written = [tokenizer.encode("<think>a</think>Score: "), tokenizer.encode("Score: ")]
    asked = [tokenizer.encode("4.40"), tokenizer.encode("1.07")]
    openings = [opening(prompt, before) for prompt, before in zip(prompts, written, strict=True)]
    for places in ((2,), (0, 2, 3)):
        found = trainer.probabilities(openings, torch.tensor(asked), places)
        for row, prompt in enumerate(prompts):
            inputs = trainer.processing_class.apply_chat_template(
                [prompt],
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                add_generation_prompt=True,
            )
            extra = torch.tensor([written[row] + asked[row]])
            start = inputs["input_ids"].shape[1] + len(written[row])
            inputs["input_ids"] = torch.cat([inputs["input_ids"], extra], 1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
            types = inputs["mm_token_type_ids"]
            inputs["mm_token_type_ids"] = torch.cat([types, torch.zeros_like(extra)], 1)
            with torch.no_grad():
                likely = trainer.model(**inputs).logits[0].double().softmax(-1)
            expected = np.prod([float(likely[start + p - 1, asked[row][p]]) for p in places])
            assert float(found[row]) == pytest.approx(expected, rel=1e-4)


def test_the_score_is_cut_off_at_its_token(settings, writes, built):
    writes(*MIXED)
    trainer = built(settings(strategy="refine"))
    reward = trainer.reward_funcs[-1]
    tokenizer = trainer.processing_class.tokenizer
    text = "<think>é 3.00</think><answer>Score: 4.40</answer> and 7 more"
    cut = reward._before_score(text, tokenizer.encode(text))
    assert tokenizer.decode(cut) == "<think>é 3.00</think><answer>Score: "
    assert reward._before_score("no score", tokenizer.encode("no score")) is None


def test_a_row_that_cannot_be_read_teaches_nothing(settings, writes, pictures, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    rows = [{"image": str(tmp_path / "broken.png"), "question": "?", "solution": 3.0}] * 2
    good = [{"image": str(pictures / "1.png"), "question": "?", "solution": 3.0}] * 18
    table = tmp_path / "table.json"
    table.write_text(json.dumps(rows + good))
    writes(*MIXED)
    config = settings(data=(table,), batch_size=20)
    with pytest.raises(DataError, match=r"broken\.png"):
        train(config)
    left_out = replace(config, run=tmp_path / "left-out", on_bad_row="quarantine")
    train(left_out)
    listed = json.loads((left_out.run / "quarantine.json").read_text())
    assert [row["path"] for row in listed] == [str(tmp_path / "broken.png")]
    # Of 18 readable groups alone: as if the others were not there.
    assert events(left_out.run, "train")[0]["rewards/format/mean"] == pytest.approx(0.75)


def test_a_loss_that_is_not_finite_stops_before_the_weights_move(
    settings, writes, trl, monkeypatch
):
    writes(*MIXED)
    monkeypatch.setattr(
        trl["trainer"].GRPOTrainer,
        "_compute_loss",
        lambda self, model, inputs: model.lm_head.weight.sum() * np.nan,
    )
    with pytest.raises(NonFiniteError, match=r"update 1 .*loss nan on rows \[\d, \d\]"):
        train(settings())


def test_a_policy_that_is_not_finite_cannot_draw_and_says_so(settings, monkeypatch):
    from refine_iqa.grpo.trainer import QualityTrainer

    usual = QualityTrainer._generate_single_turn

    def spoilt(self, *given, **named):
        torch.nn.init.constant_(self.model.lm_head.weight, torch.nan)
        return usual(self, *given, **named)

    monkeypatch.setattr(QualityTrainer, "_generate_single_turn", spoilt)
    with pytest.raises(NonFiniteError, match=r"update 1 .*probability of a token nan on rows \[\d"):
        train(settings())


def test_a_run_that_was_over_exports_no_file_that_holds_no_weights(settings, writes):
    writes(*MIXED)
    config = settings()
    train(config)
    for checkpoint in (config.run / "checkpoints").glob("step-*"):
        about = read_manifest(checkpoint)
        for weights in checkpoint.rglob("model.safetensors"):
            weights.write_bytes(b"no weights")
        (checkpoint / MANIFEST).unlink()
        seal(checkpoint, {key: about[key] for key in about if key not in ("format", "files")})
    (config.run / "summary.json").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors.*not a readable"):
        train(replace(config, resume=True))


def test_adapters_learn_alone_and_are_exported_with_their_processor(settings, writes, tiny_folders):
    writes(*MIXED)
    config = settings(lora=Lora(rank=2, alpha=4), max_steps=2)
    train(config)
    weights = load_file(config.run / "model" / "adapter_model.safetensors")
    assert weights
    assert all("language_model" in name and "lora_" in name for name in weights)
    model, _ = load_model(config.run)
    base = load_model(tiny_folders["qwen2_5_vl"]).model.state_dict()
    tuned = model.merge_and_unload().state_dict()
    changed = {name for name in base if not torch.equal(base[name], tuned[name])}
    assert changed
    assert not any("visual" in name or "embed" in name for name in changed)
    card = (config.run / "model" / "README.md").read_text()
    assert "Updates: 2" in card
    assert "adapters of rank 2" in card


def test_the_vision_tower_can_keep_its_weights(settings, writes, tiny_folders):
    writes(*MIXED)
    config = settings(freeze_vision=True)
    train(config)
    before = load_model(tiny_folders["qwen2_5_vl"]).model.state_dict()
    after = load_model(config.run).model.state_dict()
    kept = {name for name in before if torch.equal(before[name], after[name])}
    assert kept == {name for name in before if "visual" in name}


def test_validation_rows_choose_the_best_checkpoint(settings, writes, pictures):
    writes(*MIXED)
    config = settings(
        eval_data=pictures / "train.json", evaluate_every=1, max_steps=3, save_every=3
    )
    summary = train(config)
    measured = events(config.run, "evaluate")
    assert [event["step"] for event in measured] == [1, 2, 3]
    scores = [event["measures"]["srcc"]["value"] for event in measured]
    assert summary.score == max(scores)
    assert summary.best == 1 + scores.index(max(scores))


def test_vision_is_shared_without_a_change_of_the_update(settings, writes, tmp_path):
    runs = []
    for shared in (True, False):
        writes(*MIXED)
        config = settings(share_vision=shared, run=tmp_path / str(shared), max_steps=2)
        train(config)
        runs.append(load_file(config.run / "model" / "model.safetensors"))
    for name, weight in runs[0].items():
        torch.testing.assert_close(weight, runs[1][name], rtol=1e-3, atol=1e-5)


def test_mistakes_in_the_settings_are_told_before_trl_is_imported(settings, pictures, tmp_path):
    with pytest.raises(ConfigError, match="num_generations"):
        settings(num_generations=1)
    with pytest.raises(ConfigError, match="num_iterations"):
        settings(strategy="refine", num_iterations=2, max_steps=2)
    with pytest.raises(ConfigError, match="save_every"):
        settings(num_iterations=2, save_every=3, max_steps=None)
    with pytest.raises(ConfigError, match="format and answer"):
        settings(strategy="refine", rewards=("format",))
    with pytest.raises(DataError, match="batch-size"):
        training_rows(settings(batch_size=9), Quarantine())
    with pytest.raises(ConfigError, match=r"task 'scoring' of .*row 1"):
        training_rows(settings(stage="perception"), Quarantine())
    assert (
        updates_per_epoch(
            settings(batch_size=3, num_iterations=2, save_every=None, max_steps=None), 8
        )
        == 4
    )


def test_completions_must_be_dealt_evenly(settings, writes):
    writes(*MIXED)
    with pytest.raises(ConfigError, match="equal parts"):
        train(settings(batch_size=3, accumulate=2, num_generations=3))


def test_rewards_of_other_tasks_count_for_nothing(settings, writes, pictures, tmp_path):
    """Stage perception: a table in which an update has no row of some task."""
    truth = {"type": "banding", "severity": 3, "box": [4, 4, 20, 20]}
    rows = [
        {
            "image": str(pictures / "0.png"),
            "question": "?",
            "task": task,
            "solution": truth,
            "size": [72, 64],
        }
        for task in ("type", "severity")
    ]
    table = tmp_path / "train.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    writes('<think>a</think><answer>{"type": "banding", "severity": 2}</answer>', "nothing")
    config = settings(data=(table,), stage="perception")
    train(config)
    logged = events(config.run, "train")[0]
    assert logged["rewards/type/mean"] == 0.5
    assert logged["rewards/severity/mean"] == pytest.approx(0.375)
    assert "rewards/grounding/mean" not in logged


def test_of_a_table_with_splits_only_its_training_rows_are_trained_on(settings, pictures, tmp_path):
    lines = ["path,mos,split", *(f"{n}.png,3.0,{'test' if n > 3 else 'train'}" for n in range(8))]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(lines) + "\n")
    rows = training_rows(settings(data=(table,), data_root=pictures), Quarantine())
    assert [row.media[0].name for row in rows] == [f"{n}.png" for n in range(4)]


def test_weights_in_bfloat16_alone_are_refused(settings):
    with pytest.raises(ConfigError, match="too small for bfloat16"):
        train(settings(precision="bf16", weights_dtype="bfloat16"))


def test_a_gradient_that_is_not_finite_stops_before_the_weights_move(
    settings, writes, trl, monkeypatch, tiny_folders
):
    writes(*MIXED)
    usual = trl["trainer"].GRPOTrainer._compute_loss

    def exploding(self, model, inputs):
        loss = usual(self, model, inputs)
        loss.register_hook(lambda gradient: gradient * torch.inf)
        return loss

    monkeypatch.setattr(trl["trainer"].GRPOTrainer, "_compute_loss", exploding)
    config = settings(max_steps=2, save_every=1)
    with pytest.raises(NonFiniteError, match=r"update 1 .*gradient norm (nan|inf) on rows"):
        train(config)
    assert Store(config.run / "checkpoints").latest() is None


def test_the_learning_rate_falls_over_the_updates_that_are_made(settings, writes):
    writes(*MIXED)
    config = settings(epochs=1, max_steps=100, save_every=None)
    assert train(config).steps == 4
    rates = [event["learning_rate"] for event in events(config.run, "train")]
    assert rates == pytest.approx([1e-3, 0.75e-3, 0.5e-3, 0.25e-3])


def test_a_perception_row_beside_scores_has_no_probability_difference(
    settings, writes, differences, pictures, tmp_path
):
    asked = differences(thinking=0.6, plain=0.2)
    image = str(pictures / "0.png")
    truth = {"type": "banding", "severity": 3, "box": None}
    rows = [
        {"image": image, "question": "?", "solution": 5.0},
        {"image": image, "question": "?", "task": "joint", "solution": truth, "size": [72, 64]},
    ]
    table = tmp_path / "mixed.json"
    table.write_text(json.dumps(rows))
    writes(answer("5.00"))
    train(settings(strategy="refine", data=(table,), rewards=("format", "answer", "joint")))
    assert asked == [4, 1]  # the score's group, and its row once


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"num_iterations": 2, "max_steps": 3, "save_every": 2}, "max_steps"),
        ({"temperature": 0.0}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"beta": -1.0}, "beta"),
        ({"lr": -1e-3}, "lr"),
        ({"warmup_share": 1.0}, "warmup_share"),
        ({"vllm": Vllm(server="localhost")}, r"vllm\.server"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(settings, changes, field):
    with pytest.raises(ConfigError, match=f"^{field}: "):
        settings(**changes)


def test_a_damaged_validation_picture_is_raised_or_left_out_and_listed(
    settings, writes, pictures, tmp_path
):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    names = [str(broken), *(str(pictures / f"{n % 4}.png") for n in range(10))]
    rows = [{"image": name, "question": "?", "solution": 1 + n / 3} for n, name in enumerate(names)]
    table, few = tmp_path / "validation.json", tmp_path / "few.json"
    table.write_text(json.dumps(rows))
    few.write_text(json.dumps(rows[:5]))
    writes(*MIXED)
    with pytest.raises(UserError, match=r"validation: 1 of 11 rows .*\n.*broken\.png"):
        train(settings(eval_data=table))
    left_out = settings(eval_data=table, run=tmp_path / "left-out", on_bad_row="quarantine")
    train(left_out)
    assert np.isfinite(events(left_out.run, "evaluate")[0]["measures"]["srcc"]["value"])
    listed = json.loads((left_out.run / "quarantine.json").read_text())
    assert [(row["path"], row["where"]) for row in listed] == [
        (str(broken), "validation.json, row 1")
    ]
    with pytest.raises(UserError, match="validation: 1 of 5 rows"):  # a tenth is borne
        train(replace(left_out, eval_data=few, run=tmp_path / "too-many"))


def test_validation_rows_that_cannot_be_used_are_raised_or_listed(settings, pictures, tmp_path):
    names = ["missing.png", *(str(pictures / f"{n % 4}.png") for n in range(10))]
    rows = [{"image": name, "question": "?", "solution": 1.0 + n} for n, name in enumerate(names)]
    table = tmp_path / "validation.json"
    table.write_text(json.dumps(rows[:1] + [{**row, "solution": 3.0} for row in rows[1:]]))
    with pytest.raises(DataError, match=r"missing\.png"):
        validation_rows(settings(eval_data=table), Quarantine())
    listed = Quarantine("quarantine")
    found = validation_rows(settings(eval_data=table, on_bad_row="quarantine"), listed)
    assert len(found) == 10
    assert [row.path for row in listed.rows] == [str(table)]


def test_a_validation_table_without_a_row_to_judge_on_is_refused(settings, pictures, tmp_path):
    table = tmp_path / "validation.json"
    row = {"image": str(pictures / "0.png"), "question": "?", "solution": 3.0, "split": "train"}
    table.write_text(json.dumps([row]))
    with pytest.raises(DataError, match=r"validation\.json.*none"):
        validation_rows(settings(eval_data=table), Quarantine())


def test_trl_still_knows_the_columns_that_its_head_holds_at_a_time(trl):
    """A private name: where it goes, the head takes more memory on a CPU, and nothing says so."""
    from trl.trainer import utils

    assert isinstance(utils._CHUNKED_LOGPROB_CHUNK_SIZE, int)


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_are_those_of_the_whole_table_of_logits(
    settings, writes, built, pictures, family
):
    writes(*MIXED)
    trainer = built(settings(family))
    side = 28 if family == "qwen2_5_vl" else 32
    with Image.open(pictures / "0.png") as image:
        content = [{"type": "image", "image": image.convert("RGB").resize((2 * side, 2 * side))}]
    prompt = [{"role": "user", "content": [*content, {"type": "text", "text": "How good?"}]}]
    inputs = trainer.processing_class.apply_chat_template(
        [prompt, prompt], tokenize=True, return_dict=True, return_tensors="pt"
    )
    ids, mask = inputs.pop("input_ids"), inputs.pop("attention_mask")
    kept = 7
    with torch.no_grad():
        logits = trainer.model(input_ids=ids, attention_mask=mask, **inputs).logits.double()
        found, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, mask, kept, num_images=[1, 1], **inputs
        )
    expected = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[:, -kept:, 0]
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
