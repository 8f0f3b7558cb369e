"""The demo: learn valence and arousal of drawn faces and voices, and show what was learnt.

What it teaches is the paper's point: emotion is read frame by frame from what is seen and heard
together, along time. It claims only what it measures, on people that the network has never seen.
"""

from abaw_va.demo.run import command

__all__ = ["command"]
