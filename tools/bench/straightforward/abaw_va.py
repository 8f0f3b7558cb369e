"""What a straightforward program does, written from the published description of the method.

Every feature of the set is in memory, a batch is whole videos padded to the longest, a network goes
through it chunk by chunk for as long as the longest video lasts, and a loop averages around each
frame. The network and its masks are ours, so that both sides compute the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from abaw_va.model.network import VaModel

Videos = Sequence[Float[np.ndarray, "frames columns"]]


def padded(videos: Videos) -> tuple[Float[Tensor, "B L columns"], Bool[Tensor, "B L"]]:
    """Videos side by side with zeros up to the longest, and which frames exist."""
    longest = max(len(video) for video in videos)
    batch = torch.zeros(len(videos), longest, videos[0].shape[1])
    present = torch.zeros(len(videos), longest, dtype=torch.bool)
    for row, video in enumerate(videos):
        batch[row, : len(video)] = torch.from_numpy(video)
        present[row, : len(video)] = True
    return batch, present


@torch.no_grad()
def predict(model: VaModel, videos: Videos, reach: Sequence[int]) -> list[np.ndarray]:
    """Smoothed and clipped predictions [frames, columns] of one batch; a `reach` per column."""
    features, present = padded(videos)
    batch = model.forward_videos(features, present).double().numpy()
    return [
        np.stack([smooth(column, w) for column, w in zip(rows.T, reach, strict=True)], 1)
        .clip(-1.0, 1.0)
        for rows in (batch[row, : len(video)] for row, video in enumerate(videos))
    ]  # fmt: skip


def smooth(values: Float[np.ndarray, " n"], reach: int) -> Float[np.ndarray, " n"]:
    """Moving average, a frame at a time."""
    n = len(values)
    return np.array([np.mean(values[max(0, t - reach) : min(n, t + reach + 1)]) for t in range(n)])


def train_epoch(
    model: VaModel,
    optimizer: torch.optim.Optimizer,
    features: Videos,
    labels: Videos,
    *,
    clip_norm: float,
) -> int:
    """One pass over one batch of videos, an update for each of its chunks; the count of updates."""
    inputs, present = padded(features)
    targets, _ = padded(labels)
    starts = range(0, inputs.shape[1], model.chunk_length)
    for start in starts:
        chunk = slice(start, start + model.chunk_length)
        there = present[:, chunk]
        output, _ = model(inputs[:, chunk], there)
        optimizer.zero_grad()
        loss = concordance_loss(output[there], targets[:, chunk][there])
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()
    return len(starts)


def concordance_loss(
    prediction: Float[Tensor, "n columns"], target: Float[Tensor, "n columns"]
) -> Float[Tensor, ""]:
    """1 - CCC over all frames, averaged over the columns."""
    p, y = prediction - prediction.mean(dim=0), target - target.mean(dim=0)
    shift = prediction.mean(dim=0) - target.mean(dim=0)
    spread = (p * p).mean(dim=0) + (y * y).mean(dim=0) + shift**2 + 1e-9
    return (1 - 2 * (p * y).mean(dim=0) / spread).mean()
