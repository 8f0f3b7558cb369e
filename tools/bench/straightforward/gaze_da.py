"""What a straightforward program does for gaze targets, written from the published descriptions.

Evaluation enlarges every heat map with scikit-image and sorts all pixels for scikit-learn's ROC. A
training item colours its depth map and changes its colours at full size, then shrinks and normalises.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageEnhance
from skimage.transform import resize
from sklearn.metrics import roc_auc_score
from torch import Tensor

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE = 224
Box = tuple[float, float, float, float]


def auc(heatmap: np.ndarray, gazes: np.ndarray, width: int, height: int) -> float:
    """GazeFollow's AUC of one heat map against all annotators' points (fractions)."""
    target = np.zeros((height, width))
    for x, y in gazes:
        target[min(int(y * height), height - 1), min(int(x * width), width - 1)] = 1
    enlarged = resize(  # type: ignore[no-untyped-call]
        heatmap, (height, width), order=1, mode="reflect", anti_aliasing=True
    )
    return float(roc_auc_score(target.ravel(), enlarged.ravel()))


def distances_and_angles(heatmap: np.ndarray, eye: np.ndarray, gazes: np.ndarray) -> list[float]:
    """Minimum and average distance, minimum and average angle in degrees."""
    row, column = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
    point = np.array([column / heatmap.shape[1], row / heatmap.shape[0]])
    to_gazes = [float(np.linalg.norm(point - gaze)) for gaze in gazes]
    angles = [_angle(point - eye, gaze - eye) for gaze in gazes]
    average = float(np.linalg.norm(point - gazes.mean(axis=0)))
    return [min(to_gazes), average, min(angles), float(np.mean(angles))]


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-6)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def training_item(
    picture: bytes,
    depth: bytes,
    head: Box,
    crop: tuple[int, int, int, int],
    factors: Sequence[float],
    table: np.ndarray,
) -> tuple[Tensor, Tensor, Tensor]:
    """Picture, depth and face of one item: cropped, mirrored, recoloured; float, normalised.

    Args:
        picture: JPEG file.
        depth: JPEG file of the same size.
        head: pixels.
        crop: pixels.
        factors: brightness, contrast, saturation.
        table: uint8 [256, 3], colours of depth.
    """
    image = Image.open(io.BytesIO(picture)).convert("RGB").crop(crop)
    coloured = Image.fromarray(table[np.asarray(Image.open(io.BytesIO(depth)).convert("L"))])
    coloured = coloured.crop(crop).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for change, factor in zip(
        (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), factors, strict=True
    ):
        image = change(image).enhance(factor)
    _, top, right, _ = crop
    x0, y0, x1, y1 = head
    face = image.crop((int(right - x1), int(y0 - top), int(right - x0), int(y1 - top)))
    return _normalised(image), _tensor(coloured), _normalised(face)


def _tensor(image: Image.Image) -> Tensor:
    small = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255


def _normalised(image: Image.Image) -> Tensor:
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
    return (_tensor(image) - mean) / deviation
