"""The plain side of the refine-iqa benchmarks: every frame, every copy, every position, one pattern.

Its arithmetic is that of the libraries it calls; what it does not do is leave anything out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor, nn

FORMAT = re.compile(r"<think>.+?</think>\s*<answer>\s*Score:\s*(\d\.\d\d)\s*</answer>", re.DOTALL)
"""A well-formed completion as one pattern, which backtracks."""


def resized_then_sampled(
    frames: Sequence[UInt8[np.ndarray, "height width 3"]],
    indices: Sequence[int],
    size: tuple[int, int],
) -> list[Image.Image]:
    """All frames in a size (width, height), by one antialiased bicubic resize each; then some of them."""
    every = [Image.fromarray(f).resize(size, Image.Resampling.BICUBIC) for f in frames]
    return [every[index] for index in indices]


def processed(processor: Any, pictures: Sequence[Image.Image]) -> list[Any]:
    """Each picture by a call of its own."""
    return [processor([picture], return_tensors="pt") for picture in pictures]


def reasoned_score(
    model: Any, processor: Any, message: list[dict[str, Any]], tokens: int
) -> float | None:
    """The score in the likeliest answer of so many tokens, no more and no fewer; None without one."""
    inputs = processor.apply_chat_template(
        [message], tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
    )
    with torch.no_grad():
        written = model.generate(
            **inputs, do_sample=False, max_new_tokens=tokens, min_new_tokens=tokens
        )
    answer = processor.decode(written[0, inputs["input_ids"].shape[1] :])
    found = FORMAT.search(answer)
    return None if found is None else float(found[1])


def log_probabilities(
    head: nn.Module,
    states: Float[Tensor, "rows length width"],
    tokens: Int[Tensor, "rows length"],
    keep: int,
) -> tuple[Float[Tensor, "rows keep"], Float[Tensor, "rows keep"]]:
    """Of the last `keep` tokens, and the entropies before them, from the logits of all."""
    logs = head(states)[:, :-1].log_softmax(dim=-1)
    chosen = logs.gather(-1, tokens[:, 1:, None]).squeeze(-1)
    with torch.no_grad():
        entropies = -(logs.exp() * logs).sum(dim=-1)
    return chosen[:, -keep:], entropies[:, -keep:]


@torch.no_grad()
def probabilities(
    model: nn.Module,
    processor: Any,
    messages: Sequence[list[dict[str, Any]]],
    written: Sequence[str],
    tokens: Sequence[int],
) -> Float[Tensor, " rows"]:
    """Of one token after each prompt and what is written after it, from the logits of all positions."""
    texts = [
        processor.apply_chat_template(message, tokenize=False, add_generation_prompt=True) + text
        for message, text in zip(messages, written, strict=True)
    ]
    images = [part["image"] for m in messages for part in m[0]["content"] if "image" in part]
    inputs = processor(text=texts, images=images, padding=True, return_tensors="pt")
    likely = model(**inputs).logits.softmax(dim=-1)
    found: Tensor = likely[torch.arange(len(texts)), -1, torch.tensor(tokens)]
    return found
