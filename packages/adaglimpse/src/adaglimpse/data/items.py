"""From a sample to an item, and from items to a batch; pictures travel as uint8."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from PIL import Image
from torch import Tensor

from adaglimpse.config import PATCH, Task
from adaglimpse.data.layouts import Sample
from adaglimpse.data.masks import ADE20K_CLASSES, IGNORED, class_indices, read_labels
from adaglimpse.data.patches import Sampler
from adaglimpse.data.transforms import Kind, Pair, Shear, evaluation, training
from shared_core.data.images import open_picture
from shared_core.data.loader import PADDING, ItemKey, generator
from shared_core.data.rows import Rows

MEAN = (0.485, 0.456, 0.406)
"""Of ImageNet's red, green and blue, on [0, 1]."""
DEVIATION = (0.229, 0.224, 0.225)
"""Their standard deviation."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageBatch(Rows):
    """Images of one size, a row each.

    Attributes:
        images: RGB, resized.
        labels: class of each image; -1: none.
        masks: class of each pixel, 255 where it does not count; 0 x 0 unless the task is segmentation.
        boxes: y1, x1, y2, x2 of random patches, pixels, ends exclusive; none unless for pretraining.
        indices: number of the sample; -1 where not valid.
        valid: False for rows that fill up a batch and count nothing.
        names: of the samples, for messages and results.
    """

    images: UInt8[Tensor, "B 3 H W"]
    labels: Int64[Tensor, " B"]
    masks: UInt8[Tensor, "B h w"]
    boxes: Int64[Tensor, "B P 4"]
    indices: Int64[Tensor, " B"]
    valid: Bool[Tensor, " B"]
    names: tuple[str, ...]


Item = ImageBatch
"""One image: a batch of one row."""


class ImageDataset:
    """Images of a data set as the network is to see them.

    Args:
        samples: the images.
        task: segmentation brings masks.
        size: height and width that images are resized to, pixels.
        kind: random changes, see `transforms.training`; None: none, as for validation and test.
        shear: of the changes for segmentation.
        sampler: where random patches come from; None: there are none.
        labels_above: ADE20K: a label above 150 does not count, or becomes the last class.
        in_memory: keep what was decoded.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        task: Task,
        size: tuple[int, int],
        kind: Kind | None = None,
        shear: Shear = "constant",
        sampler: Sampler | None = None,
        labels_above: Literal["ignore", "clip"] = "ignore",
        in_memory: bool = False,
    ) -> None:
        self.samples = samples
        self.task = task
        self.size = size
        self.kind = kind
        self.shear = shear
        self.sampler = sampler
        self.labels_above = labels_above
        self._told = False
        self._decoded: dict[int, Pair] | None = {} if in_memory else None

    def __len__(self) -> int:
        """Number of images."""
        return len(self.samples)

    def __getitem__(self, key: ItemKey) -> Item:
        """One image; index -1 gives a row that counts nothing.

        Raises:
            DataError: a file is missing or damaged, or a mask has another size than its image.
        """
        if key.index == PADDING:
            return self._padding()
        sample = self.samples[key.index]
        picture, mask = self._pictures(key.index)
        draws = key.generator()
        if self.kind is None:
            picture, mask = evaluation(picture, mask, self.size, task=self.task)
        else:
            picture, mask = training(
                picture, mask, self.size, draws, kind=self.kind, shear=self.shear
            )
        return ImageBatch(
            images=torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()[None],
            labels=torch.tensor([sample.label]),
            masks=_no_masks() if mask is None else torch.from_numpy(np.array(mask))[None],
            boxes=_no_boxes() if self.sampler is None else self.sampler.boxes(draws)[None],
            indices=torch.tensor([key.index]),
            valid=torch.tensor([True]),
            names=(sample.name,),
        )

    def _pictures(self, index: int) -> Pair:
        """The picture of a sample and, for segmentation, its classes."""
        if self._decoded is not None and index in self._decoded:
            return self._decoded[index]
        sample, segmented = self.samples[index], self.task == "segmentation"
        # Boxes and masks count the pixels of a file as it is stored, whatever EXIF says.
        picture = open_picture(sample.image, upright=not segmented)
        mask = self._mask(sample, picture) if segmented else None
        if self._decoded is not None:
            self._decoded[index] = picture, mask
        return picture, mask

    def _mask(self, sample: Sample, picture: Image.Image) -> Image.Image:
        """Classes of a sample's pixels; where there is no mask, none of them counts."""
        if sample.mask is None:
            return Image.new("L", picture.size, IGNORED)
        labels = read_labels(sample.mask, sample.image, picture.size)
        if not self._told and labels.max(initial=0) > ADE20K_CLASSES:
            self._told = True
            meaning = "become the last class" if self.labels_above == "clip" else "do not count"
            _log.warning(
                "%s: it holds label %d; labels above %d %s, here and in other masks.",
                sample.mask, labels.max(), ADE20K_CLASSES, meaning,
            )  # fmt: skip
        return Image.fromarray(class_indices(labels, self.labels_above))

    def _padding(self) -> Item:
        patches = 0 if self.sampler is None else self.sampler.count
        masks = torch.full((1, *self.size), IGNORED, dtype=torch.uint8)
        return ImageBatch(
            images=torch.zeros(1, 3, *self.size, dtype=torch.uint8),
            labels=torch.tensor([-1]),
            masks=masks if self.task == "segmentation" else _no_masks(),
            boxes=torch.tensor([0, 0, PATCH, PATCH]).expand(1, patches, 4),
            indices=torch.tensor([PADDING]),
            valid=torch.tensor([False]),
            names=("padding",),
        )


def _no_masks() -> UInt8[Tensor, "1 0 0"]:
    return torch.zeros(1, 0, 0, dtype=torch.uint8)


def _no_boxes() -> Int64[Tensor, "1 0 4"]:
    return torch.zeros(1, 0, 4, dtype=torch.int64)


def collate(items: Sequence[Item]) -> ImageBatch:
    """Items below one another."""
    tensors = [field.name for field in fields(ImageBatch) if field.name != "names"]
    return ImageBatch(
        **{name: torch.cat([getattr(item, name) for item in items]) for name in tensors},
        names=tuple(chain.from_iterable(item.names for item in items)),
    )


def normalised(images: UInt8[Tensor, "*B 3 H W"]) -> Float32[Tensor, "*B 3 H W"]:
    """Images as the network takes them: ImageNet's mean is 0, its deviation 1."""
    mean, deviation = _statistics(images)
    return images.float().div_(255).sub_(mean).div_(deviation)


def denormalised(images: Float[Tensor, "*B 3 H W"]) -> Float32[Tensor, "*B 3 H W"]:
    """Images as pixels again: 0..255, clipped, not rounded."""
    mean, deviation = _statistics(images)
    return ((images.float() * deviation + mean) * 255).clamp(0, 255)


def _statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    def column(values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, device=images.device)[:, None, None]

    return column(MEAN), column(DEVIATION)


@dataclass(frozen=True)
class SampledPlan:
    """A number of items an epoch, drawn with replacement, anew for each epoch.

    An item that an epoch draws twice is changed at random in the same way both times: what it draws
    depends on its number and on the epoch.

    Args:
        size: number of items.
        num_samples: items of an epoch.
        batch_size: items of a global batch.
        seed: together with the epoch, it decides what is drawn.
        drop_last: leave out a last batch that is not full.
    """

    size: int
    num_samples: int
    batch_size: int
    seed: int
    drop_last: bool = False

    def batches(self, epoch: int) -> Sequence[Sequence[int]]:
        """The global batches of this epoch."""
        drawn = torch.randint(
            self.size, (self.num_samples,), generator=generator(self.seed, epoch)
        ).tolist()
        end = self.num_samples
        if self.drop_last:
            end -= self.num_samples % self.batch_size
        return [drawn[i : min(i + self.batch_size, end)] for i in range(0, end, self.batch_size)]
