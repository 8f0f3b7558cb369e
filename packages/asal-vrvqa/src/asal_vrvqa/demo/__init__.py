"""The demo: what a network forgets while it learns one kind of scene after another.

What it teaches is the paper's setting: five kinds of drawn panoramas, each with a distortion of its own,
come one after another, and a small memory of the past changes what is left of it. It claims only what
it measures, on panoramas that the networks have never seen.
"""

from asal_vrvqa.demo.run import command

__all__ = ["command"]
