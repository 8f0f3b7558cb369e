"""Teaches a tiny model how an answer looks, by a few updates on answers with random scores.

It learns to think, to close its tags, and that a score has two decimals; of quality it learns nothing,
for the scores have nothing to do with the pictures. What is left is for reinforcement.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from refine_iqa.config import MediaSettings
from refine_iqa.data import prompts
from refine_iqa.data.pictures import read_picture
from refine_iqa.data.prompts import Templates
from refine_iqa.data.rows import read_rows
from refine_iqa.model.loading import load_model
from shared_core.training.seeding import seed_everything

TAGS = ("<think>", "</think>", "<answer>", "</answer>", "Score:")
"""Single tokens of the tiny model, so that an answer is short."""
THOUGHTS = ("dark", "dim", "fair", "clear", "bright")
"""What it is taught to think, whatever it sees."""


def random_answer(draws: np.random.Generator) -> str:
    """A well-formed answer whose score is drawn uniformly."""
    score = draws.uniform(1, 5)
    thought = THOUGHTS[int(draws.integers(len(THOUGHTS)))]
    return f"<think>{thought}</think><answer>Score: {score:.2f}</answer>"


def warm_up(
    folder: Path,
    table: Path,
    *,
    updates: int,
    media: MediaSettings | None = None,
    batch: int = 16,
    lr: float = 3e-3,
    seed: int = 0,
) -> float:
    """Teach the model in a folder, in place; returns the last loss (nats a token).

    Args:
        folder: of a model with the tokens `TAGS`.
        table: pictures and questions; their scores are not read.
        updates: of AdamW.
        media: sizes of pictures and the wording around the question, as reinforcement will have them.
        batch: answers in an update.
        lr: learning rate; it falls linearly to 0.
        seed: key of everything random.
    """
    model, processor = load_model(folder)
    model.train()
    seed_everything(seed)
    draws = np.random.default_rng(seed)
    rows = read_rows(table)
    media = media or MediaSettings()
    think = Templates.of(media).think
    sizes = {"min_pixels": media.min_pixels, "max_pixels": media.max_pixels}
    pictures = {row.media[0]: read_picture(row.media[0], **sizes) for row in rows}
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    loss = torch.tensor(float("nan"))
    for update in range(updates):
        optimiser.param_groups[0]["lr"] = lr * (1 - update / updates)
        chosen = [rows[int(place)] for place in draws.integers(len(rows), size=batch)]
        texts = [prompts.fill(think, row.question) for row in chosen]
        answers = [random_answer(draws) for _ in chosen]
        inputs = _teacher_forced(processor, texts, [pictures[r.media[0]] for r in chosen], answers)
        loss = model(**inputs).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    model.eval()
    model.save_pretrained(str(folder))
    return float(loss.detach())


def _teacher_forced(
    processor: object, texts: Sequence[str], images: Sequence[Image.Image], answers: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Prompts and their answers, with labels on the answers alone."""
    conversations = []
    for text, image, answer in zip(texts, images, answers, strict=True):
        prompt = prompts.messages(text)
        prompt[0]["content"][0]["image"] = image
        said = [{"type": "text", "text": answer}]
        conversations.append([*prompt, {"role": "assistant", "content": said}])
    inputs = dict(
        processor.apply_chat_template(  # type: ignore[attr-defined]
            conversations,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )
    )
    labels = inputs["input_ids"].clone()
    tokenizer = processor.tokenizer  # type: ignore[attr-defined]
    for row, answer in enumerate(answers):
        # An answer ends with its end of turn and a line break.
        length = len(tokenizer.encode(answer, add_special_tokens=False)) + 2
        labels[row, :-length] = -100
    labels[:, -1] = -100  # nothing is said after the end of turn
    inputs["labels"] = labels
    return inputs
