"""What can be chosen: of media and prompts, of a training run, and of every other command.

Nothing here imports torch, so that `--help` answers at once.
"""

from refine_iqa.config.commands import (
    CheckConfig,
    ConvertConfig,
    DemoConfig,
    EvaluateConfig,
    Family,
    Mode,
    PerceptionConfig,
    PerceptionTask,
    PredictConfig,
    ScoringSettings,
    TinyModelConfig,
    VideoAs,
)
from refine_iqa.config.data import BoxConvention, MediaSettings, OnBadRow
from refine_iqa.config.training import (
    REWARDS_OF,
    Lora,
    Reward,
    Stage,
    Strategy,
    TrainConfig,
    Vllm,
)

__all__ = [
    "REWARDS_OF",
    "BoxConvention",
    "CheckConfig",
    "ConvertConfig",
    "DemoConfig",
    "EvaluateConfig",
    "Family",
    "Lora",
    "MediaSettings",
    "Mode",
    "OnBadRow",
    "PerceptionConfig",
    "PerceptionTask",
    "PredictConfig",
    "Reward",
    "ScoringSettings",
    "Stage",
    "Strategy",
    "TinyModelConfig",
    "TrainConfig",
    "VideoAs",
    "Vllm",
]
