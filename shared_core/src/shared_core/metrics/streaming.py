"""Metrics of pairs that stream: `update` repeatedly, merge over shards and processes, then `measure`.

They stand apart from the functions because torchmetrics, their base, imports much of what is
installed beside it (transformers, matplotlib): whoever calls functions alone does not wait for that.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Float64, Real
from torch import Tensor
from torchmetrics import Metric

from shared_core.metrics.correlation import krcc_score, linear_score, plcc_score, srcc_score
from shared_core.metrics.error import mean_error, rmse_score, sum_of_absolutes, sum_of_squares
from shared_core.metrics.logistic import ParameterCount, score_after_fit
from shared_core.metrics.measure import Measure
from shared_core.metrics.moments import Moments
from shared_core.metrics.pairs import Score, as_scalar, checked_pairs


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


class MomentsMetric(PairMetric):
    """Base of the metrics that six numbers suffice for, however long the stream."""

    state: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        empty = torch.zeros(6, dtype=torch.float64)
        self.add_state("state", default=empty, dist_reduce_fx=_merged)

    def update(self, prediction: Real[Tensor, "..."], target: Real[Tensor, "..."]) -> None:
        """Add pairs.

        Raises:
            ValueError: the shapes differ.
            NonFiniteError: a value is NaN or infinite; names the first index of this call.
        """
        seen = torch.from_numpy(Moments.of(prediction, target).values)
        self.state = _merged(torch.stack([self.state, seen.to(self.device)]))

    @property
    def moments(self) -> Moments:
        """Moments of what this process has seen."""
        return Moments(self.state.cpu().numpy())


class CCC(MomentsMetric):
    """Streaming concordance correlation coefficient, see `ccc`: in [-1, 1], higher is better.

    Its state is six float64 numbers; shards and processes merge to rounding (1e-12).
    """

    higher_is_better = True

    def evaluate(self) -> Score:
        """CCC of everything seen, and the reason where it is undefined."""
        moments = self.moments
        return as_scalar(moments.concordance()), moments.why_no_concordance()


class PLCC(MomentsMetric):
    """Streaming linear correlation, see `plcc`: in [-1, 1], higher is better.

    Its state is six float64 numbers; shards and processes merge to rounding (1e-12).
    """

    higher_is_better = True

    def evaluate(self) -> Score:
        """PLCC of everything seen, and the reason where it is undefined."""
        return linear_score(self.moments)


class FittedPLCC(ValuesMetric):
    """Streaming linear correlation after the VQEG logistic, see `plcc`; keeps all values.

    Args:
        fit: parameters of the curve, 4 or 5.
    """

    higher_is_better = True

    def __init__(self, fit: ParameterCount, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fit: ParameterCount = fit

    def evaluate(self) -> Score:
        """PLCC after the fit to everything seen, and the reason where it is undefined."""
        return score_after_fit(plcc_score, *self.values(), self.fit)


class SRCC(ValuesMetric):
    """Streaming Spearman rank correlation, see `srcc`; keeps all values and merges exactly."""

    higher_is_better = True

    def evaluate(self) -> Score:
        """SRCC of everything seen, and the reason where it is undefined."""
        return srcc_score(*self.values())


class KRCC(ValuesMetric):
    """Streaming Kendall rank correlation tau-b, see `krcc`; keeps all values and merges exactly."""

    higher_is_better = True

    def evaluate(self) -> Score:
        """KRCC of everything seen, and the reason where it is undefined."""
        return krcc_score(*self.values())


class _ErrorMetric(PairMetric):
    """Base of the mean errors: the state is the number of pairs and the sum of their errors."""

    higher_is_better = False
    state: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("state", default=torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")


class RMSE(_ErrorMetric):
    """Streaming root mean squared error, see `rmse`; O(1) float64 state, merges to rounding."""

    def update(self, prediction: Real[Tensor, "..."], target: Real[Tensor, "..."]) -> None:
        """Add pairs; raises as `rmse` does."""
        self.state = self.state + sum_of_squares(prediction, target).to(self.device)

    def evaluate(self) -> Score:
        """RMSE of everything seen, and the reason where it is undefined."""
        mean, reason = mean_error(self.state)
        return mean.sqrt(), reason


class MAE(_ErrorMetric):
    """Streaming mean absolute error, see `mae`; O(1) float64 state, merges to rounding."""

    def update(self, prediction: Real[Tensor, "..."], target: Real[Tensor, "..."]) -> None:
        """Add pairs; raises as `mae` does."""
        self.state = self.state + sum_of_absolutes(prediction, target).to(self.device)

    def evaluate(self) -> Score:
        """MAE of everything seen, and the reason where it is undefined."""
        return mean_error(self.state)


class FittedRMSE(ValuesMetric):
    """Streaming RMSE after the VQEG logistic, see `rmse`; keeps all values.

    Args:
        fit: parameters of the curve, 4 or 5.
    """

    higher_is_better = False

    def __init__(self, fit: ParameterCount, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fit: ParameterCount = fit

    def evaluate(self) -> Score:
        """RMSE after the fit to everything seen, and the reason where it is undefined."""
        return score_after_fit(rmse_score, *self.values(), self.fit)


def _merged(states: Float64[Tensor, "parts 6"]) -> Float64[Tensor, "6"]:
    merged = Moments(states.cpu().numpy()).merge()
    return torch.from_numpy(merged.values).to(states.device)
