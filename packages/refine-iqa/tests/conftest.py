"""What several test files of the package share: tiny models of both families, and pictures."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers reads it: no test may reach a network
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import json

import numpy as np
import pytest
from PIL import Image

FAMILIES = ("qwen2_5_vl", "qwen3_vl")


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory):
    """Family -> folder of a tiny random model."""
    from refine_iqa.model.tiny import build

    folder = tmp_path_factory.mktemp("tiny")
    return {family: build(folder / family, family) for family in FAMILIES}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder of eight pictures, darker from one to the next, and a table that rates them."""
    folder = tmp_path_factory.mktemp("pictures")
    draws = np.random.default_rng(0)
    rows = []
    for number in range(8):
        texture = draws.integers(0, 256, (64, 72, 3)) * (1 - number / 8)
        Image.fromarray(texture.astype(np.uint8)).save(folder / f"{number}.png")
        mos = 5.0 - number / 2
        rows.append({"image": f"{number}.png", "question": "How good is it?", "solution": mos})
    (folder / "train.json").write_text(json.dumps(rows))
    return folder
