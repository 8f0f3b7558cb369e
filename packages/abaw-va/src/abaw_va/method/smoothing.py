"""Moving averages, and the windows that overlap along a video."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def smooth(values: Float[Tensor, " n *columns"], reach: int) -> Float[Tensor, " n *columns"]:
    """Moving average, mean(values[max(0, t - reach) : t + reach + 1]); cut at both ends.

    By prefix sums in float64: the time does not depend on `reach`.

    Args:
        values: one row per frame.
        reach: frames on each side, 0 or more; 0 changes nothing.
    """
    if reach == 0 or not len(values):
        return values
    # torch adds up three times as fast as numpy; numpy is quicker with the few frames at the ends.
    prefix = values.detach().cpu().cumsum(dim=0, dtype=torch.float64).numpy()
    frames, columns = len(prefix), prefix.ndim - 1
    reach = min(reach, frames - 1)
    mean = np.empty_like(prefix)
    mean[: frames - reach] = prefix[reach:]
    mean[frames - reach :] = prefix[-1]
    mean[reach + 1 :] -= prefix[: frames - reach - 1]
    # Frames in the windows that an end cuts: from the first one on, and from the last one back.
    cut = np.minimum(np.arange(reach + 1, 2 * reach + 1), frames).reshape(-1, *(1,) * columns)
    last = max(reach, frames - reach)
    mean[:reach] /= cut
    mean[reach:last] /= 2 * reach + 1
    mean[last:] /= cut[: frames - last][::-1]
    return torch.from_numpy(mean).to(values)


def smooth_and_clip(
    values: Float[Tensor, " n *columns"], reach: int
) -> Float[Tensor, " n *columns"]:
    """Smooth raw predictions, then limit to [-1, 1]; in the other order peaks would lose weight."""
    return smooth(values, reach).clamp(-1.0, 1.0)


def windows(frames: int, length: int, hop: int) -> Int[Tensor, "windows 2"]:
    """Windows over a video: starts 0, hop, 2 hop, ...; ends min(start + length, frames).

    The last window is the first one whose start + length lies beyond the video's end, so that a
    video of exactly `length` frames has a second, shorter one.

    Args:
        frames: frames of the video, at least 1.
        length: frames of a window.
        hop: frames between two starts, 1 to `length`.
    """
    last = max(0, (frames - length) // hop + 1)
    starts = torch.arange(last + 1) * hop
    starts = starts[
        starts < frames
    ]  # with hop = length, a last window may begin where the video ends
    return torch.stack((starts, (starts + length).clamp(max=frames)), dim=1)
