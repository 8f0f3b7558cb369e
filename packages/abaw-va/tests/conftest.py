"""A data root and networks so small that a whole run takes a second."""

from __future__ import annotations

from dataclasses import replace

import pytest

from abaw_va.config import (
    FclstmXl,
    TrainConfig,
    Transformer,
    TransformerAttention,
    TransformerLstm,
)
from abaw_va.synthetic import write_random_root

WIDTHS = {"face": 5, "voice": 3}
ATTENDING = {
    "hidden_size": 8,
    "regressor": (8,),
    "layers": 1,
    "heads": 2,
    "ffn_width": 16,
    "chunk_length": 16,
}
NETWORKS = {
    "transformer": Transformer(**ATTENDING),
    "transformer-lstm": TransformerLstm(**ATTENDING),
    "transformer-attention": TransformerAttention(**ATTENDING, block_length=4, memory_length=6),
    "fclstm-xl": FclstmXl(hidden_size=8, regressor=(8,), chunk_length=16),
}


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory):
    """Seven training and three validation videos of unequal lengths, 8 feature columns."""
    root = tmp_path_factory.mktemp("tiny")
    lengths = {"a": 40, "b": 33, "c": 16, "d": 70, "e": 5, "f": 90, "g": 24}
    write_random_root(root, {"train": lengths, "val": {"u": 30, "v": 44, "w": 17}}, WIDTHS)
    return root


@pytest.fixture(scope="session")
def tiny(tiny_root):
    """Makes the settings of a run of 20 updates: `tiny("fclstm-xl", run=..., dropout=0.5)`."""

    def settings(kind, *, dropout=0.0, network=None, **changes):
        model = replace(NETWORKS[kind], dropout=dropout, encoder_dropout=dropout, **(network or {}))
        plain = {
            "data": tiny_root,
            "features": tuple(WIDTHS),
            "epochs": 100,
            "max_steps": 20,
            "batch_size": 4,
            "lr": 3e-3,
            "init_gain": 0.3,
            "threads": 1,
            "device": "cpu",
            "trackers": (),
        }
        return TrainConfig(model=model, **{**plain, **changes})

    return settings


@pytest.fixture
def no_report(monkeypatch):
    """Drawing a report takes longer than a tiny run."""
    monkeypatch.setattr("shared_core.training.folder.run_report", lambda folder: None)
