"""Valence and arousal for every frame of a video, from faces and voice.

    from abaw_va import VaModel

    trace = VaModel.from_pretrained("runs/night/model").predict("clip.mp4")
    trace.valence, trace.arousal, trace.times_s

Importing the package costs nothing; each name is loaded when it is first used.
"""

from typing import TYPE_CHECKING

from shared_core.public_names import load_when_used

__version__ = "0.1.0"

_HOME = {
    "FclstmXl": "config",
    "TrainConfig": "config",
    "Transformer": "config",
    "TransformerAttention": "config",
    "TransformerLstm": "config",
    "VaModel": "model.network",
    "evaluate": "evaluate",
    "from_upstream": "weights",
    "predict": "predict",
    "train": "learner",
}

__all__ = [
    "FclstmXl",
    "TrainConfig",
    "Transformer",
    "TransformerAttention",
    "TransformerLstm",
    "VaModel",
    "evaluate",
    "from_upstream",
    "predict",
    "train",
]

if TYPE_CHECKING:
    from abaw_va.config import (
        FclstmXl,
        TrainConfig,
        Transformer,
        TransformerAttention,
        TransformerLstm,
    )
    from abaw_va.evaluate import evaluate
    from abaw_va.learner import train
    from abaw_va.model.network import VaModel
    from abaw_va.predict import predict
    from abaw_va.weights import from_upstream

load_when_used(__name__, _HOME)
