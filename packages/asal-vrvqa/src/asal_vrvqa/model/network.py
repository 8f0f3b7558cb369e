"""The whole network: frames in, scores out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from jaxtyping import Float, Int64
from torch import Tensor, nn

from asal_vrvqa.config import QualityModelConfig
from asal_vrvqa.model.backbone import backbone
from asal_vrvqa.model.card import card
from asal_vrvqa.model.folding import folded
from asal_vrvqa.model.heads import Adapter, FrameScores, Projector, regressor
from shared_core.checkpoints.pretrained import Pretrained

if TYPE_CHECKING:
    from asal_vrvqa.predict import Prediction


class Output(NamedTuple):
    """What the network says of clips.

    Attributes:
        score: of each clip, in the scale of the labels: the mean over its frames.
        frames: of each frame.
        features: of each frame that came in.
        adapted: features that the adapter makes of the key frames; None where it was not asked for.
    """

    score: Float[Tensor, " B"]
    frames: FrameScores
    features: Float[Tensor, "B t C"]
    adapted: Float[Tensor, "B T C"] | None


class _FeatureExtractor(nn.Module):
    """Holds the backbone under the name that it has in the authors' files."""

    def __init__(self, config: QualityModelConfig) -> None:
        super().__init__()
        self.backbone = backbone(config.network)

    def forward(self, frames: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B T C"]:
        batch, count = frames.shape[:2]
        made: Tensor = self.backbone(frames.flatten(0, 1))
        return made.reshape(batch, count, self.backbone.out_channels)


class QualityModel(Pretrained, nn.Module):
    """Backbone, regressor and adapter.

    Args:
        config: what it is built from.
    """

    config_class: ClassVar[type[Any]] = QualityModelConfig
    config: QualityModelConfig

    def __init__(self, config: QualityModelConfig) -> None:
        super().__init__()
        self.config = config
        network = config.network
        self.feature_extractor = _FeatureExtractor(config)
        width = self.feature_extractor.backbone.out_channels
        self.regressor = regressor(network, width)
        self.adapter = Adapter(network.key_frames, network.frames) if network.adapter else None
        self.projector = Projector(width) if network.projector else None

    def forward(
        self,
        frames: Float[Tensor, "B t 3 H W"],
        noise: Float[Tensor, "B T"] | None = None,
        *,
        key_frames: Int64[Tensor, " k"] | None = None,
        from_key_frames: bool = False,
    ) -> Output:
        """Scores of clips.

        Args:
            frames: normalised; all frames of each clip, or its key frames.
            noise: standard normal, for the scores that training draws; None: the means.
            key_frames: places of the frames from which the adapter shall make all.
            from_key_frames: `frames` are key frames: score what the adapter makes of them.

        Raises:
            ValueError: the adapter is asked for, and there is none.
        """
        features = self.feature_extractor(frames)
        adapted = None
        if from_key_frames:
            adapted = self.adapted(features)
        elif key_frames is not None:
            adapted = self.adapted(features[:, key_frames])
        scored: FrameScores = self.regressor(
            adapted if from_key_frames and adapted is not None else features, noise
        )
        return Output(scored.score.mean(dim=1), scored, features, adapted)

    def adapted(self, features: Float[Tensor, "B k C"]) -> Float[Tensor, "B T C"]:
        """Features of all frames out of those of the key frames.

        Raises:
            ValueError: the network has no adapter.
        """
        if self.adapter is None:
            raise ValueError("this network has no adapter: it was not trained by asal")
        made: Tensor = self.adapter(features)
        return made

    def frame_scores(self, frames: Float[Tensor, "N 3 H W"]) -> FrameScores:
        """Scores of single frames; a clip's is the mean over its frames. Shapes are [N, 1]."""
        scored: FrameScores = self.regressor(self.feature_extractor(frames[:, None]))
        return scored

    def for_evaluation(self) -> QualityModel:
        """A copy that only predicts, faster: batch norms are folded into the convolutions."""
        return folded(self)

    def predict(self, source: Path | str, **options: Any) -> Prediction:
        """Score a 360-degree video or a folder of frames: see `asal_vrvqa.predict.predict`."""
        from asal_vrvqa.predict import predict  # the reader of videos is needed here alone

        return predict(self, source, **options)

    def card(self) -> str:
        """The model card."""
        return card(self.config)
