"""What the network looks at."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class Views(NamedTuple):
    """One person in one picture, a row each; S is the network's input size.

    Attributes:
        images: the picture, RGB, normalised by ImageNet's mean and deviation.
        depths: its depth in the colours of magma, in [0, 1].
        masks: 1 inside the head box, 0 elsewhere.
        faces: the head box cut out, normalised as the picture.
    """

    images: Float[Tensor, "batch 3 S S"]
    depths: Float[Tensor, "batch 3 S S"]
    masks: Float[Tensor, "batch 1 S S"]
    faces: Float[Tensor, "batch 3 S S"]
