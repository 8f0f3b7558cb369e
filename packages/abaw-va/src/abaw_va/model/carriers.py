"""The parts that carry something along a video, from chunk to chunk.

A state is a dict of tensors whose first axis is the row of the batch: it can be saved as a tree,
picked by row, and reset row by row. No gradient flows from one chunk into the one before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from abaw_va.model.blocks import HeadedAttention

State: TypeAlias = dict[str, Tensor]
"""What each row of a batch remembers of its video; the first axis of every tensor is the row."""


def restarted(state: State, restart: Bool[Tensor, " rows"]) -> State:
    """The state with the rows in `restart` set back to the start of a video."""
    return {
        name: part.masked_fill(restart.view(-1, *(1,) * (part.dim() - 1)), 0)
        for name, part in state.items()
    }


class Carrier(nn.Module, ABC):
    """A network that reads hidden states in time order and keeps a `State`."""

    @abstractmethod
    def start(self, x: Float[Tensor, "rows frames width"]) -> State:
        """State of rows that have seen nothing yet, for inputs like `x`."""

    @abstractmethod
    def forward(
        self,
        x: Float[Tensor, "rows frames width"],
        present: Bool[Tensor, "rows frames"] | None,
        state: State,
    ) -> tuple[Float[Tensor, "rows frames width"], State]:
        """Read one chunk of each row; absent frames only follow the last frame of a video."""


class Lstm(Carrier):
    """One unidirectional LSTM layer; hidden and cell state are [rows, width].

    It runs in the type of its weights under autocast too: rounding would add up along a video.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(width, width, batch_first=True)

    def start(self, x: Float[Tensor, "rows frames width"]) -> State:
        """Zeros."""
        dtype = next(self.parameters()).dtype
        zeros = x.new_zeros(len(x), self.rnn.hidden_size, dtype=dtype)
        return {"hidden": zeros, "cell": zeros}

    def forward(
        self,
        x: Float[Tensor, "rows frames width"],
        present: Bool[Tensor, "rows frames"] | None,  # noqa: ARG002
        state: State,
    ) -> tuple[Float[Tensor, "rows frames width"], State]:
        """Outputs of every frame, and the detached state after the last one, absent or not."""
        before = (state["hidden"][None], state["cell"][None])
        with torch.autocast(x.device.type, enabled=False):
            y, (hidden, cell) = self.rnn(x.to(state["hidden"].dtype), before)
        return y, {"hidden": hidden[0].detach(), "cell": cell[0].detach()}


class MemoryAttention(HeadedAttention, Carrier):
    """Adds to each frame what it finds in the means of blocks of earlier frames of its video.

    The memory is [rows, slots, width] with a mask of the slots that hold something, oldest first.

    Args:
        width: channels of the hidden states.
        heads: heads of the learnt attention.
        learnt: False reads the memory by softmax(e M^T / sqrt(width)) M; the weights are then kept
            for the authors' files only.
        block_length: frames averaged into one slot.
        memory_length: newest slots that are kept once a memory exists; -1 keeps all. The slots of
            the first chunk are kept whole, as in the authors' code.
        chunk_length: most frames of a chunk.
        spare_slots: keep empty slots that nothing is read from, so that shapes stay the same and
            every weight has a gradient in every step; False: the first chunk skips the attention.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        learnt: bool,
        block_length: int,
        memory_length: int,
        chunk_length: int,
        spare_slots: bool,
    ) -> None:
        super().__init__(width, heads)
        self.requires_grad_(learnt)
        self.learnt = learnt
        self.block_length = block_length
        self.memory_length = memory_length
        self.slots = max(memory_length, -(-chunk_length // block_length))
        self.spare_slots = spare_slots

    def start(self, x: Float[Tensor, "rows frames width"]) -> State:
        """A memory that holds nothing."""
        slots = self.slots if self.spare_slots else 0
        return {
            "memory": x.new_zeros(len(x), slots, x.shape[2], dtype=self.in_proj_weight.dtype),
            "filled": x.new_zeros(len(x), slots, dtype=torch.bool),
        }

    def forward(
        self,
        x: Float[Tensor, "rows frames width"],
        present: Bool[Tensor, "rows frames"] | None,
        state: State,
    ) -> tuple[Float[Tensor, "rows frames width"], State]:
        """Hidden states with what was remembered, and the memory with this chunk's blocks."""
        if present is None:
            present = x.new_ones(x.shape[:2], dtype=torch.bool)
        y = x if state["memory"].shape[1] == 0 else x + self._read(x, state)
        return y, self._remember(x.detach(), present, state)

    def _read(
        self, x: Float[Tensor, "rows frames width"], state: State
    ) -> Float[Tensor, "rows frames width"]:
        memory, filled = state["memory"].to(x.dtype), state["filled"]
        any_filled = filled.any(dim=1, keepdim=True)
        attended_to = (
            filled | ~any_filled
        )  # a row without a key would be NaN; its result is dropped
        if self.learnt:
            read = self.attend(x, memory, attended_to)
        else:
            read = functional.scaled_dot_product_attention(
                x, memory, memory, attn_mask=attended_to[:, None, :]
            )
        return torch.where(any_filled[:, :, None], read, 0.0)

    def _remember(
        self,
        x: Float[Tensor, "rows frames width"],
        present: Bool[Tensor, "rows frames"],
        state: State,
    ) -> State:
        blocks, some = block_means(x.to(state["memory"].dtype), present, self.block_length)
        memory = torch.cat((state["memory"], blocks), dim=1)
        filled = torch.cat((state["filled"], some), dim=1)
        if self.memory_length == -1:
            needed = int(
                filled.any(dim=0).int().argmax()
            )  # leading slots that no row uses any more
            return {"memory": memory[:, needed:], "filled": filled[:, needed:]}
        continues = state["filled"].any(dim=1, keepdim=True)
        age = torch.arange(memory.shape[1] - 1, -1, -1, device=x.device)
        filled = filled & ((age < self.memory_length) | ~continues)
        return {"memory": memory[:, -self.slots :], "filled": filled[:, -self.slots :]}


def block_means(
    x: Float[Tensor, "rows frames width"], present: Bool[Tensor, "rows frames"], length: int
) -> tuple[Float[Tensor, "rows blocks width"], Bool[Tensor, "rows blocks"]]:
    """Means over blocks of `length` frames, absent ones left out, and which blocks have any."""
    missing = -x.shape[1] % length
    x = functional.pad(torch.where(present[:, :, None], x, 0.0), (0, 0, 0, missing))
    present = functional.pad(present, (0, missing))
    count = torch.unflatten(present, 1, (-1, length)).sum(dim=2)
    total = torch.unflatten(x, 1, (-1, length)).sum(dim=2)
    return total / count.clamp(min=1)[:, :, None], count > 0
