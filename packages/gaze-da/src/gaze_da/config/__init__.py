"""What can be chosen: a network and a training run in `training`, every other command in `commands`.

Nothing here imports torch, so that `--help` answers at once.
"""

from gaze_da.config.commands import (
    CheckConfig,
    ConvertConfig,
    DemoConfig,
    DepthConfig,
    EvaluateConfig,
    GooConfig,
    PredictConfig,
)
from gaze_da.config.training import (
    Augment,
    Compat,
    DatasetName,
    GazeModelConfig,
    Network,
    Protocol,
    Reading,
    TrainConfig,
)

__all__ = [
    "Augment",
    "CheckConfig",
    "Compat",
    "ConvertConfig",
    "DatasetName",
    "DemoConfig",
    "DepthConfig",
    "EvaluateConfig",
    "GazeModelConfig",
    "GooConfig",
    "Network",
    "PredictConfig",
    "Protocol",
    "Reading",
    "TrainConfig",
]
