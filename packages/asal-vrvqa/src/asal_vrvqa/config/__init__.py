"""What can be chosen: a network and a training run in `training`, every other command in `commands`.

Nothing here imports torch, so that `--help` answers at once.
"""

from asal_vrvqa.config.commands import (
    CompareConfig,
    ConvertConfig,
    DemoConfig,
    EvaluateConfig,
    FramesConfig,
    LandscapeConfig,
    PredictConfig,
    SplitsConfig,
    ViewportsConfig,
)
from asal_vrvqa.config.training import (
    STRATEGIES,
    TASKS,
    Compat,
    Network,
    QualityModelConfig,
    Reading,
    Replay,
    Scale,
    TrainConfig,
)

__all__ = [
    "STRATEGIES",
    "TASKS",
    "CompareConfig",
    "Compat",
    "ConvertConfig",
    "DemoConfig",
    "EvaluateConfig",
    "FramesConfig",
    "LandscapeConfig",
    "Network",
    "PredictConfig",
    "QualityModelConfig",
    "Reading",
    "Replay",
    "Scale",
    "SplitsConfig",
    "TrainConfig",
    "ViewportsConfig",
]
