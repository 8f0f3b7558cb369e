"""From a sample to an item, and from items to a batch; pictures travel as uint8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from gaze_da.config import Augment, Compat, Network, Reading
from gaze_da.data import augmentation
from gaze_da.data.augmentation import UNCHANGED, Change
from gaze_da.data.pictures import depth_colours, face, read_depth, recoloured, shrunk
from gaze_da.data.samples import Placed, Sample
from gaze_da.method.boxes import Box, Point
from gaze_da.method.targets import head_mask, heat_map
from shared_core.data.images import image_size, open_picture
from shared_core.data.loader import PADDING, ItemKey
from shared_core.data.rows import Rows

ABSENT = -1.0
"""Coordinate of a gaze that is not there."""

OUTSIDE: Point = (ABSENT, ABSENT)
"""How a target outside of the picture is written."""

DETAIL = 0.75
"""Share of the network's resolution that reduced decoding keeps at least."""

MOST_DRAWS = 16
"""Numbers that an item draws at most."""


@dataclass(frozen=True)
class GazeBatch(Rows):
    """People in pictures, a row each.

    Attributes:
        image: the picture, squeezed to a square; its colours are not changed yet.
        depth: its depth in the colours of magma.
        face: the head box cut out.
        mask: True inside the head box.
        heatmap: what is to be learnt; zeros where the target is outside.
        eyes: fractions; one a gaze, the rows beyond are -1.
        gazes: fractions; (-1, -1) where there is none.
        inside: whether the target is in the picture.
        size: width and height of what is seen of the picture, in pixels.
        colour: factors of brightness, contrast and saturation that are still to be applied.
        valid: False for rows that fill up a batch and count nothing.
        index: number of the sample; -1 where not valid.
        names: what each row is, for messages.
    """

    image: UInt8[Tensor, "B 3 S S"]
    depth: UInt8[Tensor, "B 3 S S"]
    face: UInt8[Tensor, "B 3 S S"]
    mask: Bool[Tensor, "B 1 S S"]
    heatmap: Float[Tensor, "B O O"]
    eyes: Float[Tensor, "B K 2"]
    gazes: Float[Tensor, "B K 2"]
    inside: Bool[Tensor, "B 1"]
    size: Int64[Tensor, "B 2"]
    colour: Float[Tensor, "B 3"]
    valid: Bool[Tensor, " B"]
    index: Int64[Tensor, " B"]
    names: tuple[str, ...]


Item = GazeBatch
"""One person: a batch of one row."""


class GazeDataset:
    """People of a data set as the network is to see them.

    Args:
        samples: the people.
        network: sizes of pictures and heat maps.
        reading: how boxes and depth are read.
        augment: random changes; None: none, as for validation and test.
        compat: quirks to keep.
        reduced_decoding: decode JPEGs that are much too large at a reduced scale.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        network: Network,
        reading: Reading,
        *,
        augment: Augment | None = None,
        compat: Compat | None = None,
        reduced_decoding: bool = False,
    ) -> None:
        self.samples = samples
        self.network = network
        self.reading = reading
        self.augment = augment
        self.compat = compat or Compat()
        self.reduced_decoding = reduced_decoding
        self._leaked: float | None = None

    def __len__(self) -> int:
        """Number of people."""
        return len(self.samples)

    def __getitem__(self, key: ItemKey) -> Item:
        """One person; index -1 gives a row that counts nothing.

        Raises:
            DataError: a file is missing or damaged, or the head box cannot be used.
        """
        if key.index == PADDING:
            return self._padding()
        sample = self.samples[key.index]
        width, height = image_size(sample.image)
        placed = sample.placed(width, height, self._reading())
        change = Change()
        if self.compat.outside_crop and not sample.inside and sample.dataset == "gazefollow":
            placed = replace(placed, gazes=(OUTSIDE,))  # as if that were a point of the picture
        if self.augment is not None:
            numbers = torch.rand(MOST_DRAWS, generator=key.generator(), dtype=torch.float64)
            placed, change = self._changed(sample, placed, iter(numbers.tolist()).__next__)
        return self._item(key.index, sample, placed, change, (width, height))

    def _reading(self) -> Reading:
        if self._leaked is None:
            return self.reading
        return Reading(
            head_expansion=self._leaked, symmetric_expansion=self.reading.symmetric_expansion
        )

    def _changed(
        self, sample: Sample, placed: Placed, draw: augmentation.Draw
    ) -> tuple[Placed, Change]:
        assert self.augment is not None  # noqa: S101 - who calls this has looked
        if sample.dataset == "videoattentiontarget":
            return augmentation.videoattentiontarget(placed, draw, self.augment, self.compat)
        placed, change, jitter = augmentation.gazefollow(placed, draw, self.augment, self.compat)
        if self.compat.jitter_leak and sample.dataset == "gazefollow" and jitter is not None:
            self._leaked = jitter
        return placed, change

    def _item(
        self, index: int, sample: Sample, placed: Placed, change: Change, size: tuple[int, int]
    ) -> Item:
        side = self.network.input_size
        picture, scale = self._picture(sample, change, size)
        colour = change.colour
        window = change.window
        if self.compat.colour_order and colour != UNCHANGED:
            if window is not None:
                x0, y0, x1, y1 = window
                picture = picture.crop((round(x0), round(y0), round(x1), round(y1)))
                window = None
            picture, colour = recoloured(picture, colour), UNCHANGED
        head = _in_the_picture(placed, change.mirrored, window)
        of_file = None if window is None else _scaled(window, scale)
        cells = self.network.output_size
        return GazeBatch(
            image=shrunk(picture, side, of_file, mirrored=change.mirrored)[None],
            depth=self._depth(sample, change, size)[None],
            face=face(picture, _scaled(head, scale), side, mirrored=change.mirrored)[None],
            mask=_tensor(head_mask(placed.head, placed.width, placed.height, side))[None, None],
            heatmap=_tensor(self._heat_map(placed.gazes, cells))[None],
            eyes=_points(placed.eye_points()),
            gazes=_points(placed.gazes if sample.inside else (OUTSIDE,)),
            inside=torch.tensor([[sample.inside]]),
            size=torch.tensor([[int(placed.width), int(placed.height)]]),
            colour=torch.tensor([colour], dtype=torch.float32),
            valid=torch.tensor([True]),
            index=torch.tensor([index]),
            names=(sample.name,),
        )

    def _heat_map(self, gazes: Sequence[Point], cells: int) -> np.ndarray:
        points = [(x * cells, y * cells) for x, y in gazes]
        found = heat_map(points, cells, compat=self.compat.heat_map)
        return (found / max(1, len(points))).astype(np.float32)

    def _picture(
        self, sample: Sample, change: Change, size: tuple[int, int]
    ) -> tuple[Image.Image, tuple[float, float]]:
        """The decoded file, and its width and height as shares of the file's."""
        enough = self._enough(change, size)
        # Boxes count the pixels of the file as it is stored, whatever EXIF says.
        picture = open_picture(sample.image, upright=False, at_least=enough)
        return picture, (picture.width / size[0], picture.height / size[1])

    def _enough(self, change: Change, size: tuple[int, int]) -> tuple[int, int] | None:
        """Width and height of the whole picture at which what is seen has almost the network's size."""
        if not self.reduced_decoding:
            return None
        x0, y0, x1, y1 = change.window or (0, 0, *size)
        side = DETAIL * self.network.input_size
        return (round(side * size[0] / (x1 - x0)), round(side * size[1] / (y1 - y0)))

    def _depth(self, sample: Sample, change: Change, size: tuple[int, int]) -> Tensor:
        side = self.network.input_size
        if self.reading.depth == "none":
            return torch.zeros(3, side, side, dtype=torch.uint8)
        depth = read_depth(sample.depth, at_least=self._enough(change, size))
        if self.compat.alignment:
            return depth_colours(depth, side)
        window = (
            None if change.window is None else _scaled(change.window, (1 / size[0], 1 / size[1]))
        )
        return depth_colours(depth, side, window, mirrored=change.mirrored)

    def _padding(self) -> Item:
        side, cells = self.network.input_size, self.network.output_size
        picture = torch.zeros(1, 3, side, side, dtype=torch.uint8)
        absent = _points((OUTSIDE,))
        return GazeBatch(
            image=picture,
            depth=picture,
            face=picture,
            mask=torch.zeros(1, 1, side, side, dtype=torch.bool),
            heatmap=torch.zeros(1, cells, cells),
            eyes=absent,
            gazes=absent,
            inside=torch.tensor([[False]]),
            size=torch.ones(1, 2, dtype=torch.int64),
            colour=torch.ones(1, 3),
            valid=torch.tensor([False]),
            index=torch.tensor([PADDING]),
            names=("padding",),
        )


def collate(items: Sequence[Item]) -> GazeBatch:
    """Rows below one another; eyes and gazes padded to the most that one of them has."""
    most = max(item.gazes.shape[1] for item in items)

    def joined(name: str) -> Tensor:
        rows = [getattr(item, name) for item in items]
        if name in ("eyes", "gazes"):
            rows = [
                torch.nn.functional.pad(row, (0, 0, 0, most - row.shape[1]), value=ABSENT)
                for row in rows
            ]
        return torch.cat(rows)

    names = tuple(chain.from_iterable(item.names for item in items))
    return GazeBatch(
        **{f.name: joined(f.name) for f in fields(GazeBatch) if f.name != "names"}, names=names
    )


def _in_the_picture(placed: Placed, mirrored: bool, window: Box | None) -> Box:
    """The head box in pixels of the picture before it was mirrored and cut."""
    x0, y0, x1, y1 = placed.head
    if mirrored:
        x0, x1 = placed.width - x1, placed.width - x0
    left, top = (0.0, 0.0) if window is None else window[:2]
    return (x0 + left, y0 + top, x1 + left, y1 + top)


def _scaled(box: Box, scale: tuple[float, float]) -> Box:
    return (box[0] * scale[0], box[1] * scale[1], box[2] * scale[0], box[3] * scale[1])


def _points(points: Sequence[Point]) -> Float[Tensor, "1 K 2"]:
    return torch.tensor([points], dtype=torch.float32)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array)
