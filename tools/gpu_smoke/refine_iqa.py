"""refine-iqa: a model that is taught the form of an answer, tuned by GRPO, and asked for scores.

Completions are drawn from the device's own stream, so what an update learns differs between devices: the
losses of the updates must be finite, and are not compared. What is compared needs no draws: the error of
direct scores before tuning, of one picture for each update. The warm-up is made once, on the CPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from refine_iqa.config import TrainConfig
from refine_iqa.data.rows import read_rows
from refine_iqa.evaluate import evaluate
from refine_iqa.learner import train
from refine_iqa.model.tiny import build
from refine_iqa.scoring import QualityScorer
from refine_iqa.synthetic import write_table
from refine_iqa.synthetic.warmup import TAGS, warm_up
from shared_core.errors import NonFiniteError
from tools.gpu_smoke import passes
from tools.gpu_smoke.passes import Pass

UNIT = "pictures"
TOLERANCE = 0.05
"""The scores are of size 3; bf16 keeps 8 bits, 0.4 percent a product."""

BATCH, GROUP = 2, 4
WARM_UP_BATCH = 8
LONGEST = 24
"""Tokens of a completion; a well-formed one has 13 to 16."""
QUESTIONS = {"think.txt": "{question} Think, then answer.", "no_think.txt": "{question} Answer."}


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is computed.

    Attributes:
        width: of the hidden states.
        layers: of the language model.
        vision_layers: of the vision tower.
        side: pixels along each side of a picture.
        warm_up: updates of the warm-up.
        rate: its learning rate.
    """

    width: int
    layers: int
    vision_layers: int
    side: int
    warm_up: int
    rate: float


USUAL = Size(width=512, layers=4, vision_layers=2, side=112, warm_up=60, rate=2e-3)
SMALL = Size(width=32, layers=2, vision_layers=2, side=56, warm_up=80, rate=1e-2)


def run(
    folder: Path,
    device: Literal["cpu", "cuda"],
    precision: Literal["fp32", "bf16"],
    *,
    updates: int,
    small: bool,
) -> Pass:
    """Tune and score; the same pictures and first weights on every device.

    Raises:
        NonFiniteError: a score is not finite.
    """
    config = _config(folder, device, precision, updates)
    start, table = Path(config.model), config.data[0]
    if not start.exists():
        _prepare(config, SMALL if small else USUAL, updates)
    rows = read_rows(table)
    sources = [row.media[0] for row in rows]
    options = {"question": [row.question for row in rows], "batch_size": 2 * BATCH}
    first = QualityScorer.from_pretrained(start, device=device, precision=precision, media=config)
    before = first.predict(sources, **options)
    passes.forget_peak(device)
    train(config)
    scorer = QualityScorer.from_pretrained(
        config.run, device=device, precision=precision, media=config
    )
    judged, seconds_judged = passes.timed(
        device, lambda: evaluate(scorer, rows, batch_size=2 * BATCH, resamples=0)
    )
    answers, seconds_predicted = passes.timed(
        device,
        lambda: scorer.predict(sources, mode="reasoned", max_new_tokens=LONGEST, **options),
    )
    if not all(math.isfinite(one.score) for one in [*before, *judged.predictions, *answers]):
        raise NonFiniteError(f"refine-iqa gives scores that are not finite on {device}.")
    return Pass(
        losses=tuple(
            abs(one.score - item.mos) for one, item in zip(before, judged.items, strict=True)
        ),
        train=passes.updates_per_second(config.run) * BATCH,
        evaluate=len(rows) / seconds_judged,
        predict=len(rows) / seconds_predicted,
        score=judged.measures["rmse"].value,
        peak_memory_mb=passes.peak_memory_mb(device),
    )


def _config(
    folder: Path, device: Literal["cpu", "cuda"], precision: Literal["fp32", "bf16"], updates: int
) -> TrainConfig:
    return TrainConfig(
        model=str(folder / "start"),
        data=(folder / "data" / "table.json",),
        think_template=folder / "data" / "think.txt",
        no_think_template=folder / "data" / "no_think.txt",
        run=folder / f"{device}-{precision}",
        batch_size=BATCH,
        num_generations=GROUP,
        max_completion_length=LONGEST,
        lr=1e-5,
        epochs=updates,
        max_steps=updates,
        save_every=updates,
        precision=precision,
        device=device,
        trackers=(),
    )


def _prepare(config: TrainConfig, size: Size, pictures: int) -> None:
    """Pictures, short templates (a byte is a token), and a model that knows the form of an answer."""
    (table,) = config.data
    folder = table.parent
    write_table(folder, count=pictures, seed=0, side=size.side)
    for file, text in QUESTIONS.items():
        (folder / file).write_text(text, encoding="utf-8")
    build(
        config.model,
        width=size.width,
        layers=size.layers,
        vision_layers=size.vision_layers,
        added_tokens=TAGS,
        max_pixels=size.side**2,
    )
    warm_up(
        Path(config.model),
        table,
        updates=size.warm_up,
        media=config,
        batch=WARM_UP_BATCH,
        lr=size.rate,
    )
