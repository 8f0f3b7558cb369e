"""Depth from a single picture, by the models of transformers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch.nn import functional

from shared_core.errors import CheckpointError, UsageError
from shared_core.extras import require

Picture = UInt8[np.ndarray, "height width 3"]

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class DepthModel:
    """A model that sees how near things are; larger is nearer.

    Args:
        name: a local folder, or a hub id, which needs a revision.
        revision: commit of the hub repository.
        device: where it runs.
        precision: number format of its weights.

    Raises:
        UsageError: a hub id without the commit that is meant, or a folder with one.
        CheckpointError: nothing is there, or it is no depth estimation model.
        MissingExtraError: transformers is not installed.
    """

    def __init__(
        self,
        name: str,
        *,
        revision: str | None = None,
        device: str = "cpu",
        precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    ) -> None:
        local = Path(name).is_dir()
        if local and revision is not None:
            raise UsageError(f"{name} is a folder here; a revision is for models on the hub.")
        if not local and not re.fullmatch("[0-9a-f]{7,40}", revision or ""):
            raise UsageError(
                f"depth model {name}: there is no such folder, and a hub id needs the commit that is "
                "meant, not a branch, so that the weights cannot change: --revision, or "
                "--depth-revision."
            )
        transformers = require("transformers", "depth", "gaze-da")
        from safetensors import SafetensorError

        # Said outright, for at a terminal transformers would otherwise ask whether to run foreign code.
        options = {"revision": revision, "trust_remote_code": False}
        try:
            self._processor: Any = transformers.AutoImageProcessor.from_pretrained(name, **options)
            self._model: Any = transformers.AutoModelForDepthEstimation.from_pretrained(
                name, **options, use_safetensors=True, dtype=_TYPES[precision]
            )
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            reason = str(error).strip().split("\n")[0]
            raise CheckpointError(
                name,
                f"it cannot be loaded ({reason})",
                expected="a depth estimation model of transformers with its image processor",
            ) from error
        self._model.eval().to(device)
        self.name = name if revision is None else f"{name}@{revision}"
        self._device = device

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[Picture]) -> list[Float32[np.ndarray, "height width"]]:
        """Depth at the size of each picture, in the model's own unit.

        Pictures that the model's processor brings to one size are worked on in one pass, whatever
        their own. The result is enlarged as MiDaS's own tools do: bicubic, without aligned corners.

        Args:
            pictures: RGB, of one size or of several.
        """
        inputs = [
            self._processor(images=picture, return_tensors="pt")["pixel_values"]
            for picture in pictures
        ]
        found: dict[int, np.ndarray] = {}
        for shape in dict.fromkeys(one.shape for one in inputs):
            places = [place for place, one in enumerate(inputs) if one.shape == shape]
            values = torch.cat([inputs[place] for place in places])
            values = values.to(self._device, self._model.dtype)
            predicted = self._model(pixel_values=values).predicted_depth.float()
            for place, depth in zip(places, predicted, strict=True):
                size = pictures[place].shape[:2]
                enlarged = functional.interpolate(
                    depth[None, None], size, mode="bicubic", align_corners=False
                )
                found[place] = enlarged[0, 0].cpu().numpy()
        return [found[place] for place in range(len(pictures))]
