"""What every metric asks of its input, and what every streaming metric of pairs shares."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, SupportsFloat, TypeAlias

import torch
from jaxtyping import Float64, Real
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from shared_core.errors import NonFiniteError
from shared_core.metrics.measure import Measure

Score: TypeAlias = tuple[Tensor, str | None]
"""A 0-d float64 value, NaN where it is undefined, and the reason for that."""


def flat_pairs(
    prediction: Real[Tensor, "..."], target: Real[Tensor, "..."]
) -> tuple[Real[Tensor, " n"], Real[Tensor, " n"]]:
    """Both tensors flat and without gradient.

    Raises:
        ValueError: the shapes differ.
    """
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction has shape {tuple(prediction.shape)}, target {tuple(target.shape)}: "
            "expected the same shape"
        )
    return prediction.detach().reshape(-1), target.detach().reshape(-1)


def checked_pairs(
    prediction: Real[Tensor, "..."], target: Real[Tensor, "..."]
) -> tuple[Real[Tensor, " n"], Real[Tensor, " n"]]:
    """Both tensors flat, without gradient, and finite.

    Raises:
        ValueError: the shapes differ.
        NonFiniteError: a value is NaN or infinite; names the first index (of the flat tensor).
    """
    prediction, target = flat_pairs(prediction, target)
    require_finite("prediction", prediction)
    require_finite("target", target)
    return prediction, target


def require_finite(name: str, values: Real[Tensor, " n"]) -> None:
    """Pass if every value is finite.

    Raises:
        NonFiniteError: a value is NaN or infinite; names the first index.
    """
    # A sum is finite only if every term is, and costs one read without a temporary. The converse
    # fails where finite terms overflow, so the slow search has the last word.
    if math.isfinite(values.sum()):
        return
    bad = (~torch.isfinite(values)).nonzero()
    if len(bad):
        index = int(bad[0])
        raise NonFiniteError(f"{name}[{index}] is {values[index].item()}: expected finite values.")


def as_array(values: Real[Tensor, " n"]) -> NDArray[Any]:
    """The values for numpy, which starts its kernels and sorts several times faster than torch."""
    values = values.cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def why_no_concordance(n: int, constant_prediction: bool, constant_target: bool) -> str | None:
    """Why the agreement of n pairs is undefined; None where it is defined."""
    if n < 2:
        return f"it needs at least 2 values, there are {n}"
    if constant_prediction and constant_target:
        return "prediction and target are both constant"
    return None


def why_no_correlation(n: int, constant_prediction: bool, constant_target: bool) -> str | None:
    """Why the correlation of n pairs is undefined; None where it is defined."""
    if reason := why_no_concordance(n, constant_prediction, constant_target):
        return reason
    if constant_prediction:
        return "prediction is constant"
    return "target is constant" if constant_target else None


def as_scalar(value: SupportsFloat) -> Float64[Tensor, ""]:
    """A 0-d float64 tensor."""
    return torch.tensor(float(value), dtype=torch.float64)


class PairMetric(Metric):
    """Base of the streaming metrics: `update(prediction, target)` repeatedly, then `measure()`.

    A subclass keeps float64 states that merge over shards (`merge_state`) and processes (`compute`
    gathers them), and says in `evaluate` what they amount to. Tensors may have any shape, the same
    for both; every element is one pair.
    """

    full_state_update = False
    is_differentiable = False

    reason: str | None = None
    """Why the last computed value is undefined; None where it is defined."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of the states. A process without rows sends an empty tensor of this type."""
        # torchmetrics answers float32 again after `to(device)`, which would break the gathering.
        return torch.float64

    @abstractmethod
    def evaluate(self) -> Score:
        """The value of the merged states, NaN where it is undefined, and the reason for that."""

    def compute(self) -> Float64[Tensor, ""]:
        """The value over everything seen, by all processes; NaN where it is undefined."""
        value, self.reason = self.evaluate()
        return value

    def measure(self, unit: str = "") -> Measure:
        """The value over everything seen, with its reason where it is undefined.

        Collective, as `compute` is: every process must call it.
        """
        return Measure(
            value=float(self.compute()),
            reason=self.reason,
            unit=unit,
            higher_is_better=bool(self.higher_is_better),
        )

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the states of another metric of the same class to this one."""
        super().merge_state(incoming_state)
        self._computed = None  # torchmetrics keeps the value from before the merge


class ValuesMetric(PairMetric):
    """Base of the metrics that need every value (ranks, fits); the states grow with the data."""

    prediction: list[Tensor]
    target: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("prediction", default=[], dist_reduce_fx="cat")
        self.add_state("target", default=[], dist_reduce_fx="cat")

    def update(self, prediction: Real[Tensor, "..."], target: Real[Tensor, "..."]) -> None:
        """Add pairs.

        Raises:
            ValueError: the shapes differ.
            NonFiniteError: a value is NaN or infinite; names the first index of this call.
        """
        prediction, target = checked_pairs(prediction, target)
        self.prediction.append(prediction.to(self.device, torch.float64))
        self.target.append(target.to(self.device, torch.float64))

    def values(self) -> tuple[Float64[Tensor, " n"], Float64[Tensor, " n"]]:
        """All predictions and all targets, in the order of shards and processes."""
        return self._joined(self.prediction), self._joined(self.target)

    def _joined(self, state: list[Tensor] | Tensor) -> Tensor:
        if isinstance(state, Tensor):  # gathered from the processes
            return state
        return torch.cat([torch.empty(0, dtype=torch.float64, device=self.device), *state])
