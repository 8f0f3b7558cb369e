"""The whole model: it looks at an image glimpse by glimpse, and says what it makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from adaglimpse.config import IMAGENET_CLASSES, SIZES, GlimpseModelConfig
from adaglimpse.method.glimpses import crop_patches, glimpse_boxes
from adaglimpse.model.card import card
from adaglimpse.model.mae import Decoder, ElasticMae, Encoded
from adaglimpse.model.policy import Actor, Critic, Observation
from shared_core.checkpoints.pretrained import Pretrained

if TYPE_CHECKING:
    from adaglimpse.predict import Prediction

_DECODERS: dict[str, Decoder] = {
    "reconstruction": "standard",
    "classification": "none",
    "segmentation": "segment",
}


class Views:
    """Images, and what has been seen of them so far.

    Places of patches that are still empty hold zeros; those of images that have stopped hold boxes of
    -1, and are not `valid`.

    Args:
        images: normalised pixels.
        config: of the model that looks.
        glimpses: at most so many.
    """

    def __init__(
        self, images: Float[Tensor, "B 3 H W"], config: GlimpseModelConfig, glimpses: int
    ) -> None:
        self.images = images.contiguous()  # else every crop would make them so
        self.config = config
        self.per_glimpse = config.glimpse_grid_size**2
        places = glimpses * self.per_glimpse
        self.patches = images.new_zeros(len(images), places, 3, 16, 16)
        self.boxes = torch.zeros(len(images), places, 4, dtype=torch.int64, device=images.device)
        self.valid = torch.zeros(len(images), places, dtype=torch.bool, device=images.device)
        self.step = 0
        self.padded = False

    def __len__(self) -> int:
        return len(self.images)

    @property
    def count(self) -> int:
        """Patches of each image so far, padded ones included."""
        return self.step * self.per_glimpse

    def look(
        self, actions: Float[Tensor, "B 3"], stopped: Bool[Tensor, " B"] | None = None
    ) -> Int64[Tensor, "B p 4"]:
        """Add a glimpse to each image; those that have stopped get an empty one.

        Returns:
            The boxes of the glimpse's patches.

        Raises:
            ValueError: an action is not finite or outside [0, 1].
        """
        config = self.config
        boxes = glimpse_boxes(
            actions,
            grid=config.glimpse_grid_size,
            image_size=config.image_size,
            max_ratio=config.max_glimpse_size_ratio,
        )
        patches = crop_patches(self.images, boxes)
        here = slice(self.count, self.count + self.per_glimpse)
        self.valid[:, here] = True
        if stopped is not None:
            patches = patches.masked_fill(stopped.view(-1, 1, 1, 1, 1), 0.0)
            boxes = boxes.masked_fill(stopped.view(-1, 1, 1), -1)
            self.valid[:, here] = ~stopped.unsqueeze(1)
            self.padded = True
        self.patches[:, here], self.boxes[:, here] = patches, boxes
        self.step += 1
        return boxes

    def keep(self, rows: Int64[Tensor, " n"]) -> None:
        """Go on with some of the images only."""
        self.images, self.patches = self.images[rows], self.patches[rows]
        self.boxes, self.valid = self.boxes[rows], self.valid[rows]

    def known(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Patches, boxes, and which are there (None: all) of the places that are filled."""
        here = slice(self.count)
        valid = self.valid[:, here] if self.padded else None
        return self.patches[:, here], self.boxes[:, here], valid


class GlimpseModel(nn.Module, Pretrained):
    """Backbone and policy: a model that chooses where to look.

    Args:
        config: sizes, task and glimpses.
    """

    config_class = GlimpseModelConfig

    def __init__(self, config: GlimpseModelConfig) -> None:
        super().__init__()
        self.config = config
        sizes = SIZES[config.backbone_size]
        classifies = config.task == "classification"
        self.mae = ElasticMae(
            sizes,
            _DECODERS[config.task],
            config.image_size,
            head_classes=config.num_classes if classifies else IMAGENET_CLASSES,
            mask_classes=config.num_classes,
        )
        self.actor = Actor(sizes.width, config.rl_inputs, config.rl_norm)

    def new_critic(self) -> Critic:
        """A critic that fits this model's policy, with fresh weights."""
        config = self.config
        width = SIZES[config.backbone_size].width
        return Critic(width, config.rl_inputs, config.rl_norm)

    def views(self, images: Float[Tensor, "B 3 H W"], glimpses: int | None = None) -> Views:
        """Images of which nothing has been seen."""
        return Views(images, self.config, glimpses or self.config.num_glimpses)

    def encode(self, views: Views, *, for_policy: bool = True) -> Encoded:
        """Tokens of what has been seen.

        Args:
            views: so far.
            for_policy: also the importance of the patches, where the policy sees it.
        """
        patches, boxes, valid = views.known()
        config = self.config
        return self.mae.encode(
            patches,
            boxes,
            valid,
            importance=for_policy and "attention" in config.rl_inputs,
            heads=config.rollout_heads,
            masked_rollout=config.masked_rollout,
            latent_layer=config.extract_latent_layer,
        )

    def decoder_valid(self, views: Views) -> Bool[Tensor, "B L"] | None:
        """Patches that the decoder may attend to; None: all."""
        return None if self.config.unmasked_decoder else views.known()[2]

    def observation(self, views: Views, encoded: Encoded, places: int | None = None) -> Observation:
        """What the policy sees.

        Args:
            views: so far.
            encoded: of these views.
            places: filled up with empty ones to so many; None: only those that are filled, or one empty
                one for images of which nothing was seen. In evaluation both give the same action.
        """
        count = views.count
        places = max(1, count) if places is None else places
        latents = encoded.latents[:, 1:].detach().float()
        importance = encoded.importance
        if importance is None:
            importance = latents.new_zeros(*latents.shape[:2], 1)

        def filled(rows: Tensor) -> Tensor:
            return functional.pad(rows, (0, 0, 0, places - rows.shape[1]))

        return Observation(
            patches=views.patches[:, :places],
            attention=filled(importance.float()),
            coords=views.boxes[:, :places].float(),
            observation=filled(latents),
            mask=~views.valid[:, :places].unsqueeze(-1),
        )

    def policy(self, seen: Observation) -> tuple[Float[Tensor, "B 3"], Float[Tensor, "B 3"]]:
        """Location and scale of the next action, before it is squashed."""
        loc, scale = self.actor(*seen)
        return loc, scale

    def scaled(self, actions: Float[Tensor, "B 3"]) -> Float[Tensor, "B 3"]:
        """Actions as they are taken: with the scale that is fixed, if one is."""
        if self.config.fixed_scale is None:
            return actions
        actions = actions.clone()
        actions[:, 2] = self.config.fixed_scale
        return actions

    def predict(self, sources: Sequence[Path | str], **options: Any) -> list[Prediction]:
        """Look at images; see `adaglimpse.predict`."""
        from adaglimpse.predict import predict

        return predict(self, sources, **options)

    @classmethod
    def load_config(cls, tree: Any, *, where: str = "") -> GlimpseModelConfig:
        """The config of a saved model."""
        return cast("GlimpseModelConfig", super().load_config(tree, where=where))

    def card(self) -> str:
        """The model card."""
        return card(self.config)
