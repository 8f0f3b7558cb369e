"""How probable each of many short continuations of a prompt is, in two passes of the model.

The first pass reads the prompt, with its pictures. The second reads all continuations at the same time,
as a tree: each distinct beginning of a continuation is one token more, which sees the prompt and its own
beginning, and nothing of the other branches. 401 scores of four tokens take 50 tokens that way, and the
keys and values of the prompt are neither computed again nor copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from refine_iqa.model.loading import bare

_MASKING = ("eager", "sdpa")
"""Attention kernels that take a mask of any shape."""
_POSITIONAL = (
    "mm_token_type_ids",
    "image_grid_thw",
    "video_grid_thw",
    "second_per_grid_ts",
    "attention_mask",
)


class Continuations:
    """Texts that may follow a prompt, as a tree of tokens.

    Args:
        texts: the tokens of each, one or more.

    Attributes:
        tokens: of each text, filled up with -1. [n, k]
        nodes: the tokens that have a successor: each distinct beginning once. [m]
        depth: how many tokens stand before each node. [m]
        sees: whether node i sees node j: itself, and what stands before it. [m, m]
        before: for each token of each text the node that stands right before it; -1: the prompt. [n, k]
    """

    tokens: Int[Tensor, "n k"]
    nodes: Int[Tensor, " m"]
    depth: Int[Tensor, " m"]
    sees: Bool[Tensor, "m m"]
    before: Int[Tensor, "n k"]

    def __init__(self, texts: Sequence[Sequence[int]]) -> None:
        longest = max(len(text) for text in texts)
        beginnings = {tuple(text[:end]): None for text in texts for end in range(1, len(text))}
        place = {(): -1} | {beginning: i for i, beginning in enumerate(beginnings)}
        self.tokens = torch.tensor([[*text, *[-1] * (longest - len(text))] for text in texts])
        self.before = torch.tensor(
            [
                [
                    place.get(tuple(text[:end]), -1) if end < len(text) else -1
                    for end in range(longest)
                ]
                for text in texts
            ]
        )
        self.nodes = torch.tensor([beginning[-1] for beginning in beginnings], dtype=torch.long)
        self.depth = torch.tensor([len(b) - 1 for b in beginnings], dtype=torch.long)
        self.sees = torch.eye(len(beginnings), dtype=torch.bool)
        for beginning in beginnings:
            for end in range(1, len(beginning)):
                self.sees[place[beginning], place[beginning[:end]]] = True


@torch.no_grad()
def token_log_probs(
    model: Any, inputs: Mapping[str, Tensor], continuations: Continuations
) -> Float[Tensor, "rows n k"]:
    """Log-probability of each token of each continuation, given the prompt and the tokens before it.

    Args:
        model: Qwen-VL, bare or with adapters, in evaluation mode.
        inputs: prompts as the processor makes them, padded on the left.
        continuations: n texts of up to k tokens.

    Returns:
        In float64, on the CPU; 0 where a text has ended.
    """
    inner = bare(model).model
    given = {name: inputs[name] for name in _POSITIONAL if name in inputs}
    positions, deltas = inner.get_rope_index(inputs["input_ids"], **given)
    mask = inputs["attention_mask"]
    prompt = model(**inputs, position_ids=positions, use_cache=True, logits_to_keep=1)
    logits = prompt.logits
    if len(continuations.nodes):
        rows, device = len(mask), mask.device
        first = mask.sum(dim=1, keepdim=True) + deltas.to(device)  # position right after the prompt
        places = first + continuations.depth.to(device)
        with masking_attention(model):
            branches = model(
                input_ids=continuations.nodes.to(device).expand(rows, -1),
                attention_mask=_tree_mask(mask, continuations.sees.to(device), logits.dtype),
                position_ids=places.expand(3, -1, -1),
                past_key_values=prompt.past_key_values,
                use_cache=True,
            )
        logits = torch.cat([logits, branches.logits], dim=1)
    return _chosen(logits, continuations)


@contextmanager
def masking_attention(model: Any) -> Iterator[None]:
    """Let a model attend with kernels that take any mask; what it had before comes back at the end."""
    model = bare(model)
    kernels = model.config._attn_implementation
    if kernels in _MASKING:
        yield
        return
    model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        model.set_attn_implementation(kernels)


def _tree_mask(
    mask: Int[Tensor, "rows length"], sees: Bool[Tensor, "m m"], dtype: torch.dtype
) -> Float[Tensor, "rows 1 m total"]:
    """What is added to the attention of m nodes to the prompt and to one another: 0, or far below it."""
    rows, count = len(mask), len(sees)
    prompt = mask.bool()[:, None, None, :].expand(rows, 1, count, -1)
    visible = torch.cat([prompt, sees.expand(rows, 1, -1, -1)], dim=-1)
    return torch.zeros(visible.shape, dtype=dtype, device=mask.device).masked_fill(
        ~visible, torch.finfo(dtype).min
    )


def _chosen(
    logits: Float[Tensor, "rows m1 vocabulary"], continuations: Continuations
) -> Float[Tensor, "rows n k"]:
    """Log-probabilities of the tokens, from the logits after the prompt and after each node."""
    device = logits.device
    places = (continuations.before + 1).to(device)  # the prompt's logits come first
    tokens = continuations.tokens.to(device)
    logits = logits.float()
    normal = logits.logsumexp(dim=-1)
    chosen = logits[:, places, tokens.clamp(min=0)] - normal[:, places]
    return chosen.masked_fill(tokens < 0, 0.0).double().cpu()
