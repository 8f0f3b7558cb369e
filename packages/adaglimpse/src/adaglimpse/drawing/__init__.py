"""Pictures of an episode: what was looked at, what was seen of it, and what was said, step by step."""

from adaglimpse.drawing.animation import animation, write_gif, write_mp4
from adaglimpse.drawing.pictures import blocks, coloured, outlined, received
from adaglimpse.drawing.story import Story, grid_picture, panels

__all__ = [
    "Story",
    "animation",
    "blocks",
    "coloured",
    "grid_picture",
    "outlined",
    "panels",
    "received",
    "write_gif",
    "write_mp4",
]
