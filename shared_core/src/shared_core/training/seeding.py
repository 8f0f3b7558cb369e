"""The global random generators, set by a key instead of by history."""

from __future__ import annotations

import random

import numpy as np
import torch

from shared_core.data.loader import generator


def seed_everything(*key: int) -> None:
    """Seed Python's, numpy's and torch's global generators (of all devices) by any integers.

    What draws from them next (initial weights, dropout) depends on the key, and on nothing before.
    """
    seed = generator(*key).initial_seed()
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  third-party code draws from the global generator
    torch.manual_seed(seed)
