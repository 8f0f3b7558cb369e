"""The elastic masked autoencoder: a ViT that reads patches of any place and size, and its decoders.

Names of parameters are those of the released weights (`patch_embed.proj`, `blocks.0.gamma_1`, ...).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from adaglimpse.config import PATCH, Sizes
from adaglimpse.model.blocks import EPSILON, Block
from adaglimpse.model.positions import box_positions, decoder_positions, grid_boxes
from adaglimpse.model.rollout import HeadFusion, Rollout

Decoder = Literal["none", "standard", "segment"]

CHANNELS = 3
_UP = 256  # width of the segmentation head after its second layer


class Encoded(NamedTuple):
    """What the encoder makes of L patches.

    Attributes:
        tokens: after the last layer norm, the class token first.
        latents: what the policy sees: `tokens`, or the input of the block that was asked for.
        importance: of each patch by attention rollout; None where it was not asked for.
    """

    tokens: Float[Tensor, "B L1 D"]
    latents: Float[Tensor, "B L1 D"]
    importance: Float[Tensor, "B L 1"] | None


class PatchEmbedding(nn.Module):
    """A patch to a token; the weights are those of a convolution with stride 16."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(CHANNELS, width, PATCH, PATCH)

    def forward(self, patches: Float[Tensor, "B L 3 16 16"]) -> Float[Tensor, "B L D"]:
        """Tokens, without positions."""
        return functional.linear(patches.flatten(2), self.proj.weight.flatten(1), self.proj.bias)


class SegmentationHead(nn.Module):
    """Features of the native grid to logits at every pixel: four times twice as large, then two more layers.

    Args:
        width: of a feature.
        classes: logits a pixel.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((width, width), (width, _UP), (_UP, _UP), (_UP, _UP)):
            layers += [
                nn.Conv2d(before, after, 3, padding=1),
                nn.BatchNorm2d(after),
                nn.GELU(),
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            ]
        layers += [nn.Conv2d(_UP, _UP, 3, padding=1), nn.BatchNorm2d(_UP), nn.GELU()]
        self.conv_head = nn.Sequential(*layers, nn.Conv2d(_UP, classes, 1))

    def forward(self, features: Float[Tensor, "B E h w"]) -> Float[Tensor, "B C H W"]:
        """Logits; 16 times as many rows and columns."""
        logits: Tensor = self.conv_head(features)
        return logits


class ElasticMae(nn.Module):
    """ViT encoder over patches at any box, with a classification head and at most one decoder.

    Args:
        sizes: widths, depths and heads.
        decoder: `standard` reconstructs pixels, `segment` labels them, `none` has none.
        image_size: height and width of the images, multiples of 16 pixels.
        head_classes: of the classification head.
        mask_classes: of the segmentation.
    """

    def __init__(
        self,
        sizes: Sizes,
        decoder: Decoder,
        image_size: tuple[int, int],
        *,
        head_classes: int,
        mask_classes: int = 1,
    ) -> None:
        super().__init__()
        self.grid = (image_size[0] // PATCH, image_size[1] // PATCH)
        self.decoder = decoder
        self.cls_token = nn.Parameter(torch.zeros(1, 1, sizes.width))
        codes = box_positions(grid_boxes(*image_size), sizes.width).unsqueeze(0)
        self.pos_embed = nn.Parameter(codes, requires_grad=False)
        self.patch_embed = PatchEmbedding(sizes.width)
        self.blocks = nn.ModuleList(Block(sizes.width, sizes.heads) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(sizes.width, eps=EPSILON)
        self.head = nn.Linear(sizes.width, head_classes)
        if decoder != "none":
            width = sizes.decoder_width
            self.decoder_embed = nn.Linear(sizes.width, width)
            self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
            places = decoder_positions(*self.grid, width).unsqueeze(0)
            self.decoder_pos_embed = nn.Parameter(places, requires_grad=False)
            self.decoder_blocks = nn.ModuleList(
                Block(width, sizes.decoder_heads) for _ in range(sizes.decoder_depth)
            )
            self.decoder_norm = nn.LayerNorm(width, eps=EPSILON)
            if decoder == "standard":
                self.decoder_pred = nn.Linear(width, PATCH * PATCH * CHANNELS)
            else:
                self.decoder_segment = SegmentationHead(width, mask_classes)
        self._initialise()

    def _initialise(self) -> None:
        """Random weights, from torch's global generator."""
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.data.flatten(1))
        nn.init.normal_(self.cls_token, std=0.02)
        if self.decoder != "none":
            nn.init.normal_(self.mask_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def encode(
        self,
        patches: Float[Tensor, "B L 3 16 16"],
        boxes: Int64[Tensor, "B L 4"],
        valid: Bool[Tensor, "B L"] | None = None,
        *,
        importance: bool = False,
        heads: HeadFusion = "mean",
        masked_rollout: bool = False,
        latent_layer: int | None = None,
    ) -> Encoded:
        """Tokens of patches, of which there may be none.

        Args:
            patches: normalised pixels.
            boxes: where they lie, (y1, x1, y2, x2) in pixels; -1 where padded.
            valid: patches that are there; None: all.
            importance: also how much each patch mattered, at the cost of the fused kernel.
            heads: how attention heads become one map.
            masked_rollout: padded patches have no part in it.
            latent_layer: `latents` are the input of this block.
        """
        x = self.patch_embed(patches)
        x = x + box_positions(boxes, x.shape[-1]).to(x.dtype)
        x = torch.cat((self.cls_token.expand(len(x), -1, -1).to(x.dtype), x), dim=1)
        attended = None if valid is None else functional.pad(valid, (1, 0), value=True)
        rollout = Rollout(heads, valid if masked_rollout else None) if importance else None
        latents = None
        for number, block in enumerate(self.blocks):
            latents = x if number == latent_layer else latents
            x = block(x, attended, rollout)
        tokens = self.norm(x)
        return Encoded(
            tokens,
            tokens if latents is None else latents,
            None if rollout is None else rollout.importance(),
        )

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Encoded:
        """Tokens of whole images, by their native grid of patches."""
        flat = patchify(images)
        patches = flat.view(*flat.shape[:2], PATCH, PATCH, CHANNELS).permute(0, 1, 4, 2, 3)
        boxes = grid_boxes(*images.shape[-2:]).to(images.device)
        return self.encode(patches, boxes.expand(len(images), -1, -1))

    def classify(self, tokens: Float[Tensor, "B L1 D"]) -> Float[Tensor, "B C"]:
        """Logits of the classes, from the class token."""
        logits: Tensor = self.head(tokens[:, 0])
        return logits

    def reconstruct(
        self, tokens: Float[Tensor, "B L1 D"], valid: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B 3 H W"]:
        """Normalised pixels of the whole image; needs the decoder `standard`."""
        return unpatchify(self.decoder_pred(self._decode(tokens, valid)), self.grid)

    def segment(
        self, tokens: Float[Tensor, "B L1 D"], valid: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B C H W"]:
        """Logits of every pixel; needs the decoder `segment`."""
        features = self._decode(tokens, valid).transpose(1, 2)
        features = features.reshape(*features.shape[:2], *self.grid)
        logits: Tensor = self.decoder_segment(features)
        return logits

    def _decode(self, tokens: Tensor, valid: Tensor | None) -> Tensor:
        """Features of the native grid; patches that are not `valid` are not attended to."""
        x = self.decoder_embed(tokens)
        queries = (self.mask_token + self.decoder_pos_embed[:, 1:]).to(x.dtype)
        known, count = x.shape[1], queries.shape[1]
        x = torch.cat((x, queries.expand(len(x), -1, -1)), dim=1)
        attended = None
        if valid is not None:
            attended = functional.pad(
                functional.pad(valid, (1, 0), value=True), (0, count), value=True
            )
        for block in self.decoder_blocks:
            x = block(x, attended)
        features: Tensor = self.decoder_norm(x[:, known:])
        return features

    def freeze_encoder(self) -> None:
        """The encoder learns nothing; decoder and head do."""
        for part in (self.patch_embed, self.blocks, self.norm):
            part.requires_grad_(False)
        self.cls_token.requires_grad_(False)


def patchify(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N E"]:
    """Native patches row by row; within each the order is row, column, channel."""
    height, width = images.shape[-2:]
    cut = images.reshape(len(images), CHANNELS, height // PATCH, PATCH, width // PATCH, PATCH)
    return cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def unpatchify(patches: Float[Tensor, "B N E"], grid: tuple[int, int]) -> Float[Tensor, "B 3 H W"]:
    """The inverse of `patchify`, for a grid of so many rows and columns."""
    rows, columns = grid
    cut = patches.reshape(len(patches), rows, columns, PATCH, PATCH, CHANNELS)
    image = cut.permute(0, 5, 1, 3, 2, 4)
    return image.reshape(len(patches), CHANNELS, rows * PATCH, columns * PATCH)
