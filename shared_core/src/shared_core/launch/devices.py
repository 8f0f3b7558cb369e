"""Which device a command that is no training run works on."""

from __future__ import annotations

import torch

from shared_core.errors import UsageError


def chosen_device(name: str) -> str:
    """`cpu` or `cuda` for a `--device`; `auto` takes a GPU if there is one.

    Raises:
        UsageError: cuda is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: there is no GPU that torch can use (see `doctor`).")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
