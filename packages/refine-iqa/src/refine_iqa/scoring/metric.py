"""`QualityMetric`: a scorer that is called like a metric of images."""

from __future__ import annotations

from typing import Any, Self

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from refine_iqa.scoring.scorer import QualityScorer


class QualityMetric(nn.Module):
    """Quality of a batch of images without a reference, as a metric of pyiqa is called.

        metric = QualityMetric.from_pretrained("runs/night")
        metric(torch.rand(4, 3, 512, 512))  # 4 scores from 1 (bad) to 5 (excellent)

    The scores are those of mode direct. No gradient flows through them.

    Args:
        scorer: what rates the images.
        batch_size: images that are scored at the same time.

    Attributes:
        lower_better: False: the higher a score, the better.
        score_range: the lowest and the highest score.
    """

    lower_better = False
    score_range = (1.0, 5.0)

    def __init__(self, scorer: QualityScorer, *, batch_size: int = 8) -> None:
        super().__init__()
        self.model = scorer.model
        self._scorer = scorer
        self._batch_size = batch_size

    @classmethod
    def from_pretrained(cls, path_or_hub_id: Any, *, batch_size: int = 8, **options: Any) -> Self:
        """Load a model; `options` are those of `QualityScorer.from_pretrained`."""
        scorer = QualityScorer.from_pretrained(path_or_hub_id, **options)
        return cls(scorer, batch_size=batch_size)

    def forward(
        self,
        images: Float[Tensor, "n 3 height width"],
        reference: Tensor | None = None,  # noqa: ARG002  # metrics with one are called alike
    ) -> Float[Tensor, " n"]:
        """Score images in [0, 1]; values are rounded to 8 bits, as in a file.

        Args:
            images: RGB; values outside of [0, 1] are clipped.
            reference: is not looked at.

        Returns:
            In float32, on the device of the images.

        Raises:
            ValueError: not (n, 3, height, width), no image, or a value that is not finite.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not len(images):
            raise ValueError(
                f"expected images of shape (n, 3, height, width), found {tuple(images.shape)}"
            )
        if not images.isfinite().all():
            raise ValueError("expected finite values, found NaN or an infinity")
        levels = (images.detach().float().clamp(0, 1) * 255).round().byte()
        pictures = [Image.fromarray(one) for one in levels.permute(0, 2, 3, 1).cpu().numpy()]
        found = self._scorer.predict(pictures, batch_size=self._batch_size)
        return torch.tensor([prediction.score for prediction in found], device=images.device)
