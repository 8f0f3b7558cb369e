"""The quality of a user's own 360-degree videos.

`looking` is the network on one video, `sources` says which are scored and how they are watched, `writing`
keeps what was found, `verb` is the command.
"""

from asal_vrvqa.predict.looking import Prediction, predict, viewed_frames
from asal_vrvqa.predict.sources import Job, jobs_of
from asal_vrvqa.predict.verb import command
from asal_vrvqa.predict.writing import plot_of

__all__ = ["Job", "Prediction", "command", "jobs_of", "plot_of", "predict", "viewed_frames"]
