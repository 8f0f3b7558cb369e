"""Runs in processes of their own."""

from __future__ import annotations

import pytest

from shared_core.errors import UsageError
from shared_core.testing.tiny_config import TinyConfig
from shared_core.training.apart import train_apart

MODULE = "shared_core.testing.tiny_run"


def test_a_run_apart_is_the_commands(tmp_path):
    config = TinyConfig(run=tmp_path / "runs" / "one", device="cpu", threads=1, max_steps=2)
    train_apart(MODULE, config)
    assert (config.run / "summary.json").is_file()
    assert (tmp_path / "runs" / "one.yaml").is_file()


def test_a_run_that_fails_tells_its_last_lines(tmp_path):
    config = TinyConfig(run=tmp_path / "one", device="cpu", threads=1, launch="no-such-preset")
    with pytest.raises(UsageError, match=r"one: its training ended with 2:(?s:.*)no-such-preset"):
        train_apart(MODULE, config)
