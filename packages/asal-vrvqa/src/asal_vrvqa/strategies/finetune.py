"""Finetuning: each task as it comes, and nothing about the past. The lower end of every comparison."""

from __future__ import annotations

from asal_vrvqa.strategies.base import Strategy


class Finetune(Strategy):
    """Plain training, one task after another."""

    paper = "none: the baseline of all papers on continual learning"
