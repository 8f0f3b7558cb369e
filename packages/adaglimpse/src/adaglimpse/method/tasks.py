"""What is predicted from the glimpses, how good it is for one image, and what teaches the backbone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from adaglimpse.config import Task
from adaglimpse.data.items import denormalised
from adaglimpse.model.mae import ElasticMae

IGNORED = 255
"""Label of pixels that do not count."""

_DISTILLATION = 10.0
"""Weight of a segmentation teacher's divergence."""


@dataclass(frozen=True)
class Target:
    """What a prediction is held against, for B images.

    Attributes:
        images: normalised pixels.
        labels: class of each image.
        masks: class of each pixel; 255 does not count.
        teacher: logits of a teacher, of the classes or of every pixel; None: there is none.
    """

    images: Float[Tensor, "B 3 H W"]
    labels: Int64[Tensor, " B"]
    masks: UInt8[Tensor, "B h w"]
    teacher: Float[Tensor, "B C *HW"] | None = None

    def rows(self, index: Tensor) -> Target:
        """The targets of some of the images."""
        teacher = None if self.teacher is None else self.teacher[index]
        return Target(self.images[index], self.labels[index], self.masks[index], teacher)


@runtime_checkable
class TaskHead(Protocol):
    """A task: from tokens to a prediction, from a prediction to scores and to a loss."""

    def predict(
        self, mae: ElasticMae, tokens: Float[Tensor, "B L1 D"], valid: Tensor | None = None
    ) -> Tensor:
        """The prediction from the encoder's tokens; `valid` [B, L] says which patches are there."""
        ...

    def score(self, prediction: Tensor, target: Target, *, training: bool) -> Float[Tensor, " B"]:
        """How good each prediction is; higher is better. In evaluation it may not know the answer."""
        ...

    def loss(self, prediction: Tensor, target: Target) -> Float[Tensor, ""]:
        """What the backbone minimises."""
        ...


@dataclass(frozen=True)
class Reconstruction:
    """The whole image, in normalised pixels [B, 3, H, W].

    The score is minus the root mean squared error of the image in levels, 0 to 255, clipped.

    Attributes:
        reduction: of the loss over images: the authors' `sum`, or `mean`.
    """

    reduction: Literal["sum", "mean"] = "sum"

    def predict(self, mae: ElasticMae, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """Normalised pixels."""
        return mae.reconstruct(tokens, valid)

    def score(self, prediction: Tensor, target: Target, *, training: bool) -> Tensor:  # noqa: ARG002
        """Minus the RMSE of each image."""
        error = denormalised(prediction.float()) - denormalised(target.images)
        return -error.square().mean(dim=(1, 2, 3)).sqrt()

    def loss(self, prediction: Tensor, target: Target) -> Tensor:
        """Mean squared error of the normalised pixels of an image, over the images' sum or mean."""
        errors = (prediction.float() - target.images).square().mean(dim=(1, 2, 3))
        return errors.sum() if self.reduction == "sum" else errors.mean()


@dataclass(frozen=True)
class Classification:
    """Logits of the classes [B, C].

    The score is the probability of the right class in training, and the largest probability in
    evaluation; with a teacher, in training, minus the divergence KL(teacher || student).
    """

    def predict(self, mae: ElasticMae, tokens: Tensor, valid: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Logits."""
        return mae.classify(tokens)

    def score(self, prediction: Tensor, target: Target, *, training: bool) -> Tensor:
        """See the class."""
        logits = prediction.float()
        if not training:
            return logits.softmax(dim=1).amax(dim=1)
        if target.teacher is not None:
            return -_divergence(logits, target.teacher)
        probability = logits.softmax(dim=1)
        return probability.gather(1, target.labels.unsqueeze(1)).squeeze(1)

    def loss(self, prediction: Tensor, target: Target) -> Tensor:
        """Cross-entropy, or with a teacher the mean divergence from it."""
        logits = prediction.float()
        if target.teacher is not None:
            return _divergence(logits, target.teacher).mean()
        return functional.cross_entropy(logits, target.labels)


@dataclass(frozen=True)
class Segmentation:
    """Logits of every pixel [B, C, H, W].

    The score is minus the loss of the image. That is the cross-entropy of its pixels, 0 where a pixel
    does not count, averaged over all of them; with a teacher, 10 times the mean over the pixels of the
    divergence KL(teacher || student).
    """

    def predict(self, mae: ElasticMae, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """Logits."""
        return mae.segment(tokens, valid)

    def score(self, prediction: Tensor, target: Target, *, training: bool) -> Tensor:  # noqa: ARG002
        """Minus the loss of each image."""
        return -self._losses(prediction, target)

    def loss(self, prediction: Tensor, target: Target) -> Tensor:
        """Mean over the images."""
        return self._losses(prediction, target).mean()

    def _losses(self, prediction: Tensor, target: Target) -> Tensor:
        logits = prediction.float()
        if target.teacher is not None:
            return _DISTILLATION * _divergence(logits, target.teacher).mean(dim=(1, 2))
        losses = functional.cross_entropy(
            logits, target.masks.long(), ignore_index=IGNORED, reduction="none"
        )
        return losses.mean(dim=(1, 2))


def head_of(task: Task, reduction: Literal["sum", "mean"] = "sum") -> TaskHead:
    """The task of a name."""
    if task == "reconstruction":
        return Reconstruction(reduction)
    return Classification() if task == "classification" else Segmentation()


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) over the classes, axis 1, from logits."""
    aim, found = teacher.float().log_softmax(dim=1), student.log_softmax(dim=1)
    return (aim.exp() * (aim - found)).sum(dim=1)
