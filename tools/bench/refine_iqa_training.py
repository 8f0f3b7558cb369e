"""refine-iqa's trainer against straightforward code: log-probabilities, and the probability difference.

Beside them the share of a step that the reward functions take. Models are tiny ones, with random weights
and as many tokens as given here; importing trl takes longer than all of it.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPast
from trl.data_utils import prepare_multimodal_messages

from refine_iqa.config import TrainConfig
from refine_iqa.data.pictures import read_picture
from refine_iqa.data.prompts import (
    ANSWER_OPENING,
    NO_THINK_TEMPLATE,
    THINK_TEMPLATE,
    fill,
    messages,
)
from refine_iqa.grpo.build import build_trainer
from refine_iqa.grpo.trainer import QualityTrainer
from refine_iqa.learner import PROGRAM, Planned, train, training_rows, updates_per_epoch
from refine_iqa.model.loading import load_model
from refine_iqa.model.tiny import build
from refine_iqa.synthetic import write_table
from shared_core.data.quarantine import Quarantine
from shared_core.launch.accelerator import accelerator
from shared_core.reporting.events import read
from shared_core.training.run import Run
from tools.bench.live import LiveBytes
from tools.bench.straightforward import refine_iqa as straightforward
from tools.bench.timing import Row, interleaved

WIDTH, VOCABULARY = 64, 20_000
ROWS, LENGTH, COMPLETION = 4, 700, 100
LARGEST_DIFFERENCE = 1e-4
"""Entropies and log-probabilities are of size 10, in float32."""

GROUP, SUCCESSES = 8, 3
SIDE = 112

STEPS = 6
PARTS = ("generate", "reward", "log_probability", "update")


def measure() -> list[Row]:
    """Time, memory and shares."""
    with tempfile.TemporaryDirectory() as folder:
        config = _config(Path(folder))
        with _trainer(config) as trainer:
            difference = _difference(trainer, config)
            log_probabilities = _log_probabilities(trainer)
        return [*log_probabilities, difference, _rewards(config)]


def _config(folder: Path) -> TrainConfig:
    """Settings of a run on drawn pictures."""
    return TrainConfig(
        model=str(build(folder / "model", width=WIDTH)),
        data=(write_table(folder / "data", count=GROUP, seed=0, side=SIDE),),
        run=folder / "run",
        strategy="refine",
        batch_size=1,
        num_generations=GROUP,
        max_completion_length=COMPLETION,
        beta=0.0,
        epochs=STEPS,
        max_steps=STEPS,
        save_every=None,
        device="cpu",
        threads=1,
        trackers=(),
    )


@contextmanager
def _trainer(config: TrainConfig) -> Iterator[QualityTrainer]:
    """A trainer as a run makes it; its model has more tokens than its tokenizer knows."""
    quarantine = Quarantine()
    rows = training_rows(config, quarantine)
    run = Run(config, accelerator(config), program=PROGRAM)
    with run.opened(Planned(quarantine, updates_per_epoch(config, len(rows)))):
        trainer = build_trainer(config, rows, quarantine, run)
        _widen(trainer.model)
        yield trainer


def _widen(model: Any) -> None:
    torch.manual_seed(0)
    model.resize_token_embeddings(VOCABULARY, mean_resizing=False)


# Log-probabilities


def _log_probabilities(trainer: QualityTrainer) -> list[Row]:
    """As the trainer asks for them in an update: of completions, with their entropies."""
    model: Any = trainer.model
    torch.manual_seed(0)
    tokens = torch.randint(VOCABULARY, (ROWS, LENGTH))
    everywhere = torch.ones_like(tokens)
    head, states = model.get_output_embeddings(), nn.Parameter(torch.randn(ROWS, LENGTH, WIDTH))
    # What lies below the head is left out, so that the head alone is measured.
    model.model.forward = lambda **_: BaseModelOutputWithPast(last_hidden_state=states)

    def ours() -> tuple[Tensor, Tensor]:
        logs, entropies, _ = trainer._get_per_token_logps_and_entropies(
            model, tokens, everywhere, COMPLETION, compute_entropy=True
        )
        return logs, entropies

    def reference() -> tuple[Tensor, Tensor]:
        return straightforward.log_probabilities(head, states, tokens, COMPLETION)

    def step(forward: Callable[[], Sequence[Tensor]]) -> Callable[[], list[Tensor]]:
        def run() -> list[Tensor]:
            states.grad = head.weight.grad = None
            found = forward()
            torch.autograd.backward(found[0].mean())
            return [*(one.detach() for one in found), states.grad, head.weight.grad]

        return run

    steps = {"ours": step(ours), "reference": step(reference)}
    peaks = []
    found = []
    for run in steps.values():
        with LiveBytes() as live:
            found.append([one.clone() for one in run()])
        peaks.append(live.most / 1e6)
    difference = max(float((a - b).abs().max()) for a, b in zip(*found, strict=True))
    times = interleaved(steps, runs=5)
    name = f"log-probabilities of {COMPLETION} of {LENGTH} tokens, {ROWS} rows, {VOCABULARY} tokens known"
    row = Row.faster(name, times["ours"], times["reference"], at_least=4, by_median=True)
    memory = Row.at_most(f"{name}: memory", *peaks, times=1 / 3, unit="MB")
    return [
        replace(row, note=f"{row.note}; forward and backward of a head of width {WIDTH}"),
        replace(memory, note="most bytes of tensors at once, counted at every operation"),
        Row.within(f"{name}: difference", difference, LARGEST_DIFFERENCE, unit=""),
    ]


# The probability difference


def _difference(trainer: QualityTrainer, config: TrainConfig) -> Row:
    """A group with few successes: they alone are asked about, and once without thinking."""
    row = training_rows(config, Quarantine())[0]
    picture = read_picture(row.media[0])
    thinking, plain = (
        prepare_multimodal_messages(messages(fill(template, row.question)), images=[picture])
        for template in (THINK_TEMPLATE, NO_THINK_TEMPLATE)
    )
    tokenizer = trainer.processing_class.tokenizer
    scores = ["3.40"] * SUCCESSES + ["1.00"] * (GROUP - SUCCESSES)
    openings = [f"<think>{'It is a bit dark. ' * 4}</think>{ANSWER_OPENING}"] * GROUP
    texts = [f"{o}{score}</answer>" for o, score in zip(openings, scores, strict=True)]
    reward = trainer.reward_funcs[-1]
    model, processor = load_model(config.model)
    _widen(model)

    def ours() -> list[float]:
        found: list[float] = reward(
            prompts=[thinking] * GROUP,
            completions=[[{"role": "assistant", "content": text}] for text in texts],
            completion_ids=[tokenizer.encode(text) for text in texts],
            task=[row.task] * GROUP,
            solution=[3.46] * GROUP,
            no_think=[messages(fill(NO_THINK_TEMPLATE, row.question))] * GROUP,
            images=[[picture]] * GROUP,
            row=[0] * GROUP,
        )
        return found

    def reference() -> list[float]:
        asked = [tokenizer.convert_tokens_to_ids("4")] * GROUP
        with_thought, without = (
            straightforward.probabilities(
                model, processor, [prompt] * GROUP, [f"{o}3." for o in written], asked
            )
            for prompt, written in (
                (thinking, openings),
                (plain, [ANSWER_OPENING] * GROUP),
            )
        )
        return (with_thought - without).clamp(min=0).tolist()

    expected = [*reference()[:SUCCESSES], *[0.0] * (GROUP - SUCCESSES)]
    torch.testing.assert_close(torch.tensor(ours()), torch.tensor(expected), rtol=1e-3, atol=1e-9)
    times = interleaved({"ours": ours, "reference": reference}, runs=5)
    name = f"probability difference of {GROUP} completions, {SUCCESSES} of them right"
    return Row.faster(name, times["ours"], times["reference"], at_least=2, by_median=True)


# A step


def _rewards(config: TrainConfig) -> Row:
    """The rule rewards beside all that a step does, as the trainer's own record has it."""
    grpo = replace(config, strategy="grpo", run=config.run.with_name("steps"))
    train(grpo)
    events = [event for event in read(grpo.run) if event["kind"] == "train"][1:]
    seconds = {part: [event[f"seconds/{part}"] for event in events] for part in PARTS}
    whole = [sum(parts) for parts in zip(*seconds.values(), strict=True)]
    reward, step = statistics.median(seconds["reward"]), statistics.median(whole)
    name = f"reward functions in a step of {GROUP} completions of the tiny model"
    return replace(
        Row.at_most(name, reward, step, times=0.01),
        note=f"{len(events)} steps, wall time, with what trl does around them",
    )
