"""A user's own images and videos, looked at glimpse by glimpse.

`sources` finds the images, `looking` looks at them and makes a `prediction` of each, `state` is for
ablations of what the policy sees, `writing` and `report` show what was found, `verb` is the command.
"""

from adaglimpse.predict.looking import predict, predictions
from adaglimpse.predict.prediction import Prediction
from adaglimpse.predict.sources import Picture, pictures
from adaglimpse.predict.state import AverageState
from adaglimpse.predict.verb import command

__all__ = [
    "AverageState",
    "Picture",
    "Prediction",
    "command",
    "pictures",
    "predict",
    "predictions",
]
