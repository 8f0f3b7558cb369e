"""What an import brings along: nothing for a name, settings for a config, no idle giant for a room.

Seconds depend on the machine; which modules are loaded does not. `tools/bench` has the seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = [
    path.parent.name.replace("-", "_") for path in sorted(ROOT.glob("packages/*/pyproject.toml"))
]
CALCULATING = {"accelerate", "cv2", "numpy", "scipy", "torch", "torchvision"}
DRAWING = {"gradio", "matplotlib", "pandas"}
JUDGING = {"skimage", "sklearn", "torchmetrics"}
TUNING = {"datasets", "deepspeed", "peft", "transformers", "trl"}
TRACKING = {"tensorboard", "trackio", "wandb"}
CONVERTING = {"onnx", "onnxruntime", "onnxscript"}
READING = {"PIL", "av", "h5py"}
ROLLING = {"tensordict", "torchrl"}
HEAVY = CALCULATING | DRAWING | JUDGING | TUNING | TRACKING | CONVERTING | READING | ROLLING

IDLE = {
    "predict": DRAWING | JUDGING | TUNING | TRACKING | CONVERTING | ROLLING | {"accelerate"},
    "learner": DRAWING | JUDGING | TUNING | TRACKING | CONVERTING,
}
"""What importing a room must not load, whichever package it is of."""

NEEDED = {("refine_iqa", "predict"): {"accelerate", "peft", "transformers"}}
"""What a room is made of all the same: the network that refine-iqa tunes is transformers' own."""


def loaded(module: str) -> list[list[str]]:
    """Heavy modules after importing the package, its commands and settings, then rooms in turn."""
    program = f"""
import json, sys
from importlib import import_module
def heavy():
    return [name for name in {sorted(HEAVY)!r} if name in sys.modules]
found = []
import_module({module!r})
verbs = import_module("{module}.cli").VERBS
found.append(heavy())
for verb in verbs:
    import_module(verb.config.partition(":")[0])
found.append(heavy())
for room in {list(IDLE)!r}:
    import_module("{module}." + room)
    found.append(heavy())
print(json.dumps(found))
"""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONSTARTUP"}
    outcome = subprocess.run(
        [sys.executable, "-c", program], env=clean, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stderr
    return json.loads(outcome.stdout)


@pytest.mark.parametrize("module", MODULES)
def test_a_room_loads_what_it_is_made_of_and_no_more(module):
    """In one process, which shares the seconds of torch: what an earlier room needs, a later one has."""
    commands, settings, *rooms = loaded(module)
    assert not commands, "the package and its commands"
    assert not settings, "the settings of a verb"
    needed: set[str] = set()
    for (room, idle), found in zip(IDLE.items(), rooms, strict=True):
        needed |= NEEDED.get((module, room), set())
        assert not (set(found) & idle) - needed, room
        assert "torch" in found  # or the rooms would not be what was imported
