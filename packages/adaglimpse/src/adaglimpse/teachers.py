"""Teachers: networks that see the whole image, and whose predictions a backbone learns from glimpses.

A ViT for classification (DeiT III, Touvron et al., 2022) and DeepLabV3 for segmentation (Chen et al.,
2017). A file that does not fill its network is refused: a teacher that is partly random teaches noise.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.segmentation import deeplabv3_resnet101

from adaglimpse.config import SIZES, Sizes
from adaglimpse.foreign import MASK_CLASSES, backbone_size, part, read_foreign, square_side
from adaglimpse.model.mae import ElasticMae
from shared_core.checkpoints.weights import load_into

_FEWEST = 0.95  # share of a teacher's weights that its file must hold
_SIDE = 224
_COUNTER = ".num_batches_tracked"  # which files of old versions of torch lack

_WRAPPERS = (
    "teacher_model._orig_mod.",
    "teacher_model.",
    "teacher._orig_mod.",
    "teacher.",
    "_orig_mod.",
    "module.",
    "",
)
"""What a teacher's names begin with: in checkpoints of a pupil, compiled, distributed, or plain."""

_Teacher = TypeVar("_Teacher", bound=nn.Module)
_log = logging.getLogger(__name__)


class VitTeacher(ElasticMae):
    """A ViT on whole images, with position codes of its own.

    Args:
        sizes: widths, depths and heads.
        classes: of its predictions.
        side: of the square images that it was trained on, pixels.
    """

    def __init__(self, sizes: Sizes, classes: int, side: int = _SIDE) -> None:
        super().__init__(sizes, "none", (side, side), head_classes=classes)
        self.side = side

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C"]:
        """Logits; normalised images of another size are resized to that of the training."""
        if images.shape[-2:] != (self.side, self.side):
            images = functional.interpolate(
                images, (self.side, self.side), mode="bilinear", antialias=True
            )
        x = self.patch_embed.proj(images).flatten(2).transpose(1, 2) + self.pos_embed
        x = torch.cat((self.cls_token.expand(len(x), -1, -1).to(x.dtype), x), dim=1)
        for block in self.blocks:
            x = block(x)
        return self.classify(self.norm(x))


class DeepLab(nn.Module):
    """DeepLabV3 on a ResNet-101 (torchvision's), with random weights.

    Args:
        classes: of its predictions.
    """

    def __init__(self, classes: int = MASK_CLASSES) -> None:
        super().__init__()
        network = deeplabv3_resnet101(weights=None, weights_backbone=None, num_classes=classes)
        self.backbone = network.backbone
        self.classifier = network.classifier

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C H W"]:
        """Logits of every pixel of normalised images."""
        logits = self.classifier(self.backbone(images)["out"])
        return functional.interpolate(logits, images.shape[-2:], mode="bilinear")


def vit_teacher(path: Path, num_classes: int | None = None) -> VitTeacher:
    """The ViT whose weights a file holds, frozen and in evaluation mode.

    Args:
        path: `.pth`, Lightning checkpoint or safetensors file.
        num_classes: that it must have; None: as many as it has.

    Raises:
        CheckpointError: the file is unsafe or damaged, or is of another network; lists the names.
    """
    state = teacher_weights(path)
    sizes = SIZES[backbone_size(state, path)]
    side = square_side(state.get("pos_embed")) or _SIDE
    classes = num_classes or len(state.get("head.bias", range(1)))
    with torch.random.fork_rng(devices=[]):  # loading must not move anyone's random numbers
        teacher = VitTeacher(sizes, classes, side)
    return _taught(teacher, state, path, "head.")


def deeplab_teacher(path: Path, classes: int | None = None) -> DeepLab:
    """The DeepLabV3 whose weights a file holds, frozen and in evaluation mode.

    Args:
        path: `.pth`, Lightning checkpoint or safetensors file.
        classes: that it must have; None: as many as it has.

    Raises:
        CheckpointError: the file is unsafe or damaged, or is of another network; lists the names.
    """
    state = teacher_weights(path)
    with torch.random.fork_rng(devices=[]):  # loading must not move anyone's random numbers
        teacher = DeepLab(classes or len(state.get("classifier.4.bias", range(1))))
    return _taught(teacher, state, path, "classifier.")


def new_deeplab(classes: int, initial: Path | None = None) -> DeepLab:
    """A DeepLabV3 to be trained, in training mode.

    Args:
        classes: of its predictions.
        initial: weights of its beginning: torchvision's ResNet-101 (the classifier begins at random),
            or a DeepLabV3 of as many classes; None: all random, from torch's global generator.

    Raises:
        CheckpointError: the file is unsafe or damaged, or holds something else; lists the names.
    """
    network = DeepLab(classes)
    if initial is None:
        return network
    state = teacher_weights(initial)
    if "layer1.0.conv1.weight" in state:
        resnet = {name: value for name, value in state.items() if not name.startswith("fc.")}
        load_into(network.backbone, resnet, path=initial, optional=(f"*{_COUNTER}",))
    else:
        _fill(network, state, initial, "classifier.")
    return network


def teacher_weights(path: Path) -> dict[str, Tensor]:
    """Weights of a teacher by plain names, whatever it was wrapped in.

    Raises:
        CheckpointError: the file is unsafe or damaged, or holds no weights.
    """
    return part(read_foreign(path).state, *_WRAPPERS)


def _taught(teacher: _Teacher, state: Mapping[str, Tensor], path: Path, head: str) -> _Teacher:
    _fill(teacher, state, path, head)
    return teacher.eval().requires_grad_(False)


def _fill(network: nn.Module, state: Mapping[str, Tensor], path: Path, head: str) -> None:
    """Take what the network has; of its names but those of the head 5 percent may be missing."""
    own = [name for name in network.state_dict() if not name.endswith(_COUNTER)]
    missing = [name for name in own if name not in state]
    whole = len(missing) <= (1 - _FEWEST) * len(own)
    bearable = whole and not any(name.startswith(head) for name in missing)
    known = {name: value for name, value in state.items() if name in network.state_dict()}
    load_into(network, known, path=path, optional=(f"*{_COUNTER}", *(missing if bearable else ())))
    if missing:
        _log.warning("%s: not in it, left at random: %s", path, ", ".join(missing))
