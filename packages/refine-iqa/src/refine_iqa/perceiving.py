"""How a model is judged on what it perceives: type, severity and place of distortions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from refine_iqa.data.prompts import PERCEPTION_TEMPLATE
from refine_iqa.data.rows import SCORING, Row
from refine_iqa.data.solutions import Perceived
from refine_iqa.perception.boxes import boxes_said, perceived, question_of
from refine_iqa.rewards.perception import (
    MOST_STEPS,
    grounding_reward,
    severity_reward,
    type_reward,
)
from refine_iqa.rewards.text import answer_json
from refine_iqa.scoring import QualityScorer
from refine_iqa.scoring.inputs import Sample, batch_of, read_sample
from refine_iqa.scoring.reasoning import write
from refine_iqa.scoring.scorer import evaluating
from shared_core.data.loader import generator
from shared_core.data.quarantine import Quarantine
from shared_core.errors import DataError, UsageError
from shared_core.metrics import MeanScore, Measure, bootstrap
from shared_core.metrics.ranking import group_numbers

KINDS = (
    "answered",
    "type_accuracy",
    "severity_accuracy",
    "severity_mae",
    "iou",
    "iou_above_half",
)
"""Share of answers that are JSON objects; shares of right types and severities; mean error of the
severity, in steps; mean intersection over union, and the share of those above 0.5."""


@dataclass(frozen=True)
class Answer:
    """What a model wrote about a row, and what it should have.

    Attributes:
        row: the question.
        text: what the model wrote.
        truth: the row's solution, its box as the model says boxes.
    """

    row: Row
    text: str
    truth: Perceived

    def marks(self) -> dict[str, float]:
        """The marks of this answer, for those of `KINDS` that its row asks for.

        What is missing, or cannot be read, counts as the worst: a wrong type, four steps of severity, an
        intersection of 0.
        """
        task, marks = self.row.task, {"answered": float(answer_json(self.text) is not None)}
        if task in ("type", "joint"):
            marks["type_accuracy"] = type_reward(self.text, self.truth)
        if task in ("severity", "joint"):
            credit = severity_reward(self.text, self.truth)
            marks["severity_accuracy"] = float(credit == 1)
            marks["severity_mae"] = MOST_STEPS * (1 - credit)
        if task in ("grounding", "joint") and self.truth["box"] is not None:
            marks["iou"] = grounding_reward(self.text, self.truth)
            marks["iou_above_half"] = float(marks["iou"] > 0.5)
        return marks


def ask(
    scorer: QualityScorer,
    rows: Sequence[Row],
    *,
    batch_size: int = 8,
    max_new_tokens: int = 512,
    quarantine: Quarantine | None = None,
) -> Iterator[Answer]:
    """Let a model answer perception rows; always the same answer, the likeliest.

    Args:
        scorer: any.
        rows: of perception tasks, as `refine_iqa.data.rows.read_rows` reads them.
        batch_size: rows that are answered at the same time.
        max_new_tokens: most tokens of an answer.
        quarantine: what to do with pictures that cannot be read.

    Raises:
        UsageError: a row asks for a score.
        DataError: a picture cannot be read (policy `raise`).
    """
    for row in rows:
        if row.task == SCORING:
            raise UsageError(
                f"{row.where}: expected a row about a distortion, found one for a score."
            )
    quarantine = quarantine or Quarantine("raise")
    model, processor = scorer.model, scorer.processor
    factor = int(processor.image_processor.patch_size * processor.image_processor.merge_size)
    device = next(model.parameters()).device
    said = boxes_said(model.config.model_type)
    for start in range(0, len(rows), batch_size):
        asked: list[tuple[Row, Sample]] = []
        for row in rows[start : start + batch_size]:
            try:
                asked.append(
                    (row, read_sample(row.media, question_of(row, said), scorer.media, factor))
                )
            except DataError as error:
                quarantine.bad(error, of=len(rows))
        if not asked:
            continue
        made = batch_of(processor, [sample for _, sample in asked], PERCEPTION_TEMPLATE)
        inputs = {name: torch.as_tensor(value).to(device) for name, value in made.items()}
        with evaluating(model):
            texts = write(model, processor, inputs, max_new_tokens=max_new_tokens)
        for (row, sample), text in zip(asked, texts, strict=True):
            yield Answer(row, text, perceived(row, sample.pictures[0].size, said))


def perception_measures(answers: Sequence[Answer], *, seed: int = 0) -> dict[str, Measure]:
    """Means of the marks, by kind, with 95 % bootstrap intervals over pictures.

    A picture is asked about several times, so its answers are drawn together.

    Args:
        answers: from `ask`.
        seed: key of the bootstrap.
    """
    marks = [answer.marks() for answer in answers]
    groups = group_numbers([str(answer.row.media[0]) for answer in answers])
    return {kind: _mean(kind, marks, groups, seed) for kind in KINDS}


def _mean(
    kind: str, marks: Sequence[Mapping[str, float]], groups: torch.Tensor, seed: int
) -> Measure:
    values = torch.tensor([mark.get(kind, math.nan) for mark in marks], dtype=torch.float64)
    score = MeanScore(values, groups, noun="pictures")
    higher = kind != "severity_mae"
    value = score.value() if len(values) else math.nan
    if math.isnan(value):
        return Measure(value=value, reason="no row asks for it", higher_is_better=higher)
    drawn = bootstrap(score, generator=generator(seed))
    return Measure(value=value, higher_is_better=higher).with_interval(drawn)
