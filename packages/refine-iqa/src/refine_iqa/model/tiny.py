"""A vision-language model of 115 thousand weights, for trials and tests without a download.

Its architecture, tokenizer and processor are those of Qwen2.5-VL or Qwen3-VL; only the sizes differ, and
the weights are random. One byte of text is one token, and digits have the ids of the real Qwen
tokenizers, 15 to 24.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from refine_iqa.config import Family, TinyModelConfig
from shared_core.commands import say
from shared_core.errors import UsageError

MIN_PIXELS = 3136
"""Fewest pixels of a picture."""

HEADS, KEY_HEADS, VISION_HEADS = 4, 2, 2
SPECIAL_TOKENS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|im_start|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""Tokens beside the 256 bytes, in the order of their ids."""

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{ '<|im_start|>' + message['role'] + '\\n' }}
{%- if message['content'] is string -%}
{{ message['content'] }}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'text' -%}
{{ part['text'] }}
{%- else -%}
{{ '<|vision_start|><|' + part['type'] + '_pad|><|vision_end|>' }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- endif -%}
"""
"""As that of the real models, without a default system message."""


_NAMED_TOKENS = {
    "image": "<|image_pad|>",
    "video": "<|video_pad|>",
    "vision_start": "<|vision_start|>",
    "vision_end": "<|vision_end|>",
}


class _Parts(NamedTuple):
    """The classes of a family, and the side of a patch in pixels; two by two of them make a token."""

    config: Any
    model: Any
    processor: Any
    video_processor: Any
    patch: int


_PARTS: dict[Family, _Parts] = {
    "qwen2_5_vl": _Parts(
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLVideoProcessor,
        14,
    ),
    "qwen3_vl": _Parts(
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
        16,
    ),
}


def build(
    folder: Path | str,
    family: Family = "qwen2_5_vl",
    *,
    seed: int = 0,
    width: int = 32,
    layers: int = 2,
    vision_layers: int = 2,
    added_tokens: Sequence[str] = (),
    max_pixels: int = 12_544,
) -> Path:
    """Write a tiny random model with its tokenizer and processors, as `save_pretrained` lays them out.

    Args:
        folder: for the files; made where it is missing.
        family: whose architecture.
        seed: of the weights; torch's global generator is left as it was.
        width: of the hidden states, a multiple of 32.
        layers: of the language model.
        vision_layers: of the vision tower.
        added_tokens: texts, such as `<think>`, that are one ordinary token each, decoded as text.
        max_pixels: most pixels of a picture; a larger one is reduced.

    Returns:
        The folder.

    Raises:
        UsageError: the width does not divide into heads and positions.
    """
    if width < 32 or width % 32:
        raise UsageError(f"width: expected a multiple of 32, found {width}.")
    tokenizer = _tokenizer(added_tokens)
    model = _model(family, tokenizer, seed, width, layers, vision_layers)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    _processor(family, tokenizer, max_pixels).save_pretrained(folder)
    return Path(folder)


def command(config: TinyModelConfig) -> int:
    """`refine-iqa prepare tiny-model`."""
    folder = build(config.out, config.family, seed=config.seed)
    say(f"written to {folder}: random weights, whose scores mean nothing")
    return 0


def _tokenizer(added_tokens: Sequence[str]) -> Any:
    """Bytes, in the order of GPT-2's byte alphabet, then the special tokens, then `added_tokens`."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = range(256, 256 + 256 - len(printable))
    vocabulary = {chr(code): number for number, code in enumerate([*printable, *others])}
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=[],
        unk_token=SPECIAL_TOKENS[1],
        eos_token=SPECIAL_TOKENS[0],
        pad_token=SPECIAL_TOKENS[1],
    )
    tokenizer.add_tokens(list(SPECIAL_TOKENS), special_tokens=True)
    tokenizer.add_tokens(list(added_tokens))
    return tokenizer


def _model(
    family: Family, tokenizer: Any, seed: int, width: int, layers: int, vision_layers: int
) -> Any:
    config = _PARTS[family].config(
        text_config=_text_settings(family, tokenizer, width, layers),
        vision_config=_vision_settings(family, width, vision_layers),
        tie_word_embeddings=False,
        **{
            f"{name}_token_id": tokenizer.convert_tokens_to_ids(token)
            for name, token in _NAMED_TOKENS.items()
        },
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _PARTS[family].model(config)


def _text_settings(family: Family, tokenizer: Any, width: int, layers: int) -> dict[str, Any]:
    head = width // HEADS
    quarter = head // 8  # the sections of time, height and width make up half a head
    if family == "qwen2_5_vl":
        sections: dict[str, Any] = {"mrope_section": [quarter, quarter, 2 * quarter]}
    else:
        sections = {"mrope_section": [2 * quarter, quarter, quarter], "mrope_interleaved": True}
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "head_dim": head,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, **sections},
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.pad_token_id,
    }


def _vision_settings(family: Family, width: int, layers: int) -> dict[str, Any]:
    if family == "qwen2_5_vl":
        own: dict[str, Any] = {
            "window_size": 112,
            "fullatt_block_indexes": [layers - 1],
            "tokens_per_second": 2,
        }
    else:
        own = {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
    return {
        "depth": layers,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_heads": VISION_HEADS,
        "patch_size": _PARTS[family].patch,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": width,
        **own,
    }


def _processor(family: Family, tokenizer: Any, max_pixels: int) -> Any:
    parts = _PARTS[family]
    sizes: dict[str, Any] = {
        "size": {"shortest_edge": MIN_PIXELS, "longest_edge": max_pixels},
        "patch_size": parts.patch,
        "temporal_patch_size": 2,
        "merge_size": 2,
    }
    return parts.processor(
        image_processor=Qwen2VLImageProcessor(**sizes),
        video_processor=parts.video_processor(**sizes),
        tokenizer=tokenizer,
        chat_template=CHAT_TEMPLATE,
    )
