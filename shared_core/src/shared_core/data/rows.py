"""What every batch of rows can do: move, be pinned, and drop the rows that only fill it up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from itertools import compress
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from jaxtyping import Bool
from torch import Tensor

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Base = DataclassInstance
else:
    Base = object

R = TypeVar("R", bound="Rows")


class Rows(Base):
    """Mixin of a frozen dataclass whose fields are tensors or tuples, a row of each for each item."""

    valid: Bool[Tensor, " B"]
    """False for rows that fill up a batch and count nothing."""

    def __len__(self) -> int:
        """Number of rows that count: what throughput counts."""
        return int(self.valid.sum())

    def to(self: R, device: torch.device | str) -> R:
        """The same batch on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self: R) -> R:
        """The same batch in page-locked memory."""
        return self._each(Tensor.pin_memory)

    def that_count(self: R) -> R:
        """Only the rows that are valid."""
        if bool(self.valid.all()):
            return self
        kept = self._each(lambda tensor: tensor[self.valid])
        return replace(
            kept, **self._tuples(lambda rows: tuple(compress(rows, self.valid.tolist())))
        )

    def _each(self: R, change: Callable[[Tensor], Tensor]) -> R:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{n: change(v) for n, v in values.items() if isinstance(v, Tensor)})

    def _tuples(self, change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {n: change(v) for n, v in values.items() if isinstance(v, tuple)}
