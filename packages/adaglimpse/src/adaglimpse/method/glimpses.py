"""From an action to the patches of a glimpse: where it lies, and its pixels, for a whole batch at once."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from adaglimpse.config import PATCH


def glimpse_boxes(
    actions: Float[Tensor, "B 3"],
    *,
    grid: int,
    image_size: tuple[int, int],
    max_ratio: float = 1.0,
) -> Int64[Tensor, "B p 4"]:
    """Boxes (y1, x1, y2, x2) of the patches of glimpses, row by row.

    With actions (y, x, z), the glimpse has the side S = z (S_max - S_min) + S_min, S_min = 16 grid,
    S_max = max_ratio min(H, W), and its corner lies at y (H - S), x (W - S); all are rounded down.
    Its cells have the side floor(S / grid), but those of the last row and of the last column what is
    left over, both ways.

    Args:
        actions: each number from 0 to 1.
        grid: cells along a side.
        image_size: height and width in pixels.
        max_ratio: side of the largest glimpse, as a share of the shorter side.

    Raises:
        ValueError: an action is not finite or outside [0, 1]; names its row.
    """
    _require_actions(actions)
    height, width = image_size
    smallest, largest = PATCH * grid, min(height, width) * max_ratio
    y, x, z = actions.unbind(dim=1)
    size = z * (largest - smallest) + smallest
    top, left = (y * (height - size)).floor().long(), (x * (width - size)).floor().long()
    side = size.floor().long()
    cell = side // grid
    last = side - cell * (grid - 1)
    place = torch.arange(grid, device=actions.device)
    rows, columns = (i.flatten() for i in torch.meshgrid(place, place, indexing="ij"))
    at_the_end = (rows == grid - 1) | (columns == grid - 1)
    sides = torch.where(at_the_end, last.unsqueeze(1), cell.unsqueeze(1))
    y1 = top.unsqueeze(1) + rows * cell.unsqueeze(1)
    x1 = left.unsqueeze(1) + columns * cell.unsqueeze(1)
    return torch.stack((y1, x1, y1 + sides, x1 + sides), dim=-1)


def _require_actions(actions: Tensor) -> None:
    inside = (actions >= 0) & (actions <= 1)  # False for NaN
    if not bool(inside.all()):
        row = int((~inside.all(dim=1)).nonzero()[0])
        raise ValueError(
            f"action {row}: expected y, x and z from 0 to 1, found {actions[row].tolist()}"
        )


def crop_patches(
    images: Float[Tensor, "B C H W"], boxes: Int64[Tensor, "B n 4"], side: int = PATCH
) -> Float[Tensor, "B n C side side"]:
    """The pixels inside boxes, each resized to side x side: bilinear, without antialiasing.

    Sampling stays inside each box, as if it had been cut out first. All boxes of all images are made
    by the same few operations on the images' device.

    Args:
        images: any values.
        boxes: (y1, x1, y2, x2) in pixels inside the image, ends exclusive; any number of them.
        side: of the result.
    """
    batch, channels, _, width = images.shape
    pixels, share = _samples(boxes, side)
    rows, columns = pixels.flatten(3).unbind(dim=2)
    index = (rows * width).unsqueeze(-1) + columns.unsqueeze(-2)
    index = index.flatten(1).unsqueeze(1).expand(-1, channels, -1)
    around = images.flatten(2).gather(2, index)
    # of each sample the four pixels around it, above or below it, left or right of it
    around = around.view(batch, channels, boxes.shape[1], side, 2, side, 2)
    down, across = share.to(images.dtype).unsqueeze(1).unbind(dim=3)
    above, below = around.unbind(dim=4)
    left, right = torch.lerp(above, below, down[..., None, None]).unbind(dim=-1)
    return torch.lerp(left, right, across.unsqueeze(-2)).transpose(1, 2)


def _samples(
    boxes: Int64[Tensor, "B n 4"], side: int
) -> tuple[Int64[Tensor, "B n 2 side 2"], Float[Tensor, "B n 2 side"]]:
    """Of each sample down and across a box: the pixels before and after it, and its place between them."""
    start, end = boxes[..., :2, None], boxes[..., 2:, None]
    length = end - start
    middle = torch.arange(0.5, side, device=boxes.device)
    place = (middle * (length / side) - 0.5).clamp(min=0)
    before = place.long()  # rounded down, since it is not negative
    after = torch.minimum(before + 1, length - 1)
    return start.unsqueeze(-1) + torch.stack((before, after), dim=-1), place.frac()


def seen_share(boxes: Int64[Tensor, "B n 4"], image_size: tuple[int, int]) -> Float[Tensor, " B"]:
    """Share of an image's pixels that lie in at least one box, at any resolution.

    Args:
        boxes: (y1, x1, y2, x2) in pixels; those of -1 count nothing.
        image_size: height and width.
    """
    height, width = image_size
    y1, x1, y2, x2 = (edge.unsqueeze(-1) for edge in boxes.unbind(dim=-1))
    row = torch.arange(height, device=boxes.device)
    column = torch.arange(width, device=boxes.device)
    rows, columns = (row >= y1) & (row < y2), (column >= x1) & (column < x2)
    # a pixel is seen where the product of its row's and its column's membership is not 0
    return (rows.float().transpose(1, 2) @ columns.float() > 0).float().mean(dim=(1, 2))


def pixel_share(steps: int, grid: int, image_size: tuple[int, int]) -> float:
    """Pixels that are looked at after some glimpses, as a share of the image's.

    A glimpse costs (16 grid) squared, whatever its scale.
    """
    return steps * (PATCH * grid) ** 2 / (image_size[0] * image_size[1])
