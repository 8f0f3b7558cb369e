"""A page to try a model in the browser: a picture or video, its score, and the model's reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from refine_iqa import synthetic
from refine_iqa.config import DemoConfig
from refine_iqa.predict import predict
from refine_iqa.scoring import QualityScorer
from shared_core.data.images import SUFFIXES
from shared_core.files import VIDEO_SUFFIXES
from shared_core.serving.parts import Example, Output, Page, Service, Switch, Words

STRENGTHS = (0.1, 0.9)
"""Of the drawn examples: hardly spoilt, and badly."""


def service(checkpoint: str, config: DemoConfig) -> Service:
    """What the page of a model takes and shows.

    Raises:
        CheckpointError: nothing is there, it is damaged, or of another family.
    """
    scorer = QualityScorer.from_pretrained(checkpoint, device=config.device)
    return Service(
        title="Quality of pictures",
        about="Rates how good a picture or video looks, from 1 (bad) to 5 (excellent), and can reason before "
        "it does.",
        paper="After Jia et al., Refine-IQA: Multi-Stage Reinforcement Finetuning for Perceptual Image "
        "Quality Assessment, AAAI 2026, arXiv 2508.03763",
        takes="picture or video",
        suffixes=SUFFIXES | VIDEO_SUFFIXES,
        controls=(
            Switch(
                name="explain",
                label="Explain",
                info="the model reasons first, and writes its score itself; slower",
            ),
            Words(name="question", label="Question", placeholder="the overall quality"),
        ),
        outputs=(
            Output(name="score", kind="facts", label="Score"),
            Output(name="think", kind="text", label="Its reasons"),
            Output(name="raw", kind="text", label="All that it wrote"),
        ),
        answer=partial(_answer, scorer),
        device=str(next(scorer.model.parameters()).device),
        examples=_examples,
    )


def _answer(
    scorer: QualityScorer, source: Path, _out: Path, *, explain: bool, question: str
) -> Mapping[str, Any]:
    mode = "reasoned" if explain else "direct"
    (found,) = predict([source], scorer, mode=mode, question=question.strip() or None)
    facts = {"score, 1 to 5": f"{found.score:.3f}"}
    if found.std is not None:
        facts["deviation of its belief"] = f"{found.std:.3f}"
    if found.parsed is not None:
        facts["from"] = "what it wrote" if found.parsed else "its belief: it wrote no score"
    return {
        "score": {**facts, "seconds": f"{found.seconds:.2f}"},
        "think": found.think,
        "raw": found.raw,
    }


def _examples(folder: Path) -> Sequence[Example]:
    """The same kind of drawing, hardly spoilt and badly."""
    made = []
    for strength in STRENGTHS:
        draws = np.random.default_rng(7)
        spoilt = synthetic.spoil(synthetic.draw_scene(draws), "exposure", strength, draws)
        path = folder / f"drawn-{strength:g}-spoilt.png"
        Image.fromarray(spoilt.pixels).save(path)
        made.append(Example(path=path))
    return made


PAGE = Page(
    program="refine-iqa",
    service=service,
    runs="run/*-[0-9]",
    taught=(
        "This model was taught by the demo, on drawings of 56 by 56 pixels: of photographs its scores mean "
        "nothing, and what it writes even less."
    ),
)
