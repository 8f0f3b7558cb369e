"""What can be chosen: of a model, of a data set, of a training run, and of every other command.

Nothing here imports torch, so that `--help` answers at once.
"""

from adaglimpse.config.commands import (
    CheckConfig,
    ConvertConfig,
    DemoConfig,
    EvaluateConfig,
    ImagenetConfig,
    Policy,
    PredictConfig,
)
from adaglimpse.config.data import AUGMENTATIONS, TASKS_OF, DatasetName, DataSettings, Split
from adaglimpse.config.model import (
    IMAGENET_CLASSES,
    PATCH,
    RL_INPUTS,
    SIZES,
    BackboneSize,
    GlimpseModelConfig,
    RlInput,
    Sizes,
    Task,
)
from adaglimpse.config.training import Compat, EvalAction, TrainConfig

__all__ = [
    "AUGMENTATIONS",
    "IMAGENET_CLASSES",
    "PATCH",
    "RL_INPUTS",
    "SIZES",
    "TASKS_OF",
    "BackboneSize",
    "CheckConfig",
    "Compat",
    "ConvertConfig",
    "DataSettings",
    "DatasetName",
    "DemoConfig",
    "EvalAction",
    "EvaluateConfig",
    "GlimpseModelConfig",
    "ImagenetConfig",
    "Policy",
    "PredictConfig",
    "RlInput",
    "Sizes",
    "Split",
    "Task",
    "TrainConfig",
]
