"""Joint training: all tasks at once. What a stream could at best come to, with all of its past at hand."""

from __future__ import annotations

from asal_vrvqa.strategies.base import Strategy


class Joint(Strategy):
    """Plain training on the clips of all tasks together, which `data.splits.stream_of` makes one stage."""

    paper = "none: the upper end of all papers on continual learning"
