"""Embedded data: drawn people who look at things around them, in two styles of drawing.

A small stand-in for GazeFollow in its published layout, so that every command can be tried without a
data set. Both styles show scenes of one kind, so that only how they look sets the domains apart.
"""

from gaze_da.synthetic.drawing import Style, render
from gaze_da.synthetic.layout import write_domain
from gaze_da.synthetic.scenes import HEIGHT, WIDTH, Person, Scene, Thing, compose

__all__ = [
    "HEIGHT",
    "WIDTH",
    "Person",
    "Scene",
    "Style",
    "Thing",
    "compose",
    "render",
    "write_domain",
]
