"""Random patches of an image, for pretraining the backbone without a policy."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

SMALLEST = 16
"""Side of the smallest random patch, pixels."""
LARGEST = 55
"""Side of the largest."""

UPSTREAM_KEY = 1_000_000_009
"""Key of the authors' stream of patches."""


@runtime_checkable
class Sampler(Protocol):
    """Where the patches of an item come from."""

    @property
    def count(self) -> int:
        """Patches of an item."""
        ...

    def boxes(self, generator: torch.Generator) -> Int64[Tensor, "P 4"]:
        """Boxes of an item's patches: y1, x1, y2, x2 in pixels, ends exclusive."""
        ...


class PatchSampler:
    """The whole image as a glimpse, then squares of any size at any place, as many as an episode has.

    Of an image that is not square, the first glimpse is the largest square at its centre.

    Args:
        num_glimpses: glimpses of an episode.
        grid: patches along a glimpse's side.
        image_size: height and width, pixels.
        smallest: side of the smallest random square, pixels.
        largest: side of the largest; an image that is smaller limits it.
    """

    def __init__(
        self,
        num_glimpses: int,
        grid: int,
        image_size: tuple[int, int],
        *,
        smallest: int = SMALLEST,
        largest: int = LARGEST,
    ) -> None:
        self.count = num_glimpses * grid**2
        self.image_size = image_size
        self.smallest = smallest
        self.largest = min(largest, *image_size)
        self._whole = whole_grid(grid, image_size)

    def boxes(self, generator: torch.Generator) -> Int64[Tensor, "P 4"]:
        """Boxes of an item's patches; each square that fits into the image can be drawn.

        Args:
            generator: what they are drawn from; it alone decides them.
        """
        count = self.count - len(self._whole)
        sides = torch.randint(self.smallest, self.largest + 1, (count,), generator=generator)
        # Rows and columns at which a square may begin: the last of them lets it end with the image.
        room = torch.tensor(self.image_size) - sides[:, None] + 1
        starts = (torch.rand(count, 2, generator=generator, dtype=torch.float64) * room).long()
        return torch.cat([self._whole, torch.cat([starts, starts + sides[:, None]], 1)])


class UpstreamStream:
    """The authors' patches: one stream that goes on from item to item, whatever the item.

    It reaches neither the last row nor the last column. A run that is resumed begins it anew, and
    each process has its own, the same as the others.

    Args:
        num_glimpses: glimpses of an episode.
        grid: patches along a glimpse's side.
        image_size: height and width, pixels.
    """

    def __init__(self, num_glimpses: int, grid: int, image_size: tuple[int, int]) -> None:
        self.count = num_glimpses * grid**2
        self.image_size = image_size
        self._whole = whole_grid(grid, image_size)
        self._rng = np.random.default_rng(UPSTREAM_KEY)

    def boxes(self, generator: torch.Generator) -> Int64[Tensor, "P 4"]:  # noqa: ARG002
        """The next boxes of the stream; the generator is not asked."""
        height, width = self.image_size
        sides = self._rng.integers(SMALLEST, LARGEST + 1, self.count - len(self._whole))
        ys = self._rng.integers(0, height - sides)
        xs = self._rng.integers(0, width - sides)
        drawn = np.stack([ys, xs, ys + sides, xs + sides], 1)
        return torch.cat([self._whole, torch.from_numpy(drawn)])


def whole_grid(grid: int, image_size: tuple[int, int]) -> Int64[Tensor, "p 4"]:
    """Boxes of the largest square at an image's centre, cut into patches, row by row."""
    height, width = image_size
    side = min(height, width) // grid
    first = torch.tensor([(height - side * grid) // 2, (width - side * grid) // 2])
    rows, columns = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    starts = first + side * torch.stack([rows, columns], -1).reshape(-1, 2)
    return torch.cat([starts, starts + side], 1)
