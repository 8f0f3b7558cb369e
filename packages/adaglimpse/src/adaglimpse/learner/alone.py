"""Updates without episodes: a backbone learns from random patches, or a teacher from whole images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn import functional

from adaglimpse.data.items import ImageBatch
from adaglimpse.evaluate import judge_teacher
from adaglimpse.learner.base import GlimpseLearner
from adaglimpse.method.glimpses import crop_patches
from adaglimpse.method.tasks import IGNORED
from shared_core.training.learner import Outcome

if TYPE_CHECKING:
    from shared_core.training.hands import Hands


class AloneLearner(GlimpseLearner):
    """Teaches a backbone, or a teacher, before there is a policy."""

    judged_by = "random"

    def _learn(self, batches: Sequence[ImageBatch], hands: Hands) -> Outcome:
        self._set_rates(0)
        losses = []
        for batch in hands.accumulate(self.model, batches):
            with hands.autocast():
                loss = self._loss(batch)
            hands.backward(loss)
            losses.append(loss.detach())
        mean = torch.stack(losses).mean()
        norm = self._step(self.backbone_optimizer, [self._backbone()], hands)
        return Outcome(loss=mean, logs={"backbone_loss": mean, "gradient_norm": norm})

    def _loss(self, batch: ImageBatch) -> Tensor:
        target = self._target(batch)
        if self.config.teacher_pretraining and self.teacher is not None:
            labels = target.masks.long()
            logits = self.teacher(target.images).float()
            losses = functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
            return losses / (labels != IGNORED).sum().clamp(min=1)
        mae = self.network.mae
        tokens = mae.encode(crop_patches(target.images, batch.boxes), batch.boxes).tokens
        return self._global(self.head.loss(self.head.predict(mae, tokens), target))

    def _judged(self, options: Mapping[str, Any]) -> Float64[np.ndarray, "n K columns"]:
        """A teacher is judged on whole images."""
        if self.config.teacher_pretraining and self.teacher is not None:
            return judge_teacher(self.teacher, self.val, len(self.classes), **options)
        return super()._judged(options)
