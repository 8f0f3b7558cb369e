"""Positions of the text after a video: transformers' own, or those that Qwen2.5-VL was trained with.

A token has a position in time, height and width. Those of a video that starts at s are

    t_i = s + floor(i * second_per_grid * tokens_per_second),    h, w = s + place in the grid

and text goes on at max(t, h, w) + 1 in the original. transformers goes on at s + max(height, width) of
the grid, so that the text after a long video lies in the middle of it. For images, where t = s, both
agree; so they do for Qwen3-VL, which gives each frame a grid of its own.
"""

from __future__ import annotations

from types import MethodType
from typing import Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor

from refine_iqa.model.loading import bare

Rope = Literal["library", "original"]

_VIDEO = 2  # in mm_token_type_ids; 0 is text, 1 an image
_PADDED = 1  # position of what no token attends to


def set_rope(model: Any, rope: Rope) -> None:
    """Choose the positions of a model, bare or with adapters; they hold until they are chosen again."""
    inner = bare(model).model
    inner.__dict__.pop("get_rope_index", None)
    if rope == "original" and inner.config.model_type == "qwen2_5_vl":
        inner.get_rope_index = MethodType(_original_index, inner)


def original_positions(
    types: Int[Tensor, " length"],
    grids: list[tuple[int, int, int]],
    intervals: list[float],
    merge: int,
) -> Int[Tensor, "3 length"]:
    """Positions in time, height and width of one prompt, as the model was trained.

    Args:
        types: 0 for text, 1 for a place of an image, 2 for one of a video.
        grids: patches of each image or video in time, height and width, in the order of the prompt.
        intervals: positions between two steps in time, of each.
        merge: patches on each side that make one token.
    """
    kinds, lengths = torch.unique_consecutive(types, return_counts=True)
    visuals = iter(zip(grids, intervals, strict=True))
    parts: list[Tensor] = []
    start = 0
    for kind, length in zip(kinds.tolist(), lengths.tolist(), strict=True):
        if kind == 0:
            part = torch.arange(length).expand(3, -1)
        else:
            (time, height, width), interval = next(visuals)
            steps = (torch.arange(time) * interval).long()
            rows, columns = torch.arange(height // merge), torch.arange(width // merge)
            part = torch.stack(torch.meshgrid(steps, rows, columns, indexing="ij")).flatten(1)
        parts.append(part + start)
        start = int(parts[-1].max()) + 1
    return torch.cat(parts, dim=1)


def _original_index(
    inner: Any,
    input_ids: Tensor,
    mm_token_type_ids: Tensor,
    image_grid_thw: Tensor | None = None,
    video_grid_thw: Tensor | None = None,
    second_per_grid_ts: Tensor | None = None,
    attention_mask: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """What stands in for `get_rope_index`.

    Returns:
        Positions [3, B, L], and how far the next position is ahead of the number of tokens [B, 1]. These
        are a row's own, without padding, as the library counts: cached decoding adds them up so.
    """
    vision = inner.config.vision_config
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    images = iter([] if image_grid_thw is None else image_grid_thw.tolist())
    videos = iter([] if video_grid_thw is None else video_grid_thw.tolist())
    seconds = iter(
        [] if second_per_grid_ts is None else torch.as_tensor(second_per_grid_ts).tolist()
    )
    positions = torch.full((3, *input_ids.shape), _PADDED, dtype=torch.long)
    deltas = []
    for row, (row_types, row_mask) in enumerate(
        zip(mm_token_type_ids.cpu(), mask.bool().cpu(), strict=True)
    ):
        types = row_types[row_mask]
        kinds = [kind for kind in torch.unique_consecutive(types).tolist() if kind]
        grids = [tuple(next(videos if kind == _VIDEO else images)) for kind in kinds]
        intervals = [
            vision.tokens_per_second * next(seconds, 1.0) if kind == _VIDEO else 0.0
            for kind in kinds
        ]
        found = original_positions(types, grids, intervals, vision.spatial_merge_size)
        positions[:, row, row_mask] = found
        deltas.append(int(found.max()) + 1 - len(types))
    device = input_ids.device
    return positions.to(device), torch.tensor(deltas, device=device).unsqueeze(1)
