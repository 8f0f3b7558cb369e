"""The demo: where a small network learns to look.

What it teaches is the paper's idea: a few glimpses of a scene, whose places and scales a policy chooses,
tell more than as many at random. It claims only what it measures, on scenes never seen, beside fixed
ways to look at the same number of glimpses.
"""

from adaglimpse.demo.run import command

__all__ = ["command"]
