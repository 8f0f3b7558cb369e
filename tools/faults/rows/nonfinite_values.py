"""NaN and infinities handed to metrics: refused by place, never made into a number."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from shared_core.errors import NonFiniteError
from shared_core.metrics import (
    CCC,
    KRCC,
    MAE,
    PLCC,
    RMSE,
    SRCC,
    ccc,
    fit_logistic,
    krcc,
    mae,
    plcc,
    rmse,
    root_mean,
    squared_errors,
    srcc,
)
from shared_core.metrics.measure import Measure
from tools.faults.row import Options, Row, Trials, expect
from tools.faults.subject import Subject
from tools.faults.table import Figure

NAME = "nonfinite-metric"
WANTED = "refused by index, or undefined; never a number"
_VALUES = {"NaN": math.nan, "infinity": math.inf, "-infinity": -math.inf}
_PAIRS = 40
"""Of each kind: half in the prediction, half in the target."""


def run(subject: Subject, options: Options) -> Figure:
    """Each metric on 50 pairs of which one, anywhere, is not finite."""
    trials = Trials(NAME, subject, WANTED)
    draw = options.draw(NAME)
    for name, metric in _METRICS.items():
        for kind, value in _VALUES.items():
            for number in range(_PAIRS):
                place = draw.randrange(50)
                pair = [_scores(2 * number), _scores(2 * number + 1)]
                pair[number % 2][place] = value
                with trials.trial(f"{name}, {kind} at {place}"):
                    _judge(metric, pair, place)
    return trials.figure(f"{len(_METRICS)} metrics")


def _scores(seed: int) -> Tensor:
    return torch.randn(50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _judge(metric: Callable[[Tensor, Tensor], Any], pair: list[Tensor], place: int) -> None:
    try:
        found = metric(*pair)
    except NonFiniteError as error:
        expect(str(place) in str(error), f"the place is not named: {error}")
        return
    value = found.value if isinstance(found, Measure) else float(found)
    expect(math.isnan(value), f"it gave {value}")


def _streamed(kind: type[Any], prediction: Tensor, target: Tensor) -> Any:
    metric = kind()
    metric.update(prediction, target)
    return metric.measure()


def _picture_error(prediction: Tensor, target: Tensor) -> float:
    return float(root_mean(squared_errors(prediction[None], target[None]))[0])


_METRICS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    **{f.__name__: f for f in (ccc, plcc, srcc, krcc, mae, rmse)},
    "plcc, fitted": lambda p, t: plcc(p, t, 4),
    "rmse, fitted": lambda p, t: rmse(p, t, 4),
    "logistic": lambda p, t: fit_logistic(p, t, 4)(p).sum(),
    "RMSE of pictures": _picture_error,
    **{
        f"{k.__name__}, streamed": partial(_streamed, k) for k in (CCC, PLCC, SRCC, KRCC, MAE, RMSE)
    },
}

ROWS = (Row(name=NAME, wanted=WANTED, run=run, per_package=False),)
