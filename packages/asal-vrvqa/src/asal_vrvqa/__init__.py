"""Continual quality assessment of 360-degree video: Adaptive Score Alignment Learning.

    from asal_vrvqa import QualityModel

    model = QualityModel.from_pretrained("runs/night")
    model.predict("video.mp4", seconds=7).score  # MOS, 1 to 5

Importing the package costs nothing; each name is loaded when it is first used.
"""

from typing import TYPE_CHECKING

from shared_core.public_names import load_when_used

__version__ = "0.1.0"

_HOME = {
    "QualityModel": "model.network",
    "QualityModelConfig": "config",
    "TrainConfig": "config",
    "evaluate": "evaluate",
    "from_upstream": "weights",
    "predict": "predict",
    "train": "learner",
}

__all__ = [
    "QualityModel",
    "QualityModelConfig",
    "TrainConfig",
    "evaluate",
    "from_upstream",
    "predict",
    "train",
]

if TYPE_CHECKING:
    from asal_vrvqa.config import QualityModelConfig, TrainConfig
    from asal_vrvqa.evaluate import evaluate
    from asal_vrvqa.learner import train
    from asal_vrvqa.model.network import QualityModel
    from asal_vrvqa.predict import predict
    from asal_vrvqa.weights import from_upstream

load_when_used(__name__, _HOME)
