"""The plain side of the adaglimpse benchmarks: one box at a time, every attention map, fat transitions.

It calls the layers of our own networks, so that both sides have the same weights and the same answers.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

from adaglimpse.config import PATCH, TrainConfig
from adaglimpse.method.actions import squash
from adaglimpse.method.glimpses import glimpse_boxes
from adaglimpse.method.sac import Sac, Transitions
from adaglimpse.method.tasks import Reconstruction, Target
from adaglimpse.model.blocks import Attention, Block
from adaglimpse.model.mae import ElasticMae, unpatchify
from adaglimpse.model.network import GlimpseModel
from adaglimpse.model.policy import Observation
from adaglimpse.model.positions import box_positions

_DISCARDED = 0.5

logging.getLogger("torchrl").setLevel(logging.WARNING)  # it would tell of each buffer


def crop(
    images: Float[Tensor, "B 3 H W"], boxes: Int64[Tensor, "B n 4"]
) -> Float[Tensor, "B n 3 16 16"]:
    """Each box cut out and resized by itself."""
    return torch.stack(
        [
            torch.cat([_resized(image[:, y1:y2, x1:x2]) for y1, x1, y2, x2 in of.tolist()])
            for image, of in zip(images, boxes, strict=True)
        ]
    )


def _resized(cut: Tensor) -> Tensor:
    return functional.interpolate(cut[None], (PATCH, PATCH), mode="bilinear")


def encode(
    mae: ElasticMae, patches: Float[Tensor, "B L 3 16 16"], boxes: Int64[Tensor, "B L 4"]
) -> tuple[Float[Tensor, "B L1 D"], list[Tensor]]:
    """Tokens, and the attention maps of all blocks."""
    x = mae.patch_embed(patches) + box_positions(boxes, mae.cls_token.shape[-1])
    x = torch.cat((mae.cls_token.expand(len(x), -1, -1), x), dim=1)
    x, maps = _through(mae.blocks, x)
    return mae.norm(x), maps


def reconstruct(
    mae: ElasticMae, tokens: Float[Tensor, "B L1 D"]
) -> tuple[Float[Tensor, "B 3 H W"], list[Tensor]]:
    """Pixels of the whole image, and the attention maps of all blocks of the decoder."""
    known = mae.decoder_embed(tokens)
    queries = mae.mask_token + mae.decoder_pos_embed[:, 1:]
    x = torch.cat((known, queries.expand(len(known), -1, -1)), dim=1)
    x, maps = _through(mae.decoder_blocks, x)
    features = mae.decoder_norm(x)[:, known.shape[1] :]
    return unpatchify(mae.decoder_pred(features), mae.grid), maps


def _through(blocks: nn.ModuleList, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    maps: list[Tensor] = []
    for block in blocks:
        assert isinstance(block, Block)
        x = _block(block, x, maps)
    return x, maps


def _block(block: Block, x: Tensor, maps: list[Tensor]) -> Tensor:
    x = x + block.gamma_1 * _attention(block.attn, block.norm1(x), maps)
    added: Tensor = block.gamma_2 * block.mlp(block.norm2(x))
    return x + added


def _attention(attention: Attention, x: Tensor, maps: list[Tensor]) -> Tensor:
    batch, count, width = x.shape
    heads = attention.heads
    qkv = attention.qkv(x).view(batch, count, 3, heads, width // heads)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    weights = (query @ key.transpose(-2, -1) * (width // heads) ** -0.5).softmax(dim=-1)
    maps.append(weights.detach())
    mixed: Tensor = attention.proj((weights @ value).transpose(1, 2).reshape(batch, count, width))
    return mixed


def importance(maps: Sequence[Float[Tensor, "B H N N"]]) -> Float[Tensor, "B L 1"]:
    """Attention rollout, once all maps are there."""
    count = maps[0].shape[-1]
    flow = torch.eye(count)
    for attention in maps:
        flat = attention.mean(dim=1).flatten(1)
        smallest = flat.topk(int(count * count * _DISCARDED), largest=False).indices
        first = flat[:, 0].clone()
        flat = flat.scatter(1, smallest, 0.0)
        flat[:, 0] = first
        mixed = (flat.view(-1, count, count) + torch.eye(count)) / 2
        flow = mixed / mixed.sum(dim=-1, keepdim=True) @ flow
    return flow[:, 0, 1:].softmax(dim=-1).unsqueeze(-1)


def buffer(transitions: int, batch: int) -> TensorDictReplayBuffer:
    """A buffer of torchrl's, whose transitions hold both of their states, in float32."""
    return TensorDictReplayBuffer(storage=LazyTensorStorage(transitions), batch_size=batch)


class Trainer:
    """Plays batches of episodes and teaches policy and backbone: reconstruction, both phases at once.

    Args:
        network: backbone and policy.
        sac: critics and temperature.
        config: the run's settings.
    """

    def __init__(self, network: GlimpseModel, sac: Sac, config: TrainConfig) -> None:
        self.network, self.sac, self.config = network, sac, config
        self.head = Reconstruction(config.backbone_loss)
        self.buffer = buffer(config.replay_buffer_size, config.rl_batch_size)
        self.backbone = torch.optim.AdamW(
            [p for p in network.mae.parameters() if p.requires_grad],
            lr=config.backbone_lr,
            weight_decay=config.backbone_decay,
        )
        learnt = (network.actor.parameters(), sac.critic_parameters(), [sac.log_alpha])
        self.optimizers = [
            torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.rl_decay)
            for parameters in learnt
        ]

    def update(self, target: Target) -> Tensor:
        """Play a batch of episodes and learn from them; the last scores."""
        mae, glimpses = self.network.mae, self.config.num_glimpses
        count = len(target.images)
        patches = torch.zeros(count, 0, 3, PATCH, PATCH)
        boxes = torch.zeros(count, 0, 4, dtype=torch.int64)
        before: tuple[Observation, Tensor, Tensor] | None = None
        for state in range(glimpses + 1):
            last = state == glimpses
            with torch.set_grad_enabled(last):
                tokens, maps = encode(mae, patches, boxes)
                prediction, _ = reconstruct(mae, tokens)
            score = self.head.score(prediction.detach(), target, training=True)
            seen = self._observation(patches, boxes, tokens.detach(), maps)
            if before is not None:
                self._remember(*before, seen, score, last)
            if len(self.buffer) >= self.config.rl_batch_size:
                self._teach_policy()
            if not last:
                action = self._action(seen)
                before = (seen, score, action)
                new = glimpse_boxes(
                    action,
                    grid=self.config.glimpse_grid_size,
                    image_size=self.config.image_size,
                )
                patches = torch.cat((patches, crop(target.images, new)), dim=1)
                boxes = torch.cat((boxes, new), dim=1)
        loss = self.head.loss(prediction, target)
        self.backbone.zero_grad()
        torch.autograd.backward(loss)
        self.backbone.step()
        return score

    def _observation(
        self, patches: Tensor, boxes: Tensor, tokens: Tensor, maps: list[Tensor]
    ) -> Observation:
        left = self.network.config.max_patches - patches.shape[1]
        filled = (0, 0, 0, left)
        there = torch.zeros(len(patches), patches.shape[1], 1, dtype=torch.bool)
        return Observation(
            patches=functional.pad(patches, (0, 0, 0, 0, 0, 0, 0, left)),
            attention=functional.pad(importance(maps), filled),
            coords=functional.pad(boxes.float(), filled),
            observation=functional.pad(tokens[:, 1:], filled),
            mask=functional.pad(there, filled, value=True),
        )

    @torch.no_grad()
    def _action(self, seen: Observation) -> Tensor:
        loc, scale = self.network.policy(seen)
        return squash(loc + scale * torch.randn_like(loc))

    def _remember(
        self,
        before: Observation,
        score: Tensor,
        action: Tensor,
        after: Observation,
        now: Tensor,
        last: bool,
    ) -> None:
        done = torch.full((len(action),), last)
        transitions = Transitions(before, action, now - score, after, done)
        self.buffer.extend(transitions.as_tensordict())

    def _teach_policy(self) -> None:
        found = self.sac.losses(transitions_of(self.buffer.sample()))
        losses = (found["loss_actor"], found["loss_qvalue"], found["loss_alpha"])
        for loss, optimizer in zip(losses, self.optimizers, strict=True):
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        self.sac.update_targets()


def transitions_of(drawn: TensorDict) -> Transitions:
    """What a sample of the buffer holds."""
    following = drawn["next"]
    before, after = (
        Observation(*(of[name] for name in Observation._fields)) for of in (drawn, following)
    )
    reward, done = following["reward"].squeeze(-1), following["done"].squeeze(-1)
    return Transitions(before, drawn["action"], reward, after, done)
