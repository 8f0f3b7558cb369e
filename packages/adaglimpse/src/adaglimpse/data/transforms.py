"""How pictures and masks are resized, and changed at random for training.

Pictures are Pillow's, 8 bits in and out; every draw comes from the generator that is handed in.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torchvision.transforms.v2 import InterpolationMode, functional

from adaglimpse.config import Task
from adaglimpse.data.masks import IGNORED

Resampling = Image.Resampling

Kind = Literal["flip", "crop", "three", "segmentation"]
Shear = Literal["constant", "symmetric"]
Pair = tuple[Image.Image, Image.Image | None]
"""A picture and its mask, the class of each pixel."""

ASPECT = (3 / 4, 4 / 3)
"""Widths of a random crop, in heights."""
CROP_ATTEMPTS = 10
"""Random crops that are tried before a crop at the centre is taken."""
JITTER = 0.3
"""Most that brightness, contrast and saturation change, as a share."""
ROTATION = 10.0
"""Largest rotation for segmentation, degrees."""
TRANSLATION = 0.05
"""Largest shift for segmentation, as a share of the picture's side."""
SHEAR = 5.0
"""Shear along x for segmentation, degrees."""
SOLARISED = 128
"""Values from here on are inverted by solarisation."""
BLUR = (0.1, 2.0)
"""Smallest and largest radius of the blur, pixels."""

_COLOURS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


class Crop(NamedTuple):
    """A part of a picture, in whole pixels."""

    top: int
    left: int
    height: int
    width: int


def evaluation(
    picture: Image.Image, mask: Image.Image | None, size: tuple[int, int], *, task: Task
) -> Pair:
    """Resize to a size, whatever the aspect: bicubic for segmentation, else bilinear; masks nearest.

    Args:
        picture: RGB.
        mask: of the picture's size.
        size: height and width, pixels.
        task: what the picture is for.
    """
    smooth = Resampling.BICUBIC if task == "segmentation" else Resampling.BILINEAR
    return _resized(picture, mask, size, smooth)


def training(
    picture: Image.Image,
    mask: Image.Image | None,
    size: tuple[int, int],
    generator: torch.Generator,
    *,
    kind: Kind,
    shear: Shear,
) -> Pair:
    """Change a picture at random, and its mask with it, and resize both.

    Args:
        picture: RGB.
        mask: of the picture's size; None: there is none.
        size: height and width, pixels.
        generator: what is drawn from.
        kind: `flip`: mirror or not. `crop`: a part of 20 to 100 % of the area, mirrored or not. `three`: a
            part of 8 to 100 %, mirrored or not, then grey, solarised or blurred, and other colours.
            `segmentation`: mirrored or not, turned, shifted and sheared, other colours, a part of 75
            to 100 %, then grey, solarised or blurred.
        shear: `constant`: every picture is sheared by 5 degrees; `symmetric`: by -5 to 5.
    """
    draws = _Draws(generator)
    if kind == "flip":
        picture, mask = _mirrored(picture, mask, draws)
        return _resized(picture, mask, size, Resampling.BILINEAR)
    if kind == "segmentation":
        picture, mask = _mirrored(picture, mask, draws)
        picture, mask = _moved(picture, mask, draws, shear)
        picture = _recoloured(picture, draws)
        picture, mask = _cropped(picture, mask, size, draws, (0.75, 1.0), Resampling.BILINEAR)
        return _one_of_three(picture, draws), mask
    share = (0.2, 1.0) if kind == "crop" else (0.08, 1.0)
    picture, mask = _cropped(picture, mask, size, draws, share, Resampling.BICUBIC)
    picture, mask = _mirrored(picture, mask, draws)
    if kind == "three":
        picture = _recoloured(_one_of_three(picture, draws), draws)
    return picture, mask


class _Draws:
    """Numbers out of a generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def between(self, low: float, high: float) -> float:
        """A number, uniform from `low` to `high`."""
        share = torch.rand((), generator=self.generator, dtype=torch.float64).item()
        return low + (high - low) * share

    def below(self, count: int) -> int:
        """A whole number from 0 to `count` - 1."""
        return int(torch.randint(count, (), generator=self.generator))

    def order(self, count: int) -> list[int]:
        """The numbers from 0 to `count` - 1 in any order."""
        return torch.randperm(count, generator=self.generator).tolist()


def random_crop(
    width: int, height: int, share: tuple[float, float], generator: torch.Generator
) -> Crop:
    """A part of a picture whose area and aspect are drawn; where ten draws do not fit, its centre.

    Args:
        width: of the picture, pixels.
        height: of the picture, pixels.
        share: least and most of the picture's area.
        generator: what is drawn from.
    """
    draws = _Draws(generator)
    for _ in range(CROP_ATTEMPTS):
        area = width * height * draws.between(*share)
        # Narrow and wide are equally likely, so the logarithm is what is uniform.
        aspect = math.exp(draws.between(math.log(ASPECT[0]), math.log(ASPECT[1])))
        wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < high <= height:
            top, left = draws.below(height - high + 1), draws.below(width - wide + 1)
            return Crop(top, left, high, wide)
    high = min(height, round(width / ASPECT[0]))
    wide = min(width, round(height * ASPECT[1]))
    return Crop((height - high) // 2, (width - wide) // 2, high, wide)


def _cropped(
    picture: Image.Image,
    mask: Image.Image | None,
    size: tuple[int, int],
    draws: _Draws,
    share: tuple[float, float],
    smooth: Image.Resampling,
) -> Pair:
    top, left, height, width = random_crop(picture.width, picture.height, share, draws.generator)
    part = (left, top, left + width, top + height)
    return _resized(picture.crop(part), None if mask is None else mask.crop(part), size, smooth)


def _resized(
    picture: Image.Image, mask: Image.Image | None, size: tuple[int, int], smooth: Image.Resampling
) -> Pair:
    """Resized to a height and a width; the filter is as wide as the shrinking asks for."""
    height, width = size
    if mask is not None:
        mask = mask.resize((width, height), Resampling.NEAREST)
    return picture.resize((width, height), smooth), mask


def _mirrored(picture: Image.Image, mask: Image.Image | None, draws: _Draws) -> Pair:
    """Left and right exchanged, in half of the cases."""
    if draws.between(0.0, 1.0) >= 0.5:
        return picture, mask
    turned = Image.Transpose.FLIP_LEFT_RIGHT
    return picture.transpose(turned), None if mask is None else mask.transpose(turned)


def _moved(picture: Image.Image, mask: Image.Image | None, draws: _Draws, shear: Shear) -> Pair:
    """Turned, shifted and sheared; what comes in from outside is black, and does not count."""
    angle = draws.between(-ROTATION, ROTATION)
    most = [TRANSLATION * side for side in picture.size]
    shift = [round(draws.between(-side, side)) for side in most]
    slant = SHEAR if shear == "constant" else draws.between(-SHEAR, SHEAR)

    def moved(image: Image.Image, how: InterpolationMode, fill: int) -> Image.Image:
        result: Image.Image = functional.affine(
            image, angle, shift, 1.0, [slant, 0.0], interpolation=how, fill=[fill]
        )
        return result

    turned = moved(picture, InterpolationMode.BICUBIC, 0)
    return turned, None if mask is None else moved(mask, InterpolationMode.NEAREST, IGNORED)


def _one_of_three(picture: Image.Image, draws: _Draws) -> Image.Image:
    """Grey, solarised or blurred."""
    which = draws.below(3)
    if which == 0:
        return picture.convert("L").convert("RGB")
    if which == 1:
        return ImageOps.solarize(picture, SOLARISED)
    return picture.filter(ImageFilter.GaussianBlur(draws.between(*BLUR)))


def _recoloured(picture: Image.Image, draws: _Draws) -> Image.Image:
    """Brightness, contrast and saturation changed, in any order."""
    for which in draws.order(len(_COLOURS)):
        picture = _COLOURS[which](picture).enhance(draws.between(1 - JITTER, 1 + JITTER))
    return picture
