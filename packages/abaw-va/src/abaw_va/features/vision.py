"""Any image encoder of the transformers library on face crops: ViT, DINOv2, CLIP, ResNet, ..."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from abaw_va.features.base import FrameExtractor
from abaw_va.features.hub import from_pretrained, transformers


class VisionExtractor(FrameExtractor):
    """The encoder's pooled output; of encoders without one, the mean over the last hidden states.

    Args:
        source: folder, hub id, or hub id@revision.
        name: of the feature.
        device: where the network runs.

    Raises:
        MissingExtraError: transformers is not installed.
        CheckpointError: no such model.
    """

    def __init__(self, source: Path | str, *, name: str = "vision", device: str = "cpu") -> None:
        library = transformers()
        self.name = name
        self._device = device
        self._prepare = from_pretrained(library.AutoImageProcessor, source)
        self.network = from_pretrained(library.AutoModel, source).float().to(device).eval()
        self.size = _side(self._prepare)
        # What an encoder gives is not stated in one place for all kinds: one empty picture tells.
        self.width = self(torch.zeros(1, 3, self.size, self.size, dtype=torch.uint8)).shape[1]

    @torch.inference_mode()
    def __call__(self, crops: UInt8[Tensor, "faces 3 size size"]) -> Float32[Tensor, "faces width"]:
        """Rows of RGB crops."""
        ready = self._prepare(images=list(crops), return_tensors="pt")
        return self._pooled(ready["pixel_values"].to(self._device)).flatten(1).float().cpu()

    def _pooled(self, pixels: Tensor) -> Tensor:
        two_towers = hasattr(
            self.network, "get_image_features"
        )  # CLIP and its kind: pictures and text
        output = (self.network.get_image_features if two_towers else self.network)(
            pixel_values=pixels
        )
        if isinstance(output, Tensor):
            return output
        if output.get("pooler_output") is not None:
            pooled: Tensor = output.pooler_output
            return pooled
        hidden: Tensor = output.last_hidden_state
        return hidden.mean(dim=1) if hidden.ndim == 3 else hidden.mean(dim=(2, 3))


def _side(processor: Any) -> int:
    """The side of the pictures that a processor makes, in pixels."""
    for sizes in (getattr(processor, "crop_size", None), processor.size):
        for key in ("height", "shortest_edge"):
            side = sizes.get(key) if sizes else None
            if side:
                return int(side)
    return 224
