"""A model's evaluation graph for other programs: frames in, scores out."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from asal_vrvqa.model.network import QualityModel
from shared_core.data.atomic import replacing
from shared_core.errors import DataError
from shared_core.extras import require

TOLERANCE = 1e-4
"""Largest difference from the model that passes."""


class _Scores(nn.Module):
    """Only what the file gives."""

    def __init__(self, model: QualityModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Float[Tensor, "N 3 H W"]) -> Float[Tensor, " N"]:
        return self.model.frame_scores(frames).mean[:, 0]


def export(model: QualityModel, path: Path, form: Literal["onnx", "pt2"]) -> float:
    """Write a model that scores normalised frames [N, 3, H, W], any number at a time.

    Args:
        model: any.
        path: file to write.
        form: ONNX, or what torch.export saves.

    Returns:
        The largest difference from the model.

    Raises:
        DataError: it cannot be written, or computes something else; nothing is left then.
        MissingExtraError: ONNX is asked for, and the extra `onnx` is not installed.
    """
    network = _Scores(model.for_evaluation().cpu()).eval()
    size = (3, model.config.network.height, model.config.network.width)
    example = torch.randn(2, *size, generator=torch.Generator().manual_seed(0))
    shapes = ({0: torch.export.Dim("frames", min=1, max=1024)},)
    if form == "onnx":
        for module in ("onnx", "onnxscript", "onnxruntime"):
            require(module, "onnx", "asal-vrvqa")
    with torch.no_grad(), replacing(path) as temporary:
        expected = network(example)  # also makes the geometry's tables, which must not be traced
        program = torch.export.export(network, (example,), dynamic_shapes=shapes)
        if form == "pt2":
            buffer = io.BytesIO()
            torch.export.save(program, buffer)
            temporary.write_bytes(buffer.getvalue())
            found = torch.export.load(buffer).module()(example)
        else:
            written = torch.onnx.export(program, dynamo=True, verbose=False)
            if written is None:  # which comes from the old exporter only
                raise DataError(path, "no graph", expected="one from torch.onnx.export")
            written.save(temporary, external_data=False)
            found = _run_onnx(temporary, example)
        difference = float((found - expected).abs().max())
        if not difference <= TOLERANCE:
            raise DataError(
                path,
                f"{difference:.1e}",
                expected=f"a graph that differs from the model by at most {TOLERANCE:g}",
            )
    return difference


def _run_onnx(path: Path, example: Tensor) -> Tensor:
    runtime = require("onnxruntime", "onnx", "asal-vrvqa")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return torch.from_numpy(session.run(None, {name: example.numpy()})[0])
