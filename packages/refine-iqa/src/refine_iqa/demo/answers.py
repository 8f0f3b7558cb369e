"""What a model answers on pictures: how often in the right form, and how near to the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from refine_iqa.config import MediaSettings
from refine_iqa.data.pictures import FACTOR
from refine_iqa.data.prompts import Templates
from refine_iqa.data.rows import Row, read_rows
from refine_iqa.rewards.text import has_format
from refine_iqa.scoring import QualityScorer
from refine_iqa.scoring.inputs import batch_of, read_sample
from refine_iqa.scoring.reasoning import write
from shared_core.data.loader import generator
from shared_core.reporting.demo import parameters_of

DRAWN = 8
"""Answers drawn for each picture, as many as a group of completions."""
_BATCH = 16


@dataclass(frozen=True)
class Answers:
    """A model's answers on the same pictures, in the same order.

    Attributes:
        formed: share of its drawn answers that have the form, for each picture. [n]
        score: from the probabilities of the digits, 1..5. [n]
        mos: what the pictures are worth. [n]
        example: an answer that was drawn for the first picture.
        parameters: of the model.
    """

    formed: Float64[Tensor, " n"]
    score: Float64[Tensor, " n"]
    mos: Float64[Tensor, " n"]
    example: str
    parameters: int


def answers_of(
    model: Path, table: Path, media: MediaSettings, *, longest: int, seed: int, device: str
) -> Answers:
    """Let a model answer about every picture of a table.

    Args:
        model: folder or run.
        table: with scores.
        media: as it was trained.
        longest: most tokens of an answer.
        seed: of the draws.
        device: where the model runs.
    """
    scorer = QualityScorer.from_pretrained(model, device=device, media=media)
    rows = read_rows(table)
    direct = scorer.predict(
        [row.media[0] for row in rows],
        question=[row.question for row in rows],
        batch_size=_BATCH,
    )
    drawn = [
        answer
        for first in range(0, len(rows), _BATCH)
        for answer in _drawn(scorer, rows[first : first + _BATCH], first, longest, seed)
    ]
    formed = torch.tensor([[has_format(text) for text in answers] for answers in drawn])
    return Answers(
        formed=formed.double().mean(dim=1),
        score=torch.tensor([one.score for one in direct], dtype=torch.float64),
        mos=torch.tensor([row.solution for row in rows], dtype=torch.float64),
        example=drawn[0][0],
        parameters=parameters_of(scorer.model),
    )


def _drawn(
    scorer: QualityScorer, rows: Sequence[Row], first: int, longest: int, seed: int
) -> list[list[str]]:
    """For each row, what the model writes when it draws, as it does in training."""
    template = Templates.of(scorer.media).think
    samples = [read_sample(row.media[0], row.question, scorer.media, FACTOR) for row in rows]
    again = [sample for sample in samples for _ in range(DRAWN)]
    device = next(scorer.model.parameters()).device
    inputs = batch_of(scorer.processor, again, template)
    texts = write(
        scorer.model,
        scorer.processor,
        {name: torch.as_tensor(value).to(device) for name, value in inputs.items()},
        max_new_tokens=longest,
        generators=[
            generator(seed, first + place, draw)
            for place in range(len(rows))
            for draw in range(DRAWN)
        ],
    )
    return [texts[at : at + DRAWN] for at in range(0, len(texts), DRAWN)]
