"""How a stream of tasks is learnt: one file a strategy, each with its paper."""

from asal_vrvqa.strategies.base import Strategy, strategy

__all__ = ["Strategy", "strategy"]
