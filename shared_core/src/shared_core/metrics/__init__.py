"""Metrics of predictions against targets: streaming, mergeable, float64, honest where undefined.

The functions take two tensors of one shape and give a 0-d float64 tensor, NaN where undefined. The
classes stream (`update`), merge over shards and processes, and `measure()` a value with its reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared_core.public_names import load_when_used

_HOME = {
    "CCC": "streaming",
    "KRCC": "streaming",
    "MAE": "streaming",
    "PLCC": "streaming",
    "RMSE": "streaming",
    "SRCC": "streaming",
    "ClassCounts": "segmentation",
    "ConfusionScore": "segmentation",
    "FitError": "logistic",
    "FittedPLCC": "streaming",
    "FittedRMSE": "streaming",
    "GroupScore": "intervals",
    "Interval": "measure",
    "ItemScore": "intervals",
    "Logistic": "logistic",
    "MeanScore": "intervals",
    "Measure": "measure",
    "Moments": "moments",
    "PixelScore": "reconstruction",
    "Segmentation": "streaming_segmentation",
    "bootstrap": "intervals",
    "bootstrap_difference": "intervals",
    "ccc": "agreement",
    "confusion_matrices": "segmentation",
    "fit_logistic": "logistic",
    "krcc": "correlation",
    "mae": "error",
    "mean_accuracy": "segmentation",
    "mean_iou": "segmentation",
    "pixel_accuracy": "segmentation",
    "plcc": "correlation",
    "rmse": "error",
    "root_mean": "reconstruction",
    "squared_errors": "reconstruction",
    "srcc": "correlation",
}

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

if TYPE_CHECKING:
    from shared_core.metrics.agreement import ccc
    from shared_core.metrics.correlation import krcc, plcc, srcc
    from shared_core.metrics.error import mae, rmse
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
        confusion_matrices,
        mean_accuracy,
        mean_iou,
        pixel_accuracy,
    )
    from shared_core.metrics.streaming import (
        CCC,
        KRCC,
        MAE,
        PLCC,
        RMSE,
        SRCC,
        FittedPLCC,
        FittedRMSE,
    )
    from shared_core.metrics.streaming_segmentation import Segmentation

# Reports use `Measure` without torch, and everybody the functions without torchmetrics.
load_when_used(__name__, _HOME)
