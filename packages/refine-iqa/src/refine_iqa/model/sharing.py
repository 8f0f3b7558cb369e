"""What the completions of a group have in common is computed once: their pictures.

A group is G copies of one prompt. Its pictures are processed once (`SharedPictures`), and the vision
tower runs once for each (`share_vision`), in generation, in scoring and in the update alike; the
gradient of a picture's features is the sum over its copies, as it is without sharing.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from PIL.Image import Image
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import BatchFeature
from transformers.image_utils import make_flat_list_of_images


class Patches(NamedTuple):
    """A picture as the vision tower takes it."""

    pixels: Tensor
    """Patches, normalised. [p, d]"""
    grid: Tensor
    """Their number in time, height and width. [3]"""


class SharedPictures:
    """An image processor that works on each distinct picture once; otherwise the one it wraps.

    Pictures come in the size that the model sees (`data.pictures`), and are not resized again.

    Two pictures are the same if they are one object (`data.pictures.Picture` stays one when a prompt
    is copied). The latest call's pictures are kept, for trl asks for them twice at every step.

    Attributes:
        processed: pictures that were worked on so far.
    """

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._held: dict[tuple[int, str], tuple[Image, Patches]] = {}
        self.processed = 0

    def __call__(self, images: Any, **kwargs: Any) -> BatchFeature:
        """Process pictures, nested or not, as the wrapped processor does, into tensors."""
        kwargs = {**kwargs, "do_resize": False}
        kwargs.pop("return_tensors", None)
        flat: Any = make_flat_list_of_images(images)
        options = repr(sorted(kwargs.items()))
        keys = [(id(picture), options) for picture in flat]
        held = {key: self._held[key] for key in keys if key in self._held}
        new = {key: picture for key, picture in zip(keys, flat, strict=True) if key not in held}
        if new:
            worked = self._worked(list(new.values()), kwargs)
            held |= {
                key: (picture, patches)
                for (key, picture), patches in zip(new.items(), worked, strict=True)
            }
        self._held = held  # with the pictures themselves: an id is one's own only while it lives
        copies = [held[key][1] for key in keys]
        return BatchFeature(
            {
                "pixel_values": torch.cat([patches.pixels for patches in copies]),
                "image_grid_thw": torch.stack([patches.grid for patches in copies]),
            }
        )

    def _worked(self, pictures: list[Image], kwargs: dict[str, Any]) -> list[Patches]:
        self.processed += len(pictures)
        made = self._processor(pictures, return_tensors="pt", **kwargs)
        grids = made["image_grid_thw"]
        parts = torch.split(made["pixel_values"], grids.prod(dim=-1).tolist())
        return [Patches(*both) for both in zip(parts, grids, strict=True)]

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A copy is the wrapped processor: so a processor is saved as if nothing were shared."""
        return copy.deepcopy(self._processor, memo)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)


def distinct(
    pixels: Float[Tensor, "patches d"], grids: Int[Tensor, "n 3"]
) -> tuple[list[int], list[int]]:
    """Which of n pictures differ.

    Returns:
        The places of the first picture of each kind, and the kind of every picture.
    """
    blocks = torch.split(pixels, grids.prod(dim=-1).tolist())
    sums = torch.stack([block.sum(dtype=torch.float64) for block in blocks]).tolist()
    shapes = [tuple(grid) for grid in grids.tolist()]
    firsts: list[int] = []
    kinds: list[int] = []
    seen: dict[Hashable, list[int]] = {}
    for place, block in enumerate(blocks):
        alike = seen.setdefault((shapes[place], sums[place]), [])
        kind = next((k for k in alike if torch.equal(blocks[firsts[k]], block)), None)
        if kind is None:
            kind = len(firsts)
            firsts.append(place)
            alike.append(kind)
        kinds.append(kind)
    return firsts, kinds


def share_vision(model: nn.Module) -> list[RemovableHandle]:
    """Let the vision tower of a Qwen-VL model run once for each distinct picture of a batch.

    Returns:
        The handles of its hooks; removing them ends the sharing.
    """
    tower = vision_tower(model)
    pending: list[tuple[list[int], Tensor]] = []

    def reduce(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        pixels, grids = args[0], kwargs["grid_thw"]
        firsts, kinds = distinct(pixels, grids)
        pending.append((kinds, grids[firsts]))
        if len(firsts) == len(kinds):
            return args, kwargs
        blocks = torch.split(pixels, grids.prod(dim=-1).tolist())
        chosen = torch.cat([blocks[place] for place in firsts])
        return (chosen, *args[1:]), {**kwargs, "grid_thw": grids[firsts]}

    def repeat(_: nn.Module, _args: Any, _kwargs: Any, output: Any) -> Any:
        kinds, grids = pending.pop()
        if len(grids) == len(kinds):
            return output
        patches: list[int] = grids.prod(dim=-1).tolist()
        merged = [count // tower.spatial_merge_size**2 for count in patches]
        output.last_hidden_state = _copies(output.last_hidden_state, patches, kinds)
        output.pooler_output = _copies(output.pooler_output, merged, kinds)
        if getattr(output, "deepstack_features", None) is not None:  # Qwen3-VL
            output.deepstack_features = [
                _copies(features, merged, kinds) for features in output.deepstack_features
            ]
        return output

    return [
        tower.register_forward_pre_hook(reduce, with_kwargs=True),
        tower.register_forward_hook(repeat, with_kwargs=True),
    ]


def vision_tower(model: nn.Module) -> Any:
    """The part of a Qwen-VL model, bare or with adapters, that sees pictures."""
    return next(part for name, part in model.named_modules() if name.rpartition(".")[2] == "visual")


def _copies(features: Tensor, sizes: Sequence[int], kinds: Sequence[int]) -> Tensor:
    """The features of every picture, from those of each kind."""
    blocks = torch.split(features, list(sizes))
    return torch.cat([blocks[kind] for kind in kinds])
