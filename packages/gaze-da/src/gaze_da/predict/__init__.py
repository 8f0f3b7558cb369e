"""Where the people in a user's own pictures and videos look.

`looking` is the network on one picture, `sources` finds the heads and the depth of each picture and frame,
`writing` keeps what was seen, `verb` is the command.
"""

from gaze_da.predict.looking import GazePrediction, predict
from gaze_da.predict.sources import NO_DEPTH, UNTRAINED
from gaze_da.predict.verb import command

__all__ = ["NO_DEPTH", "UNTRAINED", "GazePrediction", "command", "predict"]
