"""refine-iqa: a model that is taught the form of an answer, tuned by GRPO, and asked for scores.

Completions are drawn from the device's own stream, so what an update learns differs between devices: the
losses of the updates must be finite, and are not compared. What is compared needs no draws: the error of
direct scores before tuning, of one picture for each update. The warm-up is made once, on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from refine_iqa.config import TrainConfig
from refine_iqa.data.rows import Row, read_rows
from refine_iqa.evaluate import evaluate
from refine_iqa.grpo.trainer import QualityTrainer
from refine_iqa.learner import train
from refine_iqa.model.tiny import build
from refine_iqa.scoring import QualityScorer
from refine_iqa.synthetic import write_table
from refine_iqa.synthetic.warmup import TAGS, warm_up
from tools.gpu_smoke.subject import Found, Place, Subject, Use

TOLERANCE = 0.05
"""The scores are of size 3; bf16 keeps 8 bits, 0.4 percent a product."""

BATCH, GROUP = 2, 4
SCORED = 4
"""Pictures that are scored at once."""
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


def _config(place: Place) -> TrainConfig:
    data = place.folder / "data"
    return TrainConfig(
        model=str(place.folder / "start"),
        data=(data / "table.json",),
        think_template=data / "think.txt",
        no_think_template=data / "no_think.txt",
        batch_size=BATCH,
        num_generations=GROUP,
        max_completion_length=LONGEST,
        lr=1e-5,
        gradient_checkpointing=False,  # the model fits, and what is computed twice is counted twice
        **place.settings,
    )


def _prepare(place: Place) -> None:
    """Pictures, short templates (a byte is a token), and a model that knows the form of an answer."""
    config, size = _config(place), SMALL if place.small else USUAL
    (table,) = config.data
    write_table(table.parent, count=place.updates, seed=0, side=size.side)
    for file, text in QUESTIONS.items():
        (table.parent / file).write_text(text, encoding="utf-8")
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


def _rows(place: Place) -> list[Row]:
    return list(read_rows(_config(place).data[0]))


def _scorer(place: Place, model: Path) -> QualityScorer:
    return QualityScorer.from_pretrained(
        model, device=place.device, precision=place.precision, media=_config(place)
    )


def _uses(place: Place) -> tuple[Use, Use]:
    scorer, rows = _scorer(place, place.run), _rows(place)
    sources, questions = [row.media[0] for row in rows], [row.question for row in rows]

    def judge() -> Found:
        judged = evaluate(scorer, rows, batch_size=SCORED, resamples=0)
        return Found(len(rows), [judged.measures["rmse"].value])

    def reason() -> Found:
        answers = scorer.predict(
            sources,
            question=questions,
            batch_size=SCORED,
            mode="reasoned",
            max_new_tokens=LONGEST,
        )
        return Found(len(rows), [answer.score for answer in answers])

    return judge, reason


def _errors(place: Place) -> list[float]:
    """How far the direct scores before tuning are from the pictures' true ones."""
    scorer = _scorer(place, place.folder / "start")
    judged = evaluate(scorer, _rows(place), batch_size=SCORED, resamples=0)
    return [
        abs(one.score - item.mos)
        for one, item in zip(judged.predictions, judged.items, strict=True)
    ]


SUBJECT = Subject(
    unit="pictures",
    tolerance=TOLERANCE,
    update=(QualityTrainer, "training_step"),
    items=lambda _: BATCH,
    prepare=_prepare,
    train=lambda place: train(_config(place)),
    uses=_uses,
    losses=_errors,
)
