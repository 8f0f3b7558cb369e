"""Metrics of predictions against targets: streaming, mergeable, in float64, and honest where undefined.

The functions take two tensors of one shape and give a 0-d float64 tensor, NaN where undefined. The classes
stream (`update`), merge over shards and processes, and `measure()` the value with its reason.
Each name is imported when it is first used, so that `Measure` costs no import of torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared_core.metrics.agreement import CCC, ccc
    from shared_core.metrics.correlation import KRCC, PLCC, SRCC, FittedPLCC, krcc, plcc, srcc
    from shared_core.metrics.error import MAE, RMSE, FittedRMSE, mae, rmse
    from shared_core.metrics.intervals import (
        GroupScore,
        ItemScore,
        bootstrap,
        bootstrap_difference,
    )
    from shared_core.metrics.logistic import FitError, Logistic, fit_logistic
    from shared_core.metrics.measure import Interval, Measure
    from shared_core.metrics.moments import Moments

_MODULES = {
    "agreement": ("CCC", "ccc"),
    "correlation": ("KRCC", "PLCC", "SRCC", "FittedPLCC", "krcc", "plcc", "srcc"),
    "error": ("MAE", "RMSE", "FittedRMSE", "mae", "rmse"),
    "intervals": ("GroupScore", "ItemScore", "bootstrap", "bootstrap_difference"),
    "logistic": ("FitError", "Logistic", "fit_logistic"),
    "measure": ("Interval", "Measure"),
    "moments": ("Moments",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
