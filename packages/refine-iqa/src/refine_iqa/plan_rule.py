"""What an update costs by rule, for a model of which this machine has no more than its sizes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from refine_iqa.config import TrainConfig
from refine_iqa.model.loading import CONFIG
from shared_core.errors import CheckpointError
from shared_core.launch.plan_measure import Cost

PROMPT_WORDS = 200
"""Tokens of a question and its template."""

_BYTES = {"float32": 4, "bfloat16": 2}
_FP32 = 4
_KEPT_OF_A_LAYER = 34
"""Bytes that a layer keeps for the backward pass, for each token and channel in half precision, without
those of attention (Korthikanti et al., 2022, equation 1)."""


class _Sizes(NamedTuple):
    """Parameters of the parts, and what decides on the activations."""

    language: int
    vision: int
    width: int
    layers: int
    vocabulary: int
    pixels_a_token: int


def by_rule(config: TrainConfig) -> Cost:
    """What an update of `config.batch_size` prompts costs, from the sizes of the model alone.

    Every completion is counted as long as it may be. A matrix product counts two FLOPs a weight and
    token; a backward pass twice a forward pass; attention's own products are left out.

    Raises:
        CheckpointError: there is no `config.json`.
    """
    sizes = _sizes(Path(config.model))
    weights = sizes.language + sizes.vision
    trained = _trained(config, sizes)
    picture = config.max_pixels // sizes.pixels_a_token
    completions = config.batch_size * config.num_generations
    tokens = completions * (picture + PROMPT_WORDS + config.max_completion_length)
    # Four pixels of the grid make a token, and the tower sees each of them.
    looks = (config.batch_size if config.share_vision else completions) * 4 * picture
    one_pass = 2.0 * (sizes.language * tokens + sizes.vision * looks)
    kind = _BYTES[config.weights_dtype]
    at_once = -(-tokens // config.accumulate)
    passes = 1 + 3 + int(config.gradient_checkpointing) + int(config.beta > 0)
    return Cost(
        unit="prompts",
        items=config.batch_size,
        flops=passes * one_pass,
        working_bytes=trained * kind + _activations(config, sizes, at_once),
        batch_bytes=4.0 * config.batch_size * config.max_pixels * 3,
        weights=weights,
        trained=trained,
        parameter_bytes=weights * kind,
        gradient_bytes=trained * kind,
        optimizer_bytes=2 * trained * _FP32,
        held_bytes=weights * kind if config.beta and not config.lora.rank else 0,
        read_bytes=0.5 * config.max_pixels,
        streamed_bytes=float(config.max_completion_length * sizes.language * kind),
        updates_per_batch=config.num_iterations,
        notes=(
            f"by rule from {CONFIG}, nothing measured: {passes} passes over {tokens:,} tokens; "
            "every completion as long as it may be; half a byte a pixel on the disk",
        ),
    )


def _activations(config: TrainConfig, sizes: _Sizes, tokens: int) -> float:
    """Bytes kept for the backward pass of the tokens of a micro-batch, with the logits in fp32."""
    wide = 1 if config.precision == "fp32" else 0
    layer = _KEPT_OF_A_LAYER * (1 + wide) * tokens * sizes.width
    borders = (2 + 2 * wide) * tokens * sizes.width * sizes.layers
    kept = borders + layer if config.gradient_checkpointing else sizes.layers * layer
    said = config.batch_size // config.accumulate * config.num_generations
    return kept + 2.0 * _FP32 * said * config.max_completion_length * sizes.vocabulary


def _trained(config: TrainConfig, sizes: _Sizes) -> int:
    """Parameters that learn; an adapter has two thin matrices for each layer's square ones."""
    if config.lora.rank:
        return 2 * config.lora.rank * sizes.width * sizes.layers * len(config.lora.targets)
    return sizes.language + (0 if config.freeze_vision else sizes.vision)


def _sizes(folder: Path) -> _Sizes:
    if not (folder / CONFIG).is_file():
        raise CheckpointError(
            folder,
            "nothing to plan with",
            expected=f"a folder with the model's {CONFIG}",
            remedy="Download the model, or that file alone, and give its folder: --model FOLDER.",
        )
    settings = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(  # type: ignore[no-untyped-call]
            settings, trust_remote_code=False
        )
    vision = sum(weight.numel() for weight in model.model.visual.parameters())
    text = settings.text_config
    return _Sizes(
        language=sum(weight.numel() for weight in model.parameters()) - vision,
        vision=vision,
        width=text.hidden_size,
        layers=text.num_hidden_layers,
        vocabulary=text.vocab_size,
        pixels_a_token=(settings.vision_config.patch_size * 2) ** 2,
    )
