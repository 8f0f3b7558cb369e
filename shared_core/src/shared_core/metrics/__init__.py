"""Metrics of predictions against targets: streaming, mergeable, float64, honest where undefined.

The functions take two tensors of one shape and give a 0-d float64 tensor, NaN where undefined. The
classes stream (`update`), merge over shards and processes, and `measure()` a value with its reason.
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
        MeanScore,
        bootstrap,
        bootstrap_difference,
    )
    from shared_core.metrics.logistic import FitError, Logistic, fit_logistic
    from shared_core.metrics.measure import Interval, Measure
    from shared_core.metrics.moments import Moments
    from shared_core.metrics.reconstruction import PixelScore, root_mean, squared_errors
    from shared_core.metrics.segmentation import (
        ClassCounts,
        ConfusionScore,
        Segmentation,
        confusion_matrices,
        mean_accuracy,
        mean_iou,
        pixel_accuracy,
    )

__all__ = [
    "CCC",
    "KRCC",
    "MAE",
    "PLCC",
    "RMSE",
    "SRCC",
    "ClassCounts",
    "ConfusionScore",
    "FitError",
    "FittedPLCC",
    "FittedRMSE",
    "GroupScore",
    "Interval",
    "ItemScore",
    "Logistic",
    "MeanScore",
    "Measure",
    "Moments",
    "PixelScore",
    "Segmentation",
    "bootstrap",
    "bootstrap_difference",
    "ccc",
    "confusion_matrices",
    "fit_logistic",
    "krcc",
    "mae",
    "mean_accuracy",
    "mean_iou",
    "pixel_accuracy",
    "plcc",
    "rmse",
    "root_mean",
    "squared_errors",
    "srcc",
]

_MODULES = (
    "measure",
    "moments",
    "agreement",
    "logistic",
    "correlation",
    "error",
    "intervals",
    "reconstruction",
    "segmentation",
)


def __getattr__(name: str) -> object:
    # On first use, and in this order: reports use `Measure` without importing torch.
    if name in __all__:
        for module in _MODULES:
            namespace = vars(import_module(f"{__name__}.{module}"))
            if name in namespace:
                return namespace[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
