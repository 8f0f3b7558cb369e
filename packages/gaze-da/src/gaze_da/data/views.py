"""From uint8 to what the network reads, on the batch's own device: colours and normalisation."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gaze_da.data.items import GazeBatch
from gaze_da.model.views import Views

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pictures in [0, 1], by channel."""

LUMA = (19595, 38470, 7471)
"""Shares of red, green and blue in grey (ITU-R BT.601), in 65 536ths, as Pillow has them."""


def views(batch: GazeBatch, *, channels_last: bool = False) -> Views:
    """What the network reads of a batch.

    Args:
        batch: on any device.
        channels_last: memory order of the pictures.
    """
    image, face = batch.image.float(), batch.face.float()
    if bool((batch.colour != 1).any()):
        image, face = recoloured(image, face, batch.colour)
    found = Views(
        images=_normalised(image),
        depths=batch.depth.float() / 255,
        masks=batch.mask.float(),
        faces=_normalised(face),
    )
    if channels_last:
        return Views(*(view.contiguous(memory_format=torch.channels_last) for view in found))
    return found


def normalised(picture: UInt8[Tensor, "B 3 S S"]) -> Float[Tensor, "B 3 S S"]:
    """Pictures as the network reads them."""
    return _normalised(picture.float())


def _normalised(picture: Tensor) -> Tensor:
    mean, deviation = (picture.new_tensor(v).view(3, 1, 1) * 255 for v in (MEAN, DEVIATION))
    return (picture - mean) / deviation


def recoloured(
    image: Float[Tensor, "B 3 S S"], face: Float[Tensor, "B 3 S S"], factors: Float[Tensor, "B 3"]
) -> tuple[Float[Tensor, "B 3 S S"], Float[Tensor, "B 3 S S"]]:
    """Brightness, contrast and saturation changed one after another, as Pillow's ImageEnhance does.

    Contrast moves away from the mean grey of the picture, for the face that was cut out of it too.

    Args:
        image: in [0, 255].
        face: in [0, 255].
        factors: brightness, contrast, saturation; 1 leaves as it is.
    """
    brightness, contrast, saturation = (f.view(-1, 1, 1, 1) for f in factors.unbind(dim=1))
    image, face = (_clamped(x * brightness) for x in (image, face))
    mean = (_grey(image).mean(dim=(1, 2, 3), keepdim=True) + 0.5).floor()
    image, face = (_clamped(mean + contrast * (x - mean)) for x in (image, face))
    image, face = (_clamped(_grey(x) + saturation * (x - _grey(x))) for x in (image, face))
    return image, face


def _grey(picture: Tensor) -> Tensor:
    shares = picture.new_tensor(LUMA).view(3, 1, 1)
    return ((picture * shares).sum(dim=1, keepdim=True) / 65536 + 0.5).floor()


def _clamped(picture: Tensor) -> Tensor:
    """Whole numbers, as a picture of bytes holds them after each change."""
    return picture.clamp(0, 255).floor()
