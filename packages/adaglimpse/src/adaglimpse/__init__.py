"""Active visual exploration: an image seen through a few glimpses of chosen place and scale.

    from adaglimpse import GlimpseModel

    model = GlimpseModel.from_pretrained("runs/night")
    model.predict(["photo.jpg"])[0].boxes  # where it looked, in the order it looked

Importing the package costs nothing; each name is loaded when it is first used.
"""

from typing import TYPE_CHECKING

from shared_core.public_names import load_when_used

__version__ = "0.1.0"

_HOME = {
    "GlimpseModel": "model.network",
    "GlimpseModelConfig": "config",
    "TrainConfig": "config",
    "evaluate": "evaluate",
    "from_upstream": "weights",
    "predict": "predict",
    "train": "learner",
}

__all__ = [
    "GlimpseModel",
    "GlimpseModelConfig",
    "TrainConfig",
    "evaluate",
    "from_upstream",
    "predict",
    "train",
]

if TYPE_CHECKING:
    from adaglimpse.config import GlimpseModelConfig, TrainConfig
    from adaglimpse.evaluate import evaluate
    from adaglimpse.learner import train
    from adaglimpse.model.network import GlimpseModel
    from adaglimpse.predict import predict
    from adaglimpse.weights import from_upstream

load_when_used(__name__, _HOME)
