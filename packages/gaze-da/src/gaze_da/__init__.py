"""Where in a picture a person looks, also in a domain without labels.

    from gaze_da import GazeModel

    model = GazeModel.from_pretrained("runs/night")
    model.predict("photo.jpg", heads=[(0.1, 0.2, 0.3, 0.4)])[0].point  # (x, y) in [0, 1]

Importing the package costs nothing; each name is loaded when it is first used.
"""

from typing import TYPE_CHECKING

from shared_core.public_names import load_when_used

__version__ = "0.1.0"

_HOME = {
    "GazeModel": "model.network",
    "GazeModelConfig": "config",
    "TrainConfig": "config",
    "evaluate": "evaluate",
    "from_upstream": "weights",
    "predict": "predict",
    "train": "learner",
}

__all__ = [
    "GazeModel",
    "GazeModelConfig",
    "TrainConfig",
    "evaluate",
    "from_upstream",
    "predict",
    "train",
]

if TYPE_CHECKING:
    from gaze_da.config import GazeModelConfig, TrainConfig
    from gaze_da.evaluate import evaluate
    from gaze_da.learner import train
    from gaze_da.model.network import GazeModel
    from gaze_da.predict import predict
    from gaze_da.weights import from_upstream

load_when_used(__name__, _HOME)
