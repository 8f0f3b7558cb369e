"""What is kept of past tasks: which clips, which of their frames, and the store that holds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.cluster.vq import kmeans2
from torch import Tensor


def spread(scores: Float[np.ndarray, " n"], count: int) -> list[int]:
    """Clips whose scores cover the range: places int(linspace(0, n - 1, count)) of the sorted scores.

    Ties keep their order. Fewer clips than asked for: all of them.
    """
    order = np.argsort(scores, kind="stable")
    if len(order) <= count:
        return [int(place) for place in order]
    return [int(order[place]) for place in np.linspace(0, len(order) - 1, count).astype(int)]


def reservoir_slot(seen: int, capacity: int, draw: Callable[[int], int]) -> int | None:
    """Where the next of a stream goes, so that each has the same chance to be kept (Vitter, 1985).

    Args:
        seen: how many came before it.
        capacity: slots there are.
        draw: a whole number from 0 to below its argument, all alike.

    Returns:
        The slot; None: it is not kept.
    """
    if seen < capacity:
        return seen
    slot = draw(seen + 1)
    return slot if slot < capacity else None


def key_frames(
    features: Float[np.ndarray, "T C"], count: int, seed: int, *, in_time: bool = True
) -> list[int]:
    """Frames that stand for a clip: the nearest to each centre of a k-means.

    Args:
        features: of each frame.
        count: frames to choose.
        seed: of the k-means.
        in_time: in the order of time, as the adapter learns them; else of the clusters, as the authors.
    """
    values = features.astype(np.float64)
    if len(np.unique(values, axis=0)) <= count:  # a still picture has no clusters
        chosen = np.linspace(0, len(values) - 1, count).astype(int).tolist()
        return [int(frame) for frame in chosen]
    centres, _ = kmeans2(values, count, minit="++", missing="warn", rng=np.random.default_rng(seed))
    distances = np.linalg.norm(values[None] - centres[:, None], axis=2)
    found: list[int] = []
    for of_centre in distances:
        ranked = [int(frame) for frame in np.argsort(of_centre, kind="stable")]
        found.append(next(frame for frame in ranked if frame not in found))
    return sorted(found) if in_time else found


class Memory:
    """Rows of tensors, a clip each, as many as there are slots; frames are kept as uint8.

    Attributes:
        capacity: slots.
        seen: rows that were offered so far.
        rows: tensors by name, each with a row a slot that is filled.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.seen = 0
        self.rows: dict[str, Tensor] = {}

    def __len__(self) -> int:
        """Slots that are filled."""
        return len(next(iter(self.rows.values()))) if self.rows else 0

    def __getitem__(self, name: str) -> Tensor:
        """All rows of a tensor."""
        return self.rows[name]

    def append(self, **row: Tensor) -> None:
        """Fill the next slot.

        Raises:
            ValueError: there is none.
        """
        self.put(len(self), **row)
        self.seen += 1

    def put(self, slot: int, **row: Tensor) -> None:
        """Fill a slot, or replace what is in it.

        Raises:
            ValueError: there is no such slot.
        """
        if slot >= self.capacity:
            raise ValueError(f"a memory of {self.capacity} has no slot {slot}")
        for name, value in row.items():
            one = value.detach().cpu()[None]
            if slot < len(self.rows.get(name, ())):
                self.rows[name][slot] = one[0]
            else:
                self.rows[name] = torch.cat([self.rows[name], one]) if name in self.rows else one

    def drawn(self, count: int, generator: torch.Generator) -> list[int]:
        """Different slots at random; all of them, where there are fewer."""
        order = torch.randperm(len(self), generator=generator)
        chosen: list[int] = order[:count].tolist()
        return chosen

    @property
    def bytes(self) -> int:
        """What it takes."""
        return sum(tensor.nbytes for tensor in self.rows.values())

    def state(self) -> dict[str, Any]:
        """Everything, for a checkpoint."""
        return {"seen": self.seen, "rows": dict(self.rows)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        self.seen = int(state["seen"])
        self.rows = {name: tensor.cpu() for name, tensor in state["rows"].items()}
