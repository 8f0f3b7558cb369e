"""The network as an ONNX file, for programs that have no PyTorch."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from gaze_da.model.network import GazeModel
from gaze_da.model.views import Views
from shared_core.config import to_dict
from shared_core.data.atomic import replacing
from shared_core.errors import DataError, UsageError
from shared_core.extras import require

INPUTS = ("image", "depth", "mask", "face")
"""In the order of `Views`, and made as its fields are."""

OUTPUTS = ("heatmap", "inout")
"""Heat maps [B, 1, O, O], and logits [B, 1]."""

LARGEST = 2**31 - 2**20
"""Bytes of weights that one file holds; the rest of it is small."""

TOLERANCE = 1e-4
"""Largest difference from PyTorch that passes, as a share of the largest value."""


class _Predicting(nn.Module):
    """Only what the file gives, from tensors instead of a `Views`."""

    def __init__(self, model: GazeModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, image: Tensor, depth: Tensor, mask: Tensor, face: Tensor
    ) -> tuple[Tensor, Tensor]:
        output = self.model(Views(image, depth, mask, face))
        return output.heatmaps, output.inout


def export(model: GazeModel, path: Path) -> float:
    """Write a network as one ONNX file, for batches of any size, checked against PyTorch.

    The file's metadata holds the config as JSON under `config`; it says how input has to be read,
    and whether the in/out head is trained.

    Args:
        model: any; its in/out logit is exported whether it was trained or not.
        path: file to write; nothing is written where the check fails.

    Returns:
        The largest difference from PyTorch, as a share of the largest value.

    Raises:
        DataError: the file cannot be written, or computes something else.
        UsageError: the network is too large for one file.
        MissingExtraError: the extra `onnx` is not installed.
    """
    for module in ("onnx", "onnxscript", "onnxruntime"):
        require(module, "onnx", "gaze-da")
    network = _Predicting(model.for_evaluation().cpu()).eval()
    _refuse_large(network)
    size = model.config.network.input_size
    rows = (
        "batch",
        *[torch.export.Dim.DYNAMIC] * (len(INPUTS) - 1),
    )  # the first one names them all
    program = torch.onnx.export(
        network,
        _example(2, size),
        input_names=INPUTS,
        output_names=OUTPUTS,
        dynamic_shapes=tuple({0: dimension} for dimension in rows),
        dynamo=True,
        verbose=False,
    )
    program = cast("torch.onnx.ONNXProgram", program)  # None comes from the old exporter only
    program.model.metadata_props["config"] = json.dumps(to_dict(model.config))
    with replacing(path) as temporary:
        program.save(temporary, external_data=False)
        differences = [_difference(network, temporary, _example(rows, size)) for rows in (1, 3)]
        difference = float(np.max(differences))  # which is NaN where any is
        if not difference <= TOLERANCE:
            raise DataError(
                path,
                f"{difference:.1e}",
                expected=f"a network that differs from PyTorch by at most {TOLERANCE:g} of the "
                "largest value",
                remedy="It was not written. Another version of onnxscript or onnxruntime may do.",
            )
    return difference


def _refuse_large(network: nn.Module) -> None:
    """One file is one protocol buffer, which ends at 2 GiB."""
    size = sum(weight.nbytes for weight in network.parameters())
    if size >= LARGEST:
        raise UsageError(
            f"the network has {size / 2**30:.1f} GiB of weights, and one ONNX file holds less than 2"
        )


def _example(rows: int, size: int) -> tuple[Tensor, ...]:
    """Noise with a head box of its own in each row."""
    generator = torch.Generator().manual_seed(rows)
    image, depth, face = (torch.randn(rows, 3, size, size, generator=generator) for _ in range(3))
    masks = torch.zeros(rows, 1, size, size)
    for row, mask in enumerate(masks):
        start = size * row // (rows + 1)
        mask[:, start : start + size // 4, start : start + size // 4] = 1
    return image, depth.sigmoid(), masks, face


@torch.inference_mode()
def _difference(network: nn.Module, path: Path, example: tuple[Tensor, ...]) -> float:
    """Between onnxruntime and PyTorch, of each output as a share of its largest value; the larger."""
    runtime: Any = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(OUTPUTS, dict(zip(INPUTS, (x.numpy() for x in example), strict=True)))
    expected = [output.numpy() for output in network(*example)]
    differences = [
        np.abs(f - e).max() / np.abs(e).max() for f, e in zip(found, expected, strict=True)
    ]
    return float(np.max(differences))
