"""What a learner makes an update with: the same moves under any precision and process layout."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, gather_object
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from shared_core.errors import NonFiniteError
from shared_core.launch.collectives import any_rank
from shared_core.training.guards import StoppedElsewhere

Batch = TypeVar("Batch")

_OVERFLOWS_BORNE = 40
"""fp16 halves its loss scale at every overflow: after so many in a row it is not at fault."""


class Hands:
    """Backward, clipping and the optimiser's step, which all processes agree on before it."""

    def __init__(
        self,
        accelerator: Accelerator,
        *,
        clip_norm: float | None,
        fp16: bool = False,
        stop_asked: Callable[[], bool] = lambda: False,
    ) -> None:
        self.accelerator = accelerator
        self.clip_norm = clip_norm
        self.fp16 = fp16
        self.stop_asked = stop_asked
        self.stopping = False
        """Some process was asked to stop; the same on all of them."""
        self.failure: Exception | None = None
        """What went wrong on this process beside the update; all stop for it at the next step."""
        self.left_out = False
        """The last update took no step, because nothing in it counted on any process."""
        self.overflows = 0
        """fp16 updates in a row that took no step, because the loss scale was too high."""
        self._losses: list[Tensor] = []
        self._where = ""
        self._describe: Callable[[], str] = str
        self._last_micro_batch = True

    @property
    def deepspeed(self) -> bool:
        """Whether DeepSpeed's engine makes the updates."""
        return bool(self.accelerator.distributed_type == DistributedType.DEEPSPEED)

    def start(self, where: str, describe: Callable[[], str] = str) -> None:
        """Begin an update; `where` and `describe` name it, should a value not be finite."""
        self._where, self._describe = where, describe
        self._losses.clear()

    def accumulate(self, model: nn.Module, micro_batches: Sequence[Batch]) -> Iterator[Batch]:
        """Each micro-batch in turn; gradients travel between processes with the last one only."""
        for left, batch in zip(range(len(micro_batches) - 1, -1, -1), micro_batches, strict=True):
            self._last_micro_batch = left == 0
            quiet = nullcontext() if left == 0 else self.accelerator.no_sync(model)
            with quiet:
                yield batch

    def autocast(self) -> AbstractContextManager[Any]:
        """The run's precision, for the forward pass and the loss."""
        context: AbstractContextManager[Any] = self.accelerator.autocast()
        return context

    def backward(self, loss: Float[Tensor, ""]) -> None:
        """Add the loss's gradient, divided by the count of micro-batches, to the parameters'."""
        self._losses.append(loss.detach().float())
        if self.deepspeed:
            # accelerate's own backward would also step, before the processes have agreed to it
            engine = self._engine
            engine.set_gradient_accumulation_boundary(is_boundary=self._last_micro_batch)
            engine.backward(loss)
        else:
            self.accelerator.backward(loss)

    def step(
        self, optimizer: Optimizer, clip_groups: Sequence[nn.Module], *, skip: bool = False
    ) -> float:
        """Step the optimiser, once all processes agree that loss and gradient are finite.

        Args:
            optimizer: as `prepare` left it.
            clip_groups: modules clipped each to the norm `clip_norm`. DeepSpeed knows one
                norm, that of the whole model.
            skip: nothing counted here; where no process has anything, no step is taken.

        Returns:
            The norm of the whole gradient before clipping.

        Raises:
            NonFiniteError: on all processes, before the weights move; names process and batch.
            StoppedElsewhere: another process failed outside the update.
        """
        groups = [] if self.deepspeed else _gradient_groups(optimizer, clip_groups)
        if self.deepspeed or any(groups):  # fp16's scaler takes no optimiser without a gradient
            self.accelerator.unscale_gradients(optimizer)
        norms = [_norm(group).to(self.accelerator.device) for group in groups]
        norm = float(torch.stack(norms).norm()) if norms else 0.0
        loss_is_finite = all(math.isfinite(loss) for loss in self._losses)
        finite = loss_is_finite and (math.isfinite(norm) or self._overflow_is_borne)
        bad, some_count = self.agree(bad=not finite, counts=not skip)
        if bad:
            raise self._not_finite(norm)
        self._losses.clear()  # they were finite: a further step of this update has its own
        self.left_out = not some_count
        if self.left_out:
            self._take_no_step(optimizer, unscaled=any(groups))
            return norm
        if self.deepspeed:
            return self._engine_step()
        self.overflows = 0 if math.isfinite(norm) else self.overflows + 1
        if self.clip_norm is not None:
            for group, group_norm in zip(groups[: len(clip_groups)], norms, strict=False):
                torch.nn.utils.clip_grads_with_norm_(group, self.clip_norm, group_norm)
        optimizer.step()
        optimizer.zero_grad()
        return norm

    def agree(self, *, bad: bool = False, counts: bool = True) -> tuple[bool, bool]:
        """What is true on any process; a stop that one was asked for becomes known to all.

        Args:
            bad: something is not finite here.
            counts: something counts here.

        Raises:
            StoppedElsewhere: another process failed outside the update.
        """
        some_bad, stop, some_count, failed = any_rank(
            [bad, self.stop_asked(), counts, self.failure is not None]
        )
        self.stopping = self.stopping or stop
        if failed:
            raise self.failure or StoppedElsewhere("another process failed; see its message.")
        return some_bad, some_count

    @property
    def _engine(self) -> Any:
        return self.accelerator.deepspeed_engine_wrapped.engine

    @property
    def _overflow_is_borne(self) -> bool:
        return self.fp16 and self.overflows < _OVERFLOWS_BORNE

    def _take_no_step(self, optimizer: Optimizer, *, unscaled: bool) -> None:
        # DeepSpeed keeps the zero gradient of such an update and adds the next one to it.
        if not self.deepspeed:
            optimizer.zero_grad()
        if self.accelerator.scaler is not None and unscaled:
            self.accelerator.scaler.update()  # or it refuses to unscale the next gradient

    def _engine_step(self) -> float:
        engine = self._engine
        engine.step()
        norm = float(engine.get_global_grad_norm() or 0.0)
        if math.isfinite(norm) and not getattr(engine.optimizer, "overflow", False):
            self.overflows = 0
        elif self._overflow_is_borne:
            self.overflows += 1
        else:
            # The engine has seen it too, and left the weights alone.
            raise self._not_finite(math.inf)
        return norm

    def _not_finite(self, norm: float) -> NonFiniteError:
        """The error that all processes raise: it says where, on which of them, in what batch."""
        rank, names = self.accelerator.process_index, self._describe()
        here = f"on process {rank}" + (f" ({names})" if names else "")
        losses = [f"loss {float(v)} {here}" for v in self._losses if not math.isfinite(v)]
        gradients = [] if math.isfinite(norm) else [f"gradient norm {norm} {here}"]
        # The gradients are averaged, so that one process's bad loss spoils them on all.
        faults = gather_object(losses) or gather_object(gradients)
        return NonFiniteError(
            f"{self._where}: {'; '.join(faults)}. The weights were not changed by this update.\n"
            "Look at this batch's data; a lower learning rate or --clip-norm may help."
        )


def _gradient_groups(optimizer: Optimizer, modules: Sequence[nn.Module]) -> list[list[Tensor]]:
    """Parameters with a gradient: those of each module, then the optimiser's in none of them."""
    groups = [[p for p in module.parameters() if p.grad is not None] for module in modules]
    seen = {id(parameter) for group in groups for parameter in group}
    everything = (p for group in optimizer.param_groups for p in group["params"])
    return [*groups, [p for p in everything if p.grad is not None and id(p) not in seen]]


def _norm(parameters: Sequence[Tensor]) -> Float[Tensor, ""]:
    """2-norm of the gradients together, over all shards."""
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
