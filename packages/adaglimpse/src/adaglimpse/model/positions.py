"""Where a patch lies, as the backbone is told: sines and cosines of its box, of any place and size."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from adaglimpse.config import PATCH

_BASE = 10_000.0


def grid_boxes(height: int, width: int, side: int = PATCH) -> Int64[Tensor, "N 4"]:
    """Boxes (y1, x1, y2, x2) of the squares that tile an image, row by row; what is left over is not."""
    rows, columns = torch.arange(height // side) * side, torch.arange(width // side) * side
    top, left = torch.meshgrid(rows, columns, indexing="ij")
    corner = torch.stack((top, left), dim=-1).reshape(-1, 2)
    return torch.cat((corner, corner + side), dim=1)


def box_positions(boxes: Int64[Tensor, "*B 4"], width: int) -> Float32[Tensor, "*B E"]:
    """Position code of boxes: [s(y1) | s(x1) | s(y2) | s(x2)] of their corners in patches.

    s(v) = [sin(v w_0), ..., sin(v w_{q-1}) | cos(v w_0), ..., cos(v w_{q-1})] with q = width / 8 and
    w_i = 10000^(-i/q). A box of the native patch grid has the code of that place of the grid.

    Args:
        boxes: corners in pixels.
        width: of the code, a multiple of 8.
    """
    count = width // 8
    step = torch.arange(count, device=boxes.device, dtype=torch.float32) / count
    angles = (boxes.float() / PATCH).unsqueeze(-1) * _BASE**-step
    return torch.cat((angles.sin(), angles.cos()), dim=-1).flatten(-2)


def decoder_positions(rows: int, columns: int, width: int) -> Float32[Tensor, "N1 E"]:
    """Position code of the decoder: MAE's (He et al., 2022), of column then row, after a row of zeros.

    Angles are computed in float64 from float32 frequencies, as the published weights expect.

    Args:
        rows: of patches.
        columns: of patches.
        width: of the code, a multiple of 4.
    """
    count = width // 4
    omega = (1.0 / _BASE ** (np.arange(count, dtype=np.float32) / count)).astype(np.float32)
    row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    halves = []
    for place in (column, row):
        angles = place.reshape(-1, 1).astype(np.float64) * omega
        halves += [np.sin(angles), np.cos(angles)]
    code = np.concatenate(halves, axis=1)
    return torch.from_numpy(np.concatenate((np.zeros((1, width)), code))).float()
