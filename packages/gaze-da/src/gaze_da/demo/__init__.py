"""The demo: learn where drawn people look, and carry it over to another style of drawing.

What it teaches is the paper's point: a network that has learnt in one domain loses much of it in
another, and pictures of the other domain that nobody has labelled may bring some of it back. It
claims only what it measures, on pictures that the networks have never seen.
"""

from gaze_da.demo.run import command

__all__ = ["command"]
