"""What operators compute and hold: their FLOPs, and the bytes of the tensors that they make."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While the block runs, count the FLOPs, and the bytes of what is made in it and alive.

    torch's own `FlopCounterMode` also follows modules, which tensordict's modules do not bear.

    Attributes:
        flops: of matrix products, convolutions, attention and LSTMs.
        alive: bytes of tensors made in the block that are not freed yet.
        peak: the largest `alive` so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = self.alive = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        flops = _FLOPS.get(func._overloadpacket)
        if flops is None:
            with self:  # an operator that is made of others is counted as these
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        for given in tree_leaves((args, kwargs)):
            self._see(given, made_here=False)
        result = func(*args, **kwargs)
        for made in tree_leaves(result):
            self._see(made, made_here=True)
        self.peak = max(self.peak, self.alive)
        if flops is not None:
            self.flops += flops(*args, **kwargs, out_val=result)
        return result

    def _see(self, value: Any, *, made_here: bool) -> None:
        if not isinstance(value, Tensor):
            return
        storage = value.untyped_storage()
        if storage._cdata in self._known:
            return
        size = storage.nbytes() if made_here else 0
        self._known.add(storage._cdata)
        self.alive += size
        weakref.finalize(storage, self._freed, storage._cdata, size).atexit = False

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.alive -= size


def _lstm(inputs: Tensor, w: Tensor, u: Tensor, *_: Any, **__: Any) -> int:
    """Of a layer in one direction; inputs [T, B, I], weights [4H, I] and [4H, H]."""
    return 2 * inputs.shape[0] * inputs.shape[1] * (w.numel() + u.numel())


def _lstm_backward(*given: Any, **named: Any) -> int:
    return 2 * _lstm(*given, **named)


_FLOPS: Mapping[Any, Callable[..., int]] = {
    **flop_registry,
    torch.ops.aten.mkldnn_rnn_layer: _lstm,  # the CPU's own, which torch does not list
    torch.ops.aten.mkldnn_rnn_layer_backward: _lstm_backward,
}
