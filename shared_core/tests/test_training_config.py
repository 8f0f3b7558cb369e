"""The settings every train command has."""

from __future__ import annotations

import subprocess
import sys

import pytest

from shared_core.config import dump_yaml, fingerprint, load_yaml
from shared_core.errors import ConfigError
from shared_core.training.config import TrainSettings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("epochs", 0), ("batch_size", 0), ("keep_last", 0), ("log_every", 0), ("max_steps", 0)],
        *[("accumulate", 17), ("seed", -1), ("workers", -1), ("threads", 0), ("processes", 0)],
        *[("evaluate_every", 0), ("save_every", 0), ("early_stop", 0), ("stall_seconds", 0.0)],
        *[("clip_norm", 0.0), ("clip_norm", float("nan"))],
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(field, value):
    with pytest.raises(ConfigError, match=f"^{field}: "):
        TrainSettings(**{field: value})


def test_settings_survive_yaml():
    settings = TrainSettings(max_steps=5, clip_norm=None, trackers=())
    assert load_yaml(TrainSettings, dump_yaml(settings)) == settings


def test_only_what_changes_the_numbers_changes_the_fingerprint(tmp_path):
    plain = fingerprint(TrainSettings())
    assert fingerprint(TrainSettings(run=tmp_path, resume=True, workers=3, keep_last=9)) == plain
    assert fingerprint(TrainSettings(stall_seconds=5.0, launch="ddp", processes=2)) == plain
    assert fingerprint(TrainSettings(accumulate=2)) != plain
    assert fingerprint(TrainSettings(precision="bf16")) != plain


def test_settings_need_no_torch():
    code = "import sys, shared_core.training.config as c; c.TrainSettings(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "numpy", "accelerate", "transformers"} & set(loaded)
