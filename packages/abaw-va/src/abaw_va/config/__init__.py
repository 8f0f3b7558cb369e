"""What can be chosen: a training run in `training`, every other command in `commands`.

Nothing here imports torch, so that `--help` answers at once.
"""

from abaw_va.config.commands import (
    AnnotationsConfig,
    ConvertConfig,
    DemoConfig,
    EnsembleConfig,
    EvaluateConfig,
    ExtractConfig,
    FoldsConfig,
    Perception,
    PredictConfig,
    SmoothConfig,
    SubmitConfig,
    TablesConfig,
)
from abaw_va.config.training import (
    BINS,
    MEMORY_HEADS,
    Attending,
    Compat,
    FclstmXl,
    Inputs,
    LossName,
    Network,
    Smoothing,
    TrainConfig,
    Transformer,
    TransformerAttention,
    TransformerLstm,
    VaModelConfig,
)

__all__ = [
    "BINS",
    "MEMORY_HEADS",
    "AnnotationsConfig",
    "Attending",
    "Compat",
    "ConvertConfig",
    "DemoConfig",
    "EnsembleConfig",
    "EvaluateConfig",
    "ExtractConfig",
    "FclstmXl",
    "FoldsConfig",
    "Inputs",
    "LossName",
    "Network",
    "Perception",
    "PredictConfig",
    "SmoothConfig",
    "Smoothing",
    "SubmitConfig",
    "TablesConfig",
    "TrainConfig",
    "Transformer",
    "TransformerAttention",
    "TransformerLstm",
    "VaModelConfig",
]
