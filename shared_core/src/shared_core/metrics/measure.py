"""A metric's value as it is reported: with its interval, or the reason where it is undefined."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A confidence interval, or why there is none.

    Attributes:
        low: lower end; NaN where the interval is undefined.
        high: upper end; NaN where the interval is undefined.
        groups: how many independent units (videos, items) it was drawn from.
        reason: why it is undefined; None where it is defined.
    """

    low: float
    high: float
    groups: int
    reason: str | None = None

    @classmethod
    def undefined(cls, groups: int, reason: str) -> Interval:
        """No interval, and why."""
        return cls(low=math.nan, high=math.nan, groups=groups, reason=reason)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number of an evaluation; an undefined one is NaN with a reason and is never the best.

    Attributes:
        value: the metric; NaN where it is undefined.
        reason: why the value, or only its interval, is undefined; None where all is well.
        low: lower end of the confidence interval, where there is one.
        high: upper end of the confidence interval, where there is one.
        unit: unit of value, low and high; empty for a pure number.
        higher_is_better: direction.

    Raises:
        ValueError: a NaN without a reason.
    """

    value: float
    reason: str | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        if math.isnan(self.value) and not self.reason:
            raise ValueError("an undefined measure needs its reason")

    def __str__(self) -> str:
        if not self.defined:
            return f"undefined ({self.reason})"
        interval = "" if self.low is None else f" [{self.low:.4f}, {self.high:.4f}]"
        unit = f" {self.unit}" if self.unit else ""
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.value:.4f}{interval}{unit}{reason}"

    @property
    def defined(self) -> bool:
        """Whether there is a value at all."""
        return not math.isnan(self.value)

    def better_than(self, other: Measure | None) -> bool:
        """Whether this one would replace `other` as the best; an undefined one never does."""
        if not self.defined:
            return False
        if other is None or not other.defined:
            return True
        return self.value > other.value if self.higher_is_better else self.value < other.value

    def with_interval(self, interval: Interval) -> Measure:
        """The same value with its interval or, where that is undefined, with the reason for it."""
        if interval.reason is None:
            return replace(self, low=interval.low, high=interval.high)
        return replace(self, reason=self.reason or f"no interval: {interval.reason}")

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Measure:
        """What `to_json` gave: an undefined value is NaN again."""
        value = math.nan if fields["value"] is None else fields["value"]
        return cls(**{**fields, "value": value})

    def to_json(self) -> dict[str, float | str | bool | None]:
        """Fields for strict JSON: what is not a finite number becomes None (null)."""
        return {
            name: None if isinstance(field, float) and not math.isfinite(field) else field
            for name, field in asdict(self).items()
        }
