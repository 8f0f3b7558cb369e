"""The network of Tonini, Beyan and Ricci (ICMI 2022).

    S = scene([picture, mask])   D = depth([depth, mask])   F = face(face)
    A = softmax(W [mask at an eighth, mean of F] + b)                    where the head makes one look
    heat map = decoder(scene_encoder[A S, F] + depth_encoder[A D, F])
    in/out   = inout_decoder[A S + A D, F]

Names of parts, shapes and their order are those of the authors' checkpoints.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gaze_da.config import GazeModelConfig
from gaze_da.model.adaptation import DomainClassifier, Reconstruction, Strength
from gaze_da.model.backbone import Backbone
from gaze_da.model.card import card
from gaze_da.model.folding import fold_batch_norms
from gaze_da.model.heads import Decoder, Encoder, InOutDecoder, pooled_mask
from gaze_da.model.views import Views
from shared_core.checkpoints.pretrained import Pretrained

if TYPE_CHECKING:
    from gaze_da.predict import GazePrediction

BRANCHES = ("scene_backbone", "depth_backbone", "face_backbone")
"""Names of the branches, in the order of the authors' parameters."""


class Adapted(NamedTuple):
    """What the adaptation reads of one domain; None for what the model has not.

    Attributes:
        domain: log-probabilities of source and target.
        rgb: the picture, rebuilt from the depth.
        depth: the depth, rebuilt from the picture.
    """

    domain: Float[Tensor, "B 2"] | None
    rgb: Float[Tensor, "B 3 O O"] | None
    depth: Float[Tensor, "B 3 O O"] | None


class Output(NamedTuple):
    """What the network says.

    Attributes:
        heatmaps: where each person looks, without limits; the peak counts.
        inout: logit that it is inside the picture.
        attention: weight of each cell of the features; they sum to 1.
        source: what the adaptation reads of these rows.
        target: what it reads of the target's rows, where there are any.
    """

    heatmaps: Float[Tensor, "B 1 O O"]
    inout: Float[Tensor, "B 1"]
    attention: Float[Tensor, "B 1 g g"]
    source: Adapted
    target: Adapted | None


class GazeModel(nn.Module, Pretrained):
    """Where a person looks, from a picture, its depth, and the person's head.

    It is built with the weights that torch draws for its layers; `initialise` draws the paper's.

    Args:
        config: sizes, and which adaptation the model has.
    """

    config_class: ClassVar[type[GazeModelConfig]] = GazeModelConfig
    config: GazeModelConfig

    def __init__(self, config: GazeModelConfig) -> None:
        super().__init__()
        self.config = config
        sizes = config.network
        width, cells = sizes.width, sizes.grid**2
        self.adv_da = DomainClassifier(width) if config.head_da else None
        self.multimodal_da = Reconstruction(width) if config.rgb_depth_da else None
        self.scene_backbone = Backbone(4, width, sizes.scene_layers)
        self.depth_backbone = Backbone(4, width, sizes.depth_layers)
        self.face_backbone = Backbone(3, width, sizes.face_layers)
        self.attn = nn.Linear((sizes.input_size // 8) ** 2 + 16 * width, cells)
        self.scene_encoder = Encoder(width)
        self.depth_encoder = Encoder(width)
        self.inout_decoder = InOutDecoder(width, sizes.grid)
        self.decoder = Decoder(width)
        self._held: tuple[str, ...] = ()  # branches that stay in evaluation mode

    def forward(
        self,
        source: Views,
        target: Views | None = None,
        alpha: Strength = None,
        *,
        full_target_pass: bool = False,
    ) -> Output:
        """Both domains in one call, source first; processes that train together need it to be one.

        On the target only what the adaptation reads is computed: the face branch for the adversary,
        the scene and depth branches for the reconstruction.

        Args:
            source: rows to predict.
            target: rows of the domain to adapt to.
            alpha: strength of the reversed gradient.
            full_target_pass: run the whole network on the target, as the authors do: batch
                statistics of all parts then see both domains.
        """
        branches = self._branches(source)
        heatmaps, inout, attention = self._predicted(*branches, source.masks)
        of_source = self._adapted(*branches, alpha)
        of_target = None
        if target is not None:
            of_target = self.of_target(target, alpha, full=full_target_pass)
        return Output(heatmaps, inout, attention, of_source, of_target)

    def of_target(self, views: Views, alpha: Strength = None, *, full: bool = False) -> Adapted:
        """What the adaptation reads of rows of the target; a part of `forward`.

        Args:
            views: those rows.
            alpha: strength of the reversed gradient.
            full: run the whole network, whose other results are not used.
        """
        if full:
            branches = self._branches(views)
            self._predicted(*branches, views.masks)
            return self._adapted(*branches, alpha)
        scene = depth = face = None
        if self.multimodal_da is not None:
            scene, depth = self._scene(views), self._depth(views)
        if self.adv_da is not None:
            face = self._face(views)
        return self._adapted(scene, depth, face, alpha)

    def _branches(self, views: Views) -> tuple[Tensor, Tensor, Tensor]:
        return self._scene(views), self._depth(views), self._face(views)

    def _scene(self, views: Views) -> Tensor:
        features: Tensor = self.scene_backbone(torch.cat((views.images, views.masks), dim=1))
        return features

    def _depth(self, views: Views) -> Tensor:
        features: Tensor = self.depth_backbone(torch.cat((views.depths, views.masks), dim=1))
        return features

    def _face(self, views: Views) -> Tensor:
        features: Tensor = self.face_backbone(views.faces)
        return features

    def _predicted(
        self, scene: Tensor, depth: Tensor, face: Tensor, masks: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        grid = face.shape[-1]
        head = torch.cat((pooled_mask(masks), face.mean(dim=(2, 3))), dim=1)
        attention = torch.unflatten(self.attn(head).softmax(dim=1), 1, (1, grid, grid))
        scene, depth = attention * scene, attention * depth
        encoded = self.scene_encoder(torch.cat((scene, face), dim=1))
        encoded = encoded + self.depth_encoder(torch.cat((depth, face), dim=1))
        inout = self.inout_decoder(torch.cat((scene + depth, face), dim=1))
        return self.decoder(encoded), inout, attention

    def _adapted(
        self, scene: Tensor | None, depth: Tensor | None, face: Tensor | None, alpha: Strength
    ) -> Adapted:
        domain = rgb = rebuilt = None
        if self.adv_da is not None:
            domain = self.adv_da(face, alpha)
        if self.multimodal_da is not None:
            rgb, rebuilt = self.multimodal_da(scene, depth)
        return Adapted(domain, rgb, rebuilt)

    def freeze(self, *branches: str, statistics_too: bool = True) -> None:
        """Keep some branches as they are; the others learn.

        Args:
            branches: of `BRANCHES`.
            statistics_too: their batch norms use and keep the statistics they have. Otherwise they
                use those of the batch and go on following it, as in the authors' code.
        """
        for name in BRANCHES:
            self.get_submodule(name).requires_grad_(name not in branches)
        self._held = branches if statistics_too else ()
        self.train(self.training)

    def train(self, mode: bool = True) -> GazeModel:
        """Training or evaluation mode; branches whose statistics are kept stay in evaluation mode."""
        super().train(mode)
        for name in self._held:
            self.get_submodule(name).eval()
        return self

    def for_evaluation(self, *, channels_last: bool = False) -> GazeModel:
        """A copy that predicts the same, faster; it can neither be trained nor saved.

        It lacks the parts that only adapt, and its batch norms are folded into the layers before
        them.

        Args:
            channels_last: memory order of its weights, for pictures of the same order.
        """
        copied = copy.deepcopy(self).eval().requires_grad_(False)
        copied.adv_da = copied.multimodal_da = None
        fold_batch_norms(copied)
        return copied.to(memory_format=torch.channels_last) if channels_last else copied

    def predict(self, picture: Any, heads: Any, **options: Any) -> list[GazePrediction]:
        """Where each person in a picture looks; see `gaze_da.predict.predict`."""
        from gaze_da.predict import predict  # reads pictures, finds heads: not needed to train

        return predict(self, picture, heads, **options)

    def card(self) -> str:
        """The model card that is saved beside the weights: what it reads, what it gives, its limits."""
        return card(self.config)
