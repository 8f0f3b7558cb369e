"""What an update draws at random, from the place of the update alone: any part can be given instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from asal_vrvqa.method.memory import Memory
from shared_core.data.loader import generator

_NOISE, _KEY_FRAMES, _REPLAY, _REPLAY_NOISE = range(1, 5)


@dataclass(frozen=True)
class Draws:
    """The draws of one update; equal on all processes, whatever their number.

    Attributes:
        seed: of the run.
        epoch: of the update.
        batch: its place in the epoch.
        given_noise: noise of the clips [B, T], in the order of their rows; None: drawn.
        given_key_frames: places of key frames; None: drawn.
        given_slots: slots of the memory to replay; None: drawn.
        given_replay_noise: noise of the replayed clips [slots, T]; None: drawn.
    """

    seed: int
    epoch: int
    batch: int
    given_noise: Float[Tensor, "B T"] | None = None
    given_key_frames: tuple[int, ...] | None = None
    given_slots: tuple[int, ...] | None = None
    given_replay_noise: Float[Tensor, "n T"] | None = None

    def noise(self, items: Sequence[int], frames: int) -> Float[Tensor, "B T"]:
        """Standard normal noise for the frames of clips, each clip's its own."""
        if self.given_noise is not None:
            return self.given_noise
        return _noise([(self.seed, self.epoch, item, _NOISE) for item in items], frames)

    def key_frames(self, frames: int, count: int) -> Int64[Tensor, " k"]:
        """Places of key frames in their order, the same for the whole batch."""
        if self.given_key_frames is not None:
            return torch.tensor(self.given_key_frames)
        return torch.randperm(frames, generator=self._generator(_KEY_FRAMES))[:count].sort().values

    def slots(self, memory: Memory, count: int) -> list[int]:
        """Slots of the memory to replay, each at most once."""
        if self.given_slots is not None:
            return list(self.given_slots)
        return memory.drawn(count, self._generator(_REPLAY))

    def replay_noise(self, slots: Sequence[int], frames: int) -> Float[Tensor, "n T"]:
        """Standard normal noise for the frames of replayed clips."""
        if self.given_replay_noise is not None:
            return self.given_replay_noise
        keys = [(self.seed, self.epoch, self.batch, slot, _REPLAY_NOISE) for slot in slots]
        return _noise(keys, frames)

    def with_given(self, **given: object) -> Draws:
        """The same draws but for those that are given."""
        return replace(self, **{f"given_{name}": value for name, value in given.items()})  # type: ignore[arg-type]

    def _generator(self, purpose: int) -> torch.Generator:
        return generator(self.seed, self.epoch, self.batch, purpose)


def _noise(keys: Sequence[tuple[int, ...]], frames: int) -> Tensor:
    if not keys:
        return torch.zeros(0, frames)
    return torch.stack([torch.randn(frames, generator=generator(*key)) for key in keys])
